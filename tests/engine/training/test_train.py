"""A run: what it writes, how it goes on, what it does about trouble."""

import json
import shutil
import signal

import pytest
import torch

import boxwright as bw
from boxwright.engine.training import train as training
from boxwright.engine.training.checkpoint import Checkpoints, read_checkpoint
from boxwright.engine.training.loggers import read_metrics
from boxwright.engine.training.stopping import StopRequest
from boxwright.engine.training.trouble import replay
from boxwright.errors import ConfigError, DatasetError, TrainingError, WeightsError
from tests.engine.conftest import tiny


def weights(folder):
    return bw.load(folder / "model.safetensors", device="cpu").model.state_dict()


def assert_same_weights(a, b):
    first, second = weights(a), weights(b)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.fixture
def stopping(monkeypatch):
    """Makes a run stop as by SIGTERM once it has done so many steps."""

    def stop_after(steps):
        original = training.Learner.launch

        def launch(self, batches, step, **options):
            if step + 2 == steps:  # in the midst of the step before
                signal.raise_signal(signal.SIGTERM)
            return original(self, batches, step, **options)

        monkeypatch.setattr(training.Learner, "launch", launch)
        return lambda: monkeypatch.setattr(training.Learner, "launch", original)

    return stop_after


@pytest.fixture(scope="module")
def whole_run(tiny_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "whole"
    return bw.train(tiny("train.ema=0.9"), tiny_set, out=out, device="cpu")


def test_a_run_leaves_weights_that_open_by_themselves(whole_run):
    detector = bw.load(whole_run.folder / "model.safetensors", device="cpu")
    assert detector.class_names == ("circle", "square", "triangle", "star", "ring", "cross")
    own = whole_run.detector.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in detector.model.state_dict().items())


def test_a_run_keeps_its_settings_log_and_newest_checkpoints(whole_run):
    assert whole_run.is_done
    assert bw.load_config(whole_run.folder / "config.yaml").model.num_classes == 6
    assert [entry.step for entry in Checkpoints(whole_run.folder / "checkpoints", keep=3).entries()] == [2, 4, 6]
    assert "8 images to train on, 2 to validate on, 6 classes" in (whole_run.folder / "log.txt").read_text()
    rows = read_metrics(whole_run.folder)
    assert [row["step"] for row in rows if row["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "loss_mask", "loss_rpn_box", "rate", "gradient_norm", "images_per_second"} <= rows[0].keys()
    assert {"box.ap", "mask.ap50", "loss", "loss_class"} <= rows[-1].keys()


def test_a_finished_run_is_not_done_again(whole_run, tiny_set):
    again = bw.train(tiny("train.ema=0.9"), tiny_set, out=whole_run.folder, device="cpu")
    assert (again.step, again.is_done) == (6, True)
    assert_same_weights(whole_run.folder, again.folder)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_run_goes_on_to_the_very_same_weights(workers, whole_run, tiny_set, tmp_path, stopping):
    settings = tiny("train.ema=0.9", f"data.workers={workers}")
    go_on = stopping(3)
    stopped = bw.train(settings, tiny_set, out=tmp_path / "run", device="cpu")
    assert (stopped.step, stopped.is_done) == (3, False)
    go_on()
    finished = bw.train(settings, tiny_set, out=tmp_path / "run", device="cpu")
    assert finished.is_done
    assert_same_weights(finished.folder, whole_run.folder)
    figures = [(row["kind"], row["step"], row["loss"]) for row in read_metrics(finished.folder)]
    assert figures == [(row["kind"], row["step"], row["loss"]) for row in read_metrics(whole_run.folder)]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(whole_run, tiny_set, tmp_path, stopping):
    settings = tiny("train.ema=0.9")
    go_on = stopping(4)
    bw.train(settings, tiny_set, out=tmp_path / "run", device="cpu")
    go_on()
    last = tmp_path / "run" / "checkpoints" / "step_00000004.pt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    with pytest.warns(UserWarning, match=r"step_00000004\.pt is passed over"):
        finished = bw.train(settings, tiny_set, out=tmp_path / "run", device="cpu")
    assert_same_weights(finished.folder, whole_run.folder)


def test_a_run_does_not_go_on_with_other_settings(whole_run, tiny_set):
    with pytest.raises(ConfigError, match=r"holds a run with other settings: train\.lr was 0\.001, is now 0\.002"):
        bw.train(tiny("train.ema=0.9", "train.lr=0.002"), tiny_set, out=whole_run.folder, device="cpu")
    with pytest.raises(TrainingError, match="holds a run already"):
        bw.train(tiny(), tiny_set, out=whole_run.folder, device="cpu", resume="never")


def test_another_seed_gives_other_weights(whole_run, tiny_set, tmp_path):
    other = bw.train(tiny("train.ema=0.9", "train.seed=1"), tiny_set, out=tmp_path / "run", device="cpu")
    name = "box_head.score.weight"
    assert not torch.equal(weights(other.folder)[name], weights(whole_run.folder)[name])


def test_a_part_of_the_model_learns_alone(tiny_set, tmp_path):
    rpn = "{steps: 2, freeze: ['^box_head', '^mask_head'], losses: [loss_rpn_class, loss_rpn_box]}"
    heads = "{steps: 2, freeze: ['^backbone', '^neck', '^rpn']}"
    settings = tiny(f"train.stages=[{rpn}, {heads}]")
    run = bw.train(settings, tiny_set, out=tmp_path / "run", device="cpu")
    assert run.step == 4
    torch.manual_seed(settings.train.seed)
    checkpoints = tmp_path / "run" / "checkpoints"
    start = bw.Detector(config=run.detector.config).model.state_dict()
    middle = torch.load(checkpoints / "step_00000002.pt", weights_only=True)["learner"]["model"]
    end = torch.load(checkpoints / "step_00000004.pt", weights_only=True)["learner"]["model"]
    changed_first = {name.split(".")[0] for name in start if not torch.equal(start[name], middle[name])}
    changed_then = {name.split(".")[0] for name in start if not torch.equal(middle[name], end[name])}
    assert changed_first == {"backbone", "neck", "rpn"}
    assert changed_then == {"box_head", "mask_head"}


def test_a_stage_that_freezes_nothing_known_is_an_error(tiny_set, tmp_path):
    with pytest.raises(TrainingError, match=r"train\.stages\.0\.freeze: no parameter fits 'bckbone'"):
        bw.train(tiny("train.stages=[{steps: 2, freeze: [bckbone]}]"), tiny_set, out=tmp_path / "run", device="cpu")


def test_the_run_ends_when_results_no_longer_improve(tiny_set, tmp_path):
    settings = tiny("train.evaluate_every=1", "train.early_stop=2", "train.lr=1e-12", "train.schedule.max_steps=9")
    run = bw.train(settings, tiny_set, out=tmp_path / "run", device="cpu")
    assert (run.step, run.is_done) == (3, True)
    assert "was best at step 1" in (run.folder / "log.txt").read_text()
    assert (run.folder / "best.safetensors").is_file()


def test_a_rate_that_explodes_is_explained_and_can_be_repeated(tiny_set, tmp_path):
    settings = tiny("train.lr=1000000.0", "train.clip=none", "train.schedule.warm_up.factor=1")
    with pytest.raises(TrainingError) as caught:
        bw.train(settings, tiny_set, out=tmp_path / "run", device="cpu")
    message = str(caught.value)
    step = message.partition(":")[0]
    assert message.startswith(f"{step}: a loss is not finite (loss_rpn_class")
    assert "learning rate" in message
    dump = next((tmp_path / "run" / "trouble").glob("*.pt"))
    assert f"boxwright train --replay {dump}" in message
    told = replay(dump, device=torch.device("cpu")).splitlines()
    assert told[0].startswith(f"{step}, learning rate")
    assert any(line.startswith("loss_") and line.endswith("nan") for line in told)


def test_steps_that_are_not_finite_can_be_skipped(tiny_set, tmp_path, monkeypatch):
    original = training.Learner._losses

    def poisoned(self, batch, seeds):
        losses = original(self, batch, seeds)
        return losses | {"loss_box": losses["loss_box"] * float("nan")} if self.poisons.pop(0) else losses

    monkeypatch.setattr(training.Learner, "_losses", poisoned)
    monkeypatch.setattr(training.Learner, "poisons", [False, True, False, False, False, False], raising=False)
    run = bw.train(tiny("train.non_finite=skip"), tiny_set, out=tmp_path / "run", device="cpu")
    assert run.is_done
    assert "step 2: skipped" in (run.folder / "log.txt").read_text()
    assert all(bool(torch.isfinite(value).all()) for value in weights(run.folder).values())


def test_steps_that_nobody_waits_for_learn_the_same(whole_run, tiny_set, tmp_path, monkeypatch):
    monkeypatch.setitem(training.UNREAD_STEPS, "cpu", 1)
    settings = tiny("train.ema=0.9", "train.log_every=3", "train.checkpoint_every=100")
    other = bw.train(settings, tiny_set, out=tmp_path / "run", device="cpu")
    assert_same_weights(other.folder, whole_run.folder)
    losses = {row["step"]: row["loss"] for row in read_metrics(whole_run.folder) if row["kind"] == "train"}
    means = {row["step"]: row["loss"] for row in read_metrics(other.folder) if row["kind"] == "train"}
    assert means == {step: pytest.approx(sum(losses[step - i] for i in range(3)) / 3) for step in (3, 6)}


@pytest.mark.parametrize("on_their_way", [0, 1])
def test_a_step_that_is_not_finite_changes_nothing_and_nor_does_one_behind_it(
    on_their_way, tiny_set, tmp_path, monkeypatch
):
    monkeypatch.setitem(training.UNREAD_STEPS, "cpu", on_their_way)
    original, before = training.Learner._losses, {}

    def poisoned(self, batch, seeds):
        losses = original(self, batch, seeds)
        self.calls += 1
        if self.calls != 2:
            return losses
        before.update({name: value.clone() for name, value in self.detector.model.state_dict().items()})
        return losses | {"loss_box": losses["loss_box"] * float("nan")}

    monkeypatch.setattr(training.Learner, "_losses", poisoned)
    monkeypatch.setattr(training.Learner, "calls", 0, raising=False)
    with pytest.raises(TrainingError, match=r"step 2: a loss is not finite .* Images: "):
        bw.train(tiny("train.log_every=5", "train.checkpoint_every=100"), tiny_set, out=tmp_path / "run", device="cpu")
    dump = read_checkpoint(next((tmp_path / "run" / "trouble").glob("step_00000002.pt")))
    assert [name for name, value in before.items() if not torch.equal(dump["model"][name], value)] == []


def test_a_picture_that_cannot_be_read_is_skipped_and_counted(tiny_set, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(tiny_set, folder)
    name = json.loads((folder / "train.json").read_text())["images"][0]["file_name"]
    next(folder.rglob(name)).write_bytes(b"not a picture")
    run = bw.train(tiny("data.max_bad_share=0.2"), folder, out=tmp_path / "run", device="cpu")
    assert run.is_done
    assert run.samples["bad_images"] == 1
    assert "1 of 8 images could not be read" in (run.folder / "log.txt").read_text()


def test_without_a_validation_set_there_are_no_figures(tiny_set, tmp_path):
    settings = tiny("train.schedule.max_steps=1", f"data.train={tiny_set / 'train.json'}")
    run = bw.train(settings, out=tmp_path / "run", device="cpu")
    assert run.is_done
    assert run.scores is None
    assert "no validation set" in (run.folder / "log.txt").read_text()


def test_masks_are_needed_to_learn_masks(tiny_set, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(tiny_set, folder)
    content = json.loads((folder / "train.json").read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    (folder / "train.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"has no masks to train model\.mask_head on"):
        bw.train(tiny(), folder, out=tmp_path / "run", device="cpu")


def test_another_batch_scales_the_recipe_and_says_so(tiny_set, tmp_path):
    settings = tiny("train.reference_batch=4", "train.accumulate=2", "train.schedule.max_steps=4")
    run = bw.train(settings, tiny_set, out=tmp_path / "run", device="cpu")
    assert run.step == 4  # half the batch, twice accumulated: as many images between updates
    assert "learning rate 0.001 -> 0.0005, steps 4 -> 4" in (run.folder / "log.txt").read_text()


def test_weights_of_other_classes_are_a_start(whole_run, tiny_set, tmp_path):
    folder = tmp_path / "set"
    shutil.copytree(tiny_set, folder)
    for split in ("train", "val"):
        content = json.loads((folder / f"{split}.json").read_text())
        content["categories"] = [{"id": c["id"], "name": "thing"} for c in content["categories"][:1]]
        for annotation in content["annotations"]:
            annotation["category_id"] = content["categories"][0]["id"]
        (folder / f"{split}.json").write_text(json.dumps(content))
    start = f"train.weights={whole_run.folder / 'model.safetensors'}"
    run = bw.train(tiny(start, "train.lr=1e-12"), folder, out=tmp_path / "run", device="cpu")
    log = (run.folder / "log.txt").read_text()
    assert "box_head.score.weight is (7, 16) in the file, (2, 16) in the model" in log
    assert run.detector.class_names == ("thing",)
    before = weights(whole_run.folder)["backbone.stem.weight"]
    assert torch.allclose(weights(run.folder)["backbone.stem.weight"], before, atol=1e-6)


@pytest.fixture
def interruptible():
    """Python's own handler of Ctrl-C, which is not there where a shell has started us in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_second_signal_acts_as_it_would_without_us():
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.signal_name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def content_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_goes_on_with_its_own_data_alone_and_what_is_refused_changes_nothing(tiny_set, whole_run, tmp_path):
    run, other, moved = (tmp_path / name for name in ("run", "other", "moved"))
    shutil.copytree(whole_run.folder, run)
    before = content_of(run)
    shutil.copytree(tiny_set, other)
    content = json.loads((other / "train.json").read_text())
    content["annotations"][0]["bbox"][0] += 1
    (other / "train.json").write_text(json.dumps(content))
    with pytest.raises(TrainingError, match=r"holds a run on other data: train was .*set.train\.json \(8 images"):
        bw.train(tiny("train.ema=0.9"), other, out=run, device="cpu")
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        bw.train(tiny("train.ema=0.9", "train.lr=0.5"), tiny_set, out=run, device="cpu")
    assert content_of(run) == before
    shutil.copytree(tiny_set, moved)
    assert bw.train(tiny("train.ema=0.9"), moved, out=run, device="cpu").step == 6


def test_a_picture_that_was_replaced_makes_other_data(tiny_set, whole_run, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(whole_run.folder, run)
    shutil.copytree(tiny_set, other)
    name = json.loads((other / "train.json").read_text())["images"][3]["file_name"]
    with next(other.rglob(name)).open("ab") as file:
        file.write(b"more")
    with pytest.raises(TrainingError, match="holds a run on other data"):
        bw.train(tiny("train.ema=0.9"), other, out=run, device="cpu")


def test_a_run_that_cannot_begin_leaves_no_folder(tiny_set, tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.pth does not exist"):
        bw.train(tiny("train.weights=nowhere.pth"), tiny_set, out=tmp_path / "run", device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_second_training_in_a_folder_is_refused_while_the_first_is_at_work(tiny_set, tmp_path, monkeypatch):
    refused = []
    original = training.Learner.launch

    def launch(self, batches, step, **options):
        if step == 1:
            with pytest.raises(TrainingError, match="another training is at work") as caught:
                bw.train(tiny(), tiny_set, out=tmp_path / "run", device="cpu")
            refused.append(caught.value)
        return original(self, batches, step, **options)

    monkeypatch.setattr(training.Learner, "launch", launch)
    run = bw.train(tiny("train.schedule.max_steps=2"), tiny_set, out=tmp_path / "run", device="cpu")
    assert len(refused) == 1
    assert run.is_done
    assert [row["step"] for row in read_metrics(run.folder) if row["kind"] == "train"] == [1, 2]


def test_without_its_list_the_checkpoints_of_a_run_are_found_by_their_names(whole_run, tiny_set, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole_run.folder, run)
    (run / "checkpoints" / "checkpoints.json").unlink()
    damaged = run / "checkpoints" / "step_00000006.pt"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.warns(UserWarning, match="its content is not what was written"):
        again = bw.train(tiny("train.ema=0.9"), tiny_set, out=run, device="cpu")
    assert "going on after step 4" in (run / "log.txt").read_text()
    assert_same_weights(again.folder, whole_run.folder)
