"""`import boxwright` costs nothing; what it names is imported on first use, in one go."""

import gc
import subprocess
import sys

import pytest

import boxwright

HEAVY = ("torch", "numpy", "pydantic", "cv2", "numba", "PIL", "yaml", "scipy", "matplotlib", "pycocotools")
KEPT = "things = [[] for _ in range(20_000)]\n"


@pytest.fixture
def trial(monkeypatch, tmp_path):
    """The name of a public thing whose module makes many objects that stay."""
    (tmp_path / "boxwright_trial.py").write_text(KEPT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(boxwright._HOME, "things", "boxwright_trial")
    yield "things"
    sys.modules.pop("boxwright_trial", None)
    vars(boxwright).pop("things", None)


def collections():
    return [one["collections"] for one in gc.get_stats()]


def test_import_alone_imports_nothing_heavy():
    code = f"import boxwright, sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "\n"


@pytest.mark.parametrize("name", boxwright.__all__)
def test_every_public_name_is_there(name):
    assert getattr(boxwright, name) is not None
    assert name in dir(boxwright)


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(AttributeError, match=r"module 'boxwright' has no attribute 'lod'; it has .*load"):
        boxwright.lod  # noqa: B018


def test_garbage_is_not_looked_for_during_an_import_nor_right_after_it(trial):
    gc.collect()
    before = collections()
    assert len(getattr(boxwright, trial)) == 20_000
    assert collections() == before
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_an_import_that_fails_leaves_the_search_for_garbage_on(trial, monkeypatch):
    monkeypatch.setitem(boxwright._HOME, trial, "boxwright_nowhere")
    with pytest.raises(ModuleNotFoundError):
        getattr(boxwright, trial)
    assert gc.isenabled()


def test_who_has_turned_the_search_for_garbage_off_finds_it_off(trial):
    gc.disable()
    try:
        getattr(boxwright, trial)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_somebody_has_frozen_stays_frozen(trial):
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        getattr(boxwright, trial)
        assert gc.get_freeze_count() == frozen
    finally:
        gc.unfreeze()
