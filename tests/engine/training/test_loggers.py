"""Where the figures and pictures of a run go."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image

import boxwright as bw
from boxwright.engine.training.loggers import MetricsFile, Terminal, chosen_loggers, clock, read_metrics
from boxwright.errors import MissingExtraError
from tests.engine.conftest import tiny


@pytest.mark.parametrize(("seconds", "told"), [(0, "0:00"), (59.6, "1:00"), (3725, "1:02:05")])
def test_time_left_is_told_as_on_a_clock(seconds, told):
    assert clock(seconds) == told


def test_rows_of_steps_that_are_done_again_are_dropped(tmp_path):
    first = MetricsFile(tmp_path, from_step=0)
    for step in (1, 2, 3):
        first.log("train", step, {"loss": float(step)})
    again = MetricsFile(tmp_path, from_step=2)
    again.log("train", 3, {"loss": 30.0})
    assert [row["loss"] for row in read_metrics(tmp_path)] == [1.0, 2.0, 30.0]


def test_only_the_main_process_says_anything(tmp_path, capsys):
    Terminal(tmp_path / "log.txt", is_main=False).say("nothing")
    Terminal(tmp_path / "log.txt", is_main=True).say("something")
    assert capsys.readouterr().err == "something\n"
    assert (tmp_path / "log.txt").read_text() == "something\n"


def test_what_is_not_installed_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"train\.log_to=\[wandb\] needs wandb, which is not installed"):
        chosen_loggers(["wandb"], tmp_path, {})


class FakeTracker(ModuleType):
    """As much of wandb and mlflow as is called, with the calls kept."""

    def __init__(self, name):
        super().__init__(name)
        self.runs, self.rows = [], []
        self.info = SimpleNamespace(run_id="given")

    def init(self, **options):
        self.runs.append(options["id"])
        return self

    def start_run(self, **options):
        self.runs.append(options["run_id"])
        return self

    def log(self, values, step):
        self.rows.append((step, values))

    log_metrics = log

    def log_dict(self, content, name):
        self.rows.append((name, content))

    def finish(self):
        self.rows.append("end")

    end_run = finish


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_run_that_goes_on_is_the_same_run_elsewhere(name, tmp_path, monkeypatch):
    tracker = FakeTracker(name)
    monkeypatch.setitem(sys.modules, name, tracker)
    for step in (1, 2):
        [logger] = chosen_loggers([name], tmp_path, {"train": {"lr": 0.1}})
        logger.log("train", step, {"loss": 0.5})
        logger.close()
    first, second = tracker.runs
    assert second == (first or "given")
    assert [row for row in tracker.rows if row[0] in (1, 2)] == [(1, {"train/loss": 0.5}), (2, {"train/loss": 0.5})]
    assert tracker.rows[-1] == "end"


def test_a_run_draws_what_it_learns_from_and_writes_for_tensorboard(tiny_set, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = tiny("train.picture_every=2", "train.log_to=[tensorboard]", "train.schedule.max_steps=2")
    run = bw.train(settings, tiny_set, out=tmp_path / "run", device="cpu")
    with Image.open(run.folder / "pictures" / "step_00000002_stages.jpg") as picture:
        assert picture.size == (128, 128)  # two by two of 64 x 64
    events = accumulator.EventAccumulator(str(run.folder / "tensorboard"), size_guidance={"images": 0}).Reload()
    rows = [row for row in read_metrics(run.folder) if row["kind"] == "train"]
    written = [event.value for event in events.Scalars("train/loss_mask")]
    assert written == pytest.approx([row["loss_mask"] for row in rows])
    assert [event.step for event in events.Images("stages")] == [2]
