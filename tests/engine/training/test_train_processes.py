"""Runs in processes of their own: killed, stopped, out of space, several at once."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import boxwright as bw
from boxwright.engine.training.loggers import read_metrics
from tests.engine.conftest import TINY, tiny
from tests.engine.processes import free_port, together

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
STEPS = 8


def command(data, out, *changes, launcher=()):
    program = [sys.executable, *launcher, "-m", "boxwright", "train", "mask_rcnn_r18_fpn_gn"]
    steps = f"train.schedule.max_steps={STEPS}"
    return [*program, "--data", str(data), "--out", str(out), "--device", "cpu", *TINY, steps, *changes]


def torchrun(*options):
    return ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *options]


def finish(arguments, **settings):
    return subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, timeout=280, **settings)


def weights(folder):
    return bw.load(Path(folder) / "model.safetensors", device="cpu").model.state_dict()


def assert_same_weights(a, b):
    first, second = weights(a), weights(b)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.fixture(scope="module")
def whole_run(tiny_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("processes") / "whole"
    done = finish(command(tiny_set, out, "train.checkpoint_every=1"))
    assert done.returncode == 0, done.stderr
    return out


def wait_for(condition, process, seconds=240):
    """Until `condition()` holds or the process has ended."""
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)


def has_logged(out, step):
    def condition():
        rows = read_metrics(out)
        return bool(rows) and rows[-1]["step"] >= step

    return condition


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_weights(times, whole_run, tiny_set, tmp_path):
    out, rng = tmp_path / "run", random.Random(0)
    arguments = command(tiny_set, out, "train.checkpoint_every=1")
    for _ in range(times):
        process = subprocess.Popen(arguments, env=ENVIRONMENT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        # from before the first step to the middle of writing a checkpoint
        wait_for(lambda: out.is_dir(), process)
        wait_for(_after(rng.uniform(0, 3.0)), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished = finish(arguments)
    assert finished.returncode == 0, finished.stderr
    assert_same_weights(out, whole_run)


def _after(seconds):
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def test_a_run_killed_while_it_writes_a_checkpoint_loses_one_step_at_most(whole_run, tiny_set, tmp_path):
    out = tmp_path / "run"
    arguments = command(tiny_set, out, "train.checkpoint_every=1")
    process = subprocess.Popen(arguments, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    wait_for(lambda: any(out.glob("checkpoints/.step_00000003.pt.*")), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = finish(arguments)
    assert finished.returncode == 0, finished.stderr
    assert "going on after step" in finished.stderr
    assert_same_weights(out, whole_run)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_the_run(number, whole_run, tiny_set, tmp_path):
    out = tmp_path / "run"
    arguments = command(tiny_set, out)
    process = subprocess.Popen(arguments, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    wait_for(has_logged(out, 1), process)
    process.send_signal(number)
    told = process.communicate(timeout=240)[1]
    assert process.returncode == 0
    assert f"stopped by {number.name} after step" in told
    assert finish(arguments).returncode == 0
    assert_same_weights(out, whole_run)


def test_a_full_disk_ends_the_run_and_spares_the_last_checkpoint(tiny_set, tmp_path):
    out = tmp_path / "run"
    small = "train.schedule.max_steps=2"
    assert finish(command(tiny_set, out, small)).returncode == 0
    before = {path.name: path.read_bytes() for path in (out / "checkpoints").iterdir()}
    (out / "config.yaml").write_text((out / "config.yaml").read_text().replace("max_steps: 2", f"max_steps: {STEPS}"))

    def no_large_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    failed = finish(command(tiny_set, out), preexec_fn=no_large_files)
    assert failed.returncode == 1
    errors = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "step_00000004.pt: the checkpoint could not be written (File too large)" in errors[0]
    assert {path.name: path.read_bytes() for path in (out / "checkpoints").iterdir()} == before


def train_share(rank, settings, data, out):
    return bw.train(settings, data, out=out, device="cpu").step


def test_two_processes_train_as_one_on_the_same_batch(tiny_set, tmp_path):
    steps = ("train.schedule.max_steps=20", "train.checkpoint_every=20")
    settings = tiny("train.batch=4", "train.optimizer={kind: sgd}", "train.lr=0.0002", *steps)
    train_share(0, settings, tiny_set, tmp_path / "one")
    assert together(train_share, settings, tiny_set, tmp_path / "two", MASTER_PORT=free_port()) == [20, 20]
    one, two = ([r for r in read_metrics(tmp_path / out) if r["kind"] == "train"] for out in ("one", "two"))
    assert len(one) == len(two) == 20
    names = [name for name in one[0] if name.startswith("loss")]
    for a, b in zip(one, two, strict=True):
        assert {name: b[name] for name in names} == pytest.approx({name: a[name] for name in names}, rel=1e-5)
    val = [next(r for r in read_metrics(tmp_path / out) if r["kind"] == "val") for out in ("one", "two")]
    assert val[1]["box.ap50"] == pytest.approx(val[0]["box.ap50"], abs=1e-4)


def test_a_run_goes_on_when_one_of_its_processes_dies(tiny_set, tmp_path):
    out = tmp_path / "run"
    changes = ("train.batch=4", "train.checkpoint_every=1", "train.schedule.max_steps=6")
    arguments = command(tiny_set, out, *changes, launcher=torchrun("--max-restarts", "1"))
    process = subprocess.Popen(arguments, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    wait_for(has_logged(out, 2), process)
    workers = [int(pid) for pid in _children(process.pid)]
    os.kill(workers[-1], signal.SIGKILL)
    told = process.communicate(timeout=240)[1]
    assert process.returncode == 0, told
    assert "going on after step" in (out / "log.txt").read_text()
    assert [r["step"] for r in read_metrics(out) if r["kind"] == "train"] == list(range(1, 7))


def _children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_json_is_all_there_is_on_stdout(tiny_set, tmp_path):
    done = finish([*command(tiny_set, tmp_path / "run", "train.schedule.max_steps=1"), "--json"])
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["step"], result["done"]) == (1, True)
    assert set(result["scores"]) >= {"box", "mask"}
