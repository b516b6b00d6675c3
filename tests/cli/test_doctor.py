"""`boxwright doctor`: what it says is what is here."""

import json

import pytest
import torch

from boxwright.cli import doctor
from boxwright.cli.main import run
from boxwright.ops.dispatch import BACKENDS, OPS


def test_json_holds_versions_devices_ops_and_what_is_missing(capsys):
    assert run(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["packages"]["torch"] == torch.__version__
    assert report["cpu"]["torch_threads"] == torch.get_num_threads()
    assert bool(report["cuda"]["devices"]) == torch.cuda.is_available()
    assert {row["op"] for row in report["ops"]} == set(OPS)
    assert {row["backend"] for row in report["ops"]} <= set(BACKENDS)
    assert all(row["reason"] for row in report["ops"])


def test_the_page_names_every_op_and_package(capsys):
    assert run(["doctor"]) == 0
    printed = capsys.readouterr().out
    for word in (*OPS, "torch", "numba", "opencv-python-headless", "Devices", "Missing"):
        assert word in printed


@pytest.mark.parametrize(("is_on", "word"), [(True, "on"), (False, "off")])
def test_it_says_whether_a_gpu_would_round_float32(is_on, word, monkeypatch, capsys):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", is_on)
    assert run(["doctor"]) == 0
    assert f"TensorFloat32 on a GPU: convolutions {word}, matrix products " in capsys.readouterr().out


@pytest.fixture
def requirements(monkeypatch):
    def set_requirements(*lines: str) -> None:
        monkeypatch.setattr("importlib.metadata.requires", lambda _: list(lines))

    return set_requirements


def test_nothing_required_means_nothing_missing(requirements):
    requirements()
    assert doctor.find_packages() == {"": {}}
    assert doctor.find_missing(doctor.find_packages()) == []


def test_an_absent_package_comes_with_the_command_that_installs_it(requirements):
    requirements(
        "torch>=2.6",
        "surely-not-installed>=1; extra == 'log'",
        "numpy; extra == 'report'",
        "boxwright[log]; extra == 'all'",
    )
    packages = doctor.find_packages()
    assert packages["log"] == {"surely-not-installed": None}
    assert set(packages) == {"", "log", "report"}
    assert doctor.find_missing(packages) == [
        {"extra": "log", "packages": ["surely-not-installed"], "install": "pip install 'boxwright[log]'"}
    ]


def test_a_machine_without_cpuinfo_is_described_too(monkeypatch):
    monkeypatch.setattr("pathlib.Path.exists", lambda _: False)
    report = doctor.examine_cpu()
    assert report["flags"] == []
    assert report["model"]
