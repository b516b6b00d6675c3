"""`boxwright bench`: how fast a model runs here."""

import json

import pytest

from boxwright.cli.main import run
from boxwright.config import dump
from tests.models.small import small


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr("boxwright.engine.speed.best_rate", lambda device, dtype: 1e11)  # it takes seconds to measure
    path = tmp_path / "small.yaml"
    path.write_text(dump(small("faster")))
    return str(path)


@pytest.mark.parametrize(("options", "task"), [([], "detection"), (["--train"], "training step")])
def test_the_figures_fit_each_other(config, options, task, capsys):
    assert (
        run(
            ["bench", config, "--size", "64x96", "--batch", "2", "--rounds", "1", "--device", "cpu", "--json", *options]
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert (found["task"], found["batch"], found["size"]) == (task, 2, "64x96")
    assert found["images_per_second"] == pytest.approx(2 / found["seconds"], rel=0.02)
    assert found["times_floor"] == pytest.approx(found["seconds"] / found["floor_seconds"], rel=0.02, abs=0.006)


def test_the_table_names_every_figure(config, capsys):
    assert run(["bench", config, "--size", "64x96", "--rounds", "1", "--device", "cpu"]) == 0
    assert {"seconds", "gigaflop", "floor", "times"} <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize("size", ["64", "0x64", "64xwide", ""])
def test_a_size_that_is_none_is_refused(config, size, capsys):
    assert run(["bench", config, "--size", size]) == 2
    assert "800x1199" in capsys.readouterr().err


def test_bytes_are_measured_but_do_not_train(config, capsys):
    options = ["--size", "64x96", "--rounds", "1", "--device", "cpu", "--precision", "int8"]
    assert run(["bench", config, "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == "int8"
    assert run(["bench", config, "--train", *options]) == 2
    assert "take bf16" in capsys.readouterr().err
