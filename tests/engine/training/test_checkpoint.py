"""Checkpoints are whole or absent, and the last good one is found."""

import pytest
import torch

from boxwright.engine.training.checkpoint import Checkpoints, read_checkpoint
from boxwright.errors import TrainingError, WeightsError


def state(step: int) -> dict:
    return {"step": step, "model": {"w": torch.full((3,), float(step))}, "rng": torch.get_rng_state(), "text": "a"}


def test_an_empty_folder_has_none(tmp_path):
    assert Checkpoints(tmp_path / "new", keep=2).load_last() is None


def test_the_newest_is_loaded_and_the_oldest_dropped(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (10, 20, 30):
        checkpoints.save(state(step), step=step)
    step, loaded = checkpoints.load_last()
    assert step == 30
    assert torch.equal(loaded["model"]["w"], torch.full((3,), 30.0))
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["step_00000020.pt", "step_00000030.pt"]


def test_a_damaged_last_one_falls_back_with_a_warning(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(state(1), step=1)
    path = checkpoints.save(state(2), step=2)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"step_00000002\.pt is passed over: its content is not what was written"):
        assert checkpoints.load_last()[0] == 1


def test_a_missing_last_one_falls_back_with_a_warning(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(state(1), step=1)
    checkpoints.save(state(2), step=2).unlink()
    with pytest.warns(UserWarning, match="No such file"):
        assert checkpoints.load_last()[0] == 1


def test_when_all_are_damaged_the_folder_is_named(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(state(1), step=1).write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="passed over"),
        pytest.raises(TrainingError, match="none of its 1 checkpoints is whole"),
    ):
        checkpoints.load_last()


def test_a_failed_write_leaves_the_one_before(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(state(1), step=1)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(TrainingError, match=r"could not be written .*No space left on device"):
        checkpoints.save(state(2), step=2)
    monkeypatch.undo()
    assert checkpoints.load_last()[0] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints.json", "step_00000001.pt"]


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match=r"evil\.pt: cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "evil.pt")
