"""Where the figures of a run go: its own file, the terminal, TensorBoard, Weights & Biases, MLflow."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from PIL.Image import Image

from boxwright.errors import MissingExtraError
from boxwright.files import atomic_write

Values = Mapping[str, float]
METRICS = "metrics.jsonl"


class Logger(Protocol):
    """`log` takes figures of one moment by name, such as loss, loss_box, rate or box.ap50; `kind` is train or val."""

    def log(self, kind: str, step: int, values: Values) -> None:
        """Figures of one moment."""

    def show(self, step: int, pictures: dict[str, Image]) -> None:
        """Pictures of one moment, by name."""

    def close(self) -> None:
        """Nothing comes after it."""


class MetricsFile:
    """`metrics.jsonl` of a run: one line of JSON for each row. Rows of steps that are done again are dropped first."""

    def __init__(self, folder: Path, *, from_step: int) -> None:
        self._path = folder / METRICS
        kept = [row for row in read_metrics(folder) if row["step"] <= from_step]
        with atomic_write(self._path, "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in kept)

    def log(self, kind: str, step: int, values: Values) -> None:
        """One more line."""
        _append(self._path, json.dumps({"kind": kind, "step": step, **values}))

    def show(self, step: int, pictures: dict[str, Image]) -> None:
        """Pictures are files of their own."""

    def close(self) -> None:
        """Every line is written already."""


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run; a line cut short by a crash is left out."""
    path = folder / METRICS
    rows: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict) and "step" in row]


class PictureFolder:
    """Pictures as JPEG files in the run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def log(self, kind: str, step: int, values: Values) -> None:
        """Figures go elsewhere."""

    def show(self, step: int, pictures: dict[str, Image]) -> None:
        """A file for each picture, named after the step."""
        for name, picture in pictures.items():
            with atomic_write(self.folder / f"step_{step:08d}_{name}.jpg") as file:
                picture.save(file, format="JPEG", quality=90)

    def close(self) -> None:
        """Every file is finished already."""


class TensorBoard:
    """Event files in the folder `tensorboard` of the run."""

    def __init__(self, folder: Path) -> None:
        module = _import("torch.utils.tensorboard", package="tensorboard", purpose="train.log_to=[tensorboard]")
        self._writer = module.SummaryWriter(str(folder / "tensorboard"))

    def log(self, kind: str, step: int, values: Values) -> None:
        """Figures are named after their kind too: train/loss, val/box.ap."""
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def show(self, step: int, pictures: dict[str, Image]) -> None:
        """Pictures of the step."""
        import numpy as np

        for name, picture in pictures.items():
            self._writer.add_image(name, np.asarray(picture), step, dataformats="HWC")

    def close(self) -> None:
        """Sends what is left."""
        self._writer.close()


class Wandb:
    """A run that goes on is the same run there; `settings` by their groups are its config."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._module = _import("wandb", package="wandb", purpose="train.log_to=[wandb]")
        kept = folder / "wandb_run"
        if not kept.is_file():
            kept.write_text(uuid4().hex[:8], encoding="utf-8")
        self._run = self._module.init(
            project="boxwright",
            name=folder.name,
            dir=str(folder),
            id=kept.read_text(encoding="utf-8"),
            resume="allow",
            config=settings,
        )

    def log(self, kind: str, step: int, values: Values) -> None:
        """Figures are named after their kind too: train/loss, val/box.ap."""
        self._run.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def show(self, step: int, pictures: dict[str, Image]) -> None:
        """Pictures of the step."""
        self._run.log({name: self._module.Image(picture) for name, picture in pictures.items()}, step=step)

    def close(self) -> None:
        """Sends what is left."""
        self._run.finish()


class MLflow:
    """Where MLFLOW_TRACKING_URI says. A run that goes on is the same run there; `settings` are in its config.yaml."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._module = _import("mlflow", package="mlflow", purpose="train.log_to=[mlflow]")
        kept = folder / "mlflow_run"
        run_id = kept.read_text(encoding="utf-8") if kept.is_file() else None
        begun = self._module.start_run(run_id=run_id, run_name=folder.name)
        kept.write_text(begun.info.run_id, encoding="utf-8")
        self._module.log_dict(settings, "config.yaml")

    def log(self, kind: str, step: int, values: Values) -> None:
        """Figures are named after their kind too: train/loss, val/box.ap."""
        self._module.log_metrics({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def show(self, step: int, pictures: dict[str, Image]) -> None:
        """Pictures of the step."""
        for name, picture in pictures.items():
            self._module.log_image(picture, artifact_file=f"step_{step:08d}_{name}.png")

    def close(self) -> None:
        """Sends what is left."""
        self._module.end_run()


class Terminal:
    """A progress bar where standard error is a terminal, else plain lines; what it says is kept in `log_path` too.

    Only the main process of a run says anything.
    """

    def __init__(self, log_path: Path, *, is_main: bool) -> None:
        self._path = log_path if is_main else None
        self._bar: Any = None
        self._first = self._num_steps = 0
        self._started = 0.0

    def start(self, *, first_step: int, num_steps: int) -> None:
        """The steps begin; the time that is left is counted from here."""
        self._first, self._num_steps, self._started = first_step, num_steps, time.perf_counter()
        if self._path is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[figures]}"))
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=num_steps, completed=first_step, figures="")
            self._bar.start()

    def advance(self, step: int) -> None:
        """After every step; the bar alone shows it."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def say(self, line: str) -> None:
        """A line for people, in the log too."""
        self._write(line)
        if self._path is None:
            return
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def log(self, kind: str, step: int, values: Values) -> None:
        """Figures on one line; those of the training beside the bar, where there is one."""
        line = f"step {step}/{self._num_steps}  {self._training(step, values) if kind == 'train' else _scores(values)}"
        if kind == "train" and self._bar is not None:
            self._write(line)
            self._bar.update(self._task, figures=line.partition("  ")[2])
        else:
            self.say(line)

    def show(self, step: int, pictures: dict[str, Image]) -> None:
        """A terminal shows none."""

    def close(self) -> None:
        """The bar ends; what is said later is said in plain lines."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _write(self, line: str) -> None:
        if self._path is not None:
            _append(self._path, line)

    def _training(self, step: int, values: Values) -> str:
        parts = " ".join(f"{n.removeprefix('loss_')} {v:.3f}" for n, v in values.items() if n.startswith("loss_"))
        done = max(step - self._first, 1)
        left = (time.perf_counter() - self._started) / done * (self._num_steps - step)
        return (
            f"loss {values['loss']:.3f} ({parts})  rate {values['rate']:.2g}  {values['images_per_second']:.1f} "
            f"images/s  waiting for data {values['data_share']:.0%}  {values['memory_gb']:.1f} GB  {clock(left)} left"
        )


def _scores(values: Values) -> str:
    figures = [
        f"{name.replace('.', ' ')} {value:.3f}" for name, value in values.items() if name.endswith((".ap", ".ap50"))
    ]
    loss = f"  loss {values['loss']:.3f}" if "loss" in values else ""
    return "validation: " + "  ".join(figures) + loss


def clock(seconds: float) -> str:
    """3725 -> 1:02:05."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def chosen_loggers(names: Sequence[str], folder: Path, settings: dict[str, Any]) -> list[Logger]:
    """Those that `train.log_to` asks for, in the run's folder. `settings` are plain values by their names."""
    made: list[Logger] = []
    for name in names:
        match name:
            case "tensorboard":
                made.append(TensorBoard(folder))
            case "wandb":
                made.append(Wandb(folder, settings))
            case "mlflow":
                made.append(MLflow(folder, settings))
    return made


def _import(module: str, *, package: str, purpose: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(package=package, extra="log", purpose=purpose) from error
