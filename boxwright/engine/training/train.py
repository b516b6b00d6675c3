"""Training: from settings and data to weights, one readable loop; what varies is handed to it."""

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from boxwright.config import Config
from boxwright.config.load import dump_plain
from boxwright.config.recipes import apply_recipe
from boxwright.engine.detector import Detector
from boxwright.engine.distributed import World, device_of_process, joined_world
from boxwright.engine.loading import BEST, LAST, load_config, pick_device
from boxwright.engine.training.batch_size import largest_batch
from boxwright.engine.training.checkpoint import Checkpoints
from boxwright.engine.training.data_marks import mark_data
from boxwright.engine.training.learner import Launched, Learner
from boxwright.engine.training.loggers import Logger, MetricsFile, PictureFolder, Terminal, chosen_loggers
from boxwright.engine.training.meter import Meter
from boxwright.engine.training.pictures import training_picture
from boxwright.engine.training.run_folder import RunFolder
from boxwright.engine.training.setup import Sets, make_detector, make_loader, read_sets, recipe_for, settings_for
from boxwright.engine.training.stopping import StopRequest
from boxwright.engine.training.trouble import Circumstances, NonFiniteError, explain
from boxwright.engine.training.validation import Best, can_validate, leading_figure, validate
from boxwright.errors import TrainingError
from boxwright.evaluation.result import Scores

Resume = Literal["auto", "never"]
UNREAD_STEPS = {"cuda": 1}  # launched, but not yet asked for their figures, so that a GPU always has a step to begin


@dataclass(frozen=True)
class Run:
    """What a training left: `detector` has the last weights (the moving mean's, where there is one)."""

    folder: Path
    step: int
    detector: Detector
    scores: Scores | None
    is_done: bool  # not stopped by a signal
    is_main: bool  # of several processes the one that writes
    samples: dict[str, Any]  # how many images there were, and how many of them could not be read


def train(
    config: Config | str | Path,
    data: str | Path | None = None,
    *,
    out: str | Path,
    recipe: str | None = None,
    resume: Resume = "auto",
    device: str | torch.device = "auto",
    overrides: Sequence[str] = (),
) -> Run:
    """Trains a model on a folder of labelled images, or on what `data.train` and `data.val` of the settings name.

    Class names come from the data. `out` gets the settings, checkpoints, metrics.jsonl, log.txt, the last and the best
    weights. `recipe` is a schedule by name, such as "1x" (`boxwright.config.recipes`). With `resume` "auto" a run that
    is there already goes on at its last whole checkpoint; "never" refuses to.
    Under torchrun every process calls this with the same arguments.

        run = bw.train("mask_rcnn_r18_fpn_gn", "photos", out="runs/photos", overrides=["train.schedule.max_steps=3000"])
        print(run.scores, run.detector("photos/new.jpg"))
    """
    settings = config if isinstance(config, Config) else load_config(config)
    settings = (settings if recipe is None else apply_recipe(settings, recipe)).with_(*overrides)
    chosen = device_of_process(pick_device(device))
    with (
        joined_world(chosen) as world,
        StopRequest() as stop,
        RunFolder(Path(out), is_main=world.is_main).taken() as folder,
    ):
        notes: list[str] = []  # nothing is written before all checks have passed
        is_there = folder.holds_a_run(may_go_on=resume == "auto")
        sets = read_sets(settings, data)
        settings = settings_for(settings, sets, data)
        auto = settings.train.batch == "auto"
        batch = largest_batch(settings, device=chosen, world=world) if auto else int(settings.train.batch)
        settings = settings.with_(train=recipe_for(settings.train, world, batch=batch, say=notes.append))
        marks = mark_data(sets.train, sets.val)
        if is_there:
            folder.need_same(settings, marks)
        checkpoints = Checkpoints(folder.checkpoints, keep=settings.train.keep_checkpoints)
        restored = checkpoints.load_last()
        detector = make_detector(settings, device=chosen, is_resumed=is_there, say=notes.append)
        folder.keep(settings, marks)
        terminal = Terminal(folder.log_path, is_main=world.is_main)
        for note in notes:
            terminal.say(note)
        return Trainer(
            settings=settings,
            sets=sets,
            detector=detector,
            world=world,
            folder=folder,
            terminal=terminal,
            checkpoints=checkpoints,
            restored=restored,
        ).run(stop)


class Trainer:
    """One run: the learner, its data, and all that is done beside the steps."""

    def __init__(
        self,
        *,
        settings: Config,
        sets: Sets,
        detector: Detector,
        world: World,
        folder: RunFolder,
        terminal: Terminal,
        checkpoints: Checkpoints,
        restored: tuple[int, dict[str, Any]] | None,
    ) -> None:
        train = settings.train
        assert isinstance(train.batch, int)
        self.settings, self.sets, self.detector, self.world, self.folder = settings, sets, detector, world, folder
        self.terminal, self.say = terminal, terminal.say
        self.learner = Learner(detector=detector, train=train, world=world)
        self.loader = make_loader(settings, sets.train, world, detector.device)
        self.checkpoints = checkpoints
        self.best = Best()
        self.scores: Scores | None = None
        self.step = 0
        if restored is not None:
            self._restore(*restored)
        self.val = sets.val if can_validate(detector) else None
        self.val_batch = max(train.batch // world.size, 1)
        self.meter = Meter(detector.device, images_per_step=train.batch * train.accumulate)
        self.loggers = self._make_loggers()
        self._launched: deque[Launched] = deque()
        self._last_norm: float | None = None
        self._stops = False

    # --- the loop

    def run(self, stop: StopRequest) -> Run:
        """Steps until the end, a signal, or no better results."""
        self._announce()
        batches = iter(self.loader)
        try:
            while self.step < self.learner.num_steps and not self._has_stopped_improving():
                with self.meter.waiting_for_data():
                    taken = [next(batches) for _ in range(self.settings.train.accumulate)]
                stop_requested = stop.signal_name is not None
                self._launched.append(self.learner.launch(taken, self.step, stop_requested=stop_requested))
                self.step += 1
                self._after_step()
                if self._stops:
                    break
        finally:
            for logger in self.loggers:
                logger.close()
        return self._finish(stop)

    def _take_results(self, *, left: int) -> None:
        """Reads the figures of all steps but the last `left`, on which a GPU may still be at work."""
        while len(self._launched) > left:
            launched = self._launched.popleft()
            try:
                result = self.learner.result(launched)
            except NonFiniteError as error:
                raise self._explained(error, launched) from error
            if result.is_skipped:
                self.say(f"step {launched.step + 1}: skipped, its losses or gradients are not finite ({result.losses})")
            self.meter.count(result)
            self._last_norm, self._stops = result.gradient_norm, result.stops

    def _after_step(self) -> None:
        """Steps wait for each other only where something is due."""
        every, last = self.settings.train, self.step == self.learner.num_steps
        logs = self.step % every.log_every == 0 or last
        shows = every.picture_every and self.step % every.picture_every == 0
        validates = last or (every.evaluate_every and self.step % every.evaluate_every == 0)
        saves = last or self.step % every.checkpoint_every == 0
        is_due = logs or shows or validates or saves
        self._take_results(left=0 if is_due else UNREAD_STEPS.get(self.detector.device.type, 0))
        if self._stops:
            self._take_results(left=0)
        self.terminal.advance(self.step)
        if logs:
            self._log("train", self.meter.read())
        if shows:
            self._show_picture()
        if self.val is not None and validates:
            self._validate()
        if saves or self._stops or self._has_stopped_improving():
            self._save()

    def _has_stopped_improving(self) -> bool:
        limit = self.settings.train.early_stop
        return limit is not None and self.best.behind >= limit

    # --- beside the steps

    def _validate(self) -> None:
        assert self.val is not None
        with self._mean_weights(), self.meter.pausing():
            self.scores, values = validate(self.detector, self.val, self.world, batch=self.val_batch)
            self._log("val", values)
            name, value = leading_figure(self.scores)
            if self.best.improves(value, self.step):
                self.folder.save_weights(self.detector, BEST)
            elif self._has_stopped_improving():
                self.say(f"{name} was best at step {self.best.step} ({self.best.value:.3f}): the run ends early")

    def _show_picture(self) -> None:
        if not self.world.is_main:
            return
        with self.meter.pausing():
            picture = training_picture(self.detector, self.val or self.sets.train, 0)
            for logger in self.loggers:
                logger.show(self.step, {"stages": picture})

    def _log(self, kind: str, values: dict[str, float]) -> None:
        for logger in self.loggers:
            logger.log(kind, self.step, values)

    def _make_loggers(self) -> list[Logger]:
        if not self.world.is_main:
            return []
        folder = self.folder.path
        metrics, pictures = MetricsFile(folder, from_step=self.step), PictureFolder(folder / "pictures")
        elsewhere = chosen_loggers(self.settings.train.log_to, folder, dump_plain(self.settings))
        return [metrics, pictures, self.terminal, *elsewhere]

    def _announce(self) -> None:
        train, learner = self.settings.train, self.learner
        val = "no validation set" if self.val is None else f"{len(self.val)} to validate on"
        total = sum(p.numel() for p in self.detector.model.parameters() if p.requires_grad)
        self.say(
            f"{len(self.sets.train)} images to train on, {val}, {len(self.detector.class_names)} classes; "
            f"{total / 1e6:.1f} million weights learn; steps {self.step} to {learner.num_steps}, batches of "
            f"{train.batch}" + (f" x {train.accumulate}" if train.accumulate > 1 else "")
        )
        self.terminal.start(first_step=self.step, num_steps=learner.num_steps)

    def _explained(self, error: NonFiniteError, launched: Launched) -> TrainingError:
        number = launched.step + 1
        now = Circumstances(step=number, rate=launched.rate, last_gradient_norm=self._last_norm)
        name = f"step_{number:08d}" + (f"_rank{self.world.rank}" if self.world.size > 1 else "")
        return explain(error, self.detector, now, self.folder.path / "trouble" / f"{name}.pt")

    # --- state

    def _save(self) -> None:
        """By the first process alone; the state of the data is the same on all."""
        if self.world.is_main:
            state = {
                "learner": self.learner.state_dict(),
                "loader": self.loader.state_dict(),
                "best": self.best.state_dict(),
            }
            self.checkpoints.save(state, step=self.step)
        self.world.wait()

    def _restore(self, step: int, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"], step=step)
        self.loader.load_state_dict(state["loader"])
        self.best.load_state_dict(state["best"])
        self.step = step
        self.say(f"going on after step {step}")

    def _mean_weights(self) -> AbstractContextManager[None]:
        return nullcontext() if self.learner.mean is None else self.learner.mean.applied()

    def _finish(self, stop: StopRequest) -> Run:
        is_done = self.step >= self.learner.num_steps or self._has_stopped_improving()
        if is_done:
            if self.learner.mean is not None:
                self.learner.mean.put()
            self.folder.save_weights(self.detector, LAST)
        else:
            by = stop.signal_name or "a signal to another process"
            self.say(f"stopped by {by} after step {self.step}; the same command goes on from there")
        self.detector.model.eval()
        summary = self.loader.summary()
        if summary["bad_images"]:
            self.say(f"{summary['bad_images']} of {summary['images']} images could not be read: {summary['first'][0]}")
        return Run(
            folder=self.folder.path,
            step=self.step,
            detector=self.detector,
            scores=self.scores,
            is_done=is_done,
            is_main=self.world.is_main,
            samples=summary,
        )
