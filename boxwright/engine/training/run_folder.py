"""The folder of a run: its settings, log, checkpoints and weights, and whether it may go on."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from boxwright import __version__
from boxwright.config import Config, diff, dump, parse_config
from boxwright.engine.detector import Detector
from boxwright.engine.loading import BEST, LAST, save
from boxwright.engine.training.checkpoint import Checkpoints
from boxwright.engine.training.data_marks import DataMarks, need_same_data
from boxwright.engine.training.loggers import METRICS
from boxwright.errors import ConfigError, TrainingError
from boxwright.files import MOST_OF_LABELS, atomic_write, read_bytes, read_text
from boxwright.json_file import read_json, write_json
from boxwright.locks import locked

SETTINGS, DATA, LOG, LOCK = "config.yaml", "data.json", "log.txt", ".lock"
HEADER = b"# boxwright "  # begins the settings of a run
FREE = {  # settings that may change while a run goes on: none changes what the weights become
    *("data.workers", "data.max_bad_share", "data.root", "data.train", "data.val"),
    *("train.checkpoint_every", "train.keep_checkpoints", "train.evaluate_every", "train.early_stop"),
    *("train.log_every", "train.picture_every", "train.log_to", "train.non_finite", "train.weights"),
}


class RunFolder:
    """`is_main`: of the processes of a run one alone writes."""

    def __init__(self, path: Path, *, is_main: bool) -> None:
        self.path, self.is_main = path, is_main

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def log_path(self) -> Path:
        """The file with all that the terminal says."""
        return self.path / LOG

    @contextmanager
    def taken(self) -> Iterator["RunFolder"]:
        """For the length of the block no other process trains here; a folder that stays empty is removed again."""
        if not self.is_main:
            yield self
            return
        if self.path.exists() and not self.path.is_dir():
            raise TrainingError(f"{self.path} is a file; a run needs a folder of its own")
        if not self._has_checkpoints():
            _need_nothing_of_others(self.path)
        is_new = not self.path.exists()
        with ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                if is_new:
                    stack.callback(_remove_if_empty, self.path)
                stack.enter_context(locked(self.path / LOCK, waits=False))
            except BlockingIOError as error:
                raise TrainingError(
                    f"{self.path}: another training is at work in this folder; wait for its end, or give another folder"
                ) from error
            except OSError as error:
                raise TrainingError(f"{self.path}: the folder cannot be made ({error.strerror})") from error
            yield self

    def holds_a_run(self, *, may_go_on: bool) -> bool:
        """Whether a run is there already, which goes on. Writes nothing."""
        is_there = self._has_checkpoints()
        if is_there and not may_go_on:
            raise TrainingError(f"{self.path} holds a run already; give another folder, or let it go on (resume=auto)")
        return is_there

    def need_same(self, settings: Config, marks: DataMarks) -> None:
        """The settings and the data of a run that goes on must be those that it was begun with. Writes nothing."""
        if (self.path / SETTINGS).is_file():
            _check_same(read_settings(self.path), settings, self.path)
        if (self.path / DATA).is_file():
            need_same_data(read_json(self.path / DATA), marks, folder=self.path)

    def keep(self, settings: Config, marks: DataMarks) -> None:
        """Writes the settings as they are used, and what tells the data from others."""
        if not self.is_main:
            return
        header = f"{HEADER.decode()}{__version__}, Python {sys.version.split()[0]}\n"
        with atomic_write(self.path / SETTINGS, "w") as file:
            file.write(header + dump(settings))
        write_json(self.path / DATA, marks)

    def _has_checkpoints(self) -> bool:
        return bool(Checkpoints(self.checkpoints, keep=1).entries())

    def save_weights(self, detector: Detector, name: str) -> Path:
        """A file of its own for the weights, with settings and class names; -> its path."""
        if self.is_main:
            save(detector, self.path / name)
        return self.path / name


def read_settings(folder: Path) -> Config:
    """Those that a run was begun with, from its folder; a ConfigError where they cannot be read."""
    path = folder / SETTINGS
    return parse_config(read_text(path, error=ConfigError, most=MOST_OF_LABELS), where=str(path))


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _need_nothing_of_others(folder: Path) -> None:
    """A run that died before its first checkpoint is begun anew; it is known by its settings, which name us first."""
    names = [name for name in (SETTINGS, METRICS, BEST, LAST) if (folder / name).exists()]
    if not names:
        return
    path = folder / SETTINGS
    if SETTINGS not in names or not read_bytes(path, error=TrainingError, most=MOST_OF_LABELS).startswith(HEADER):
        raise TrainingError(f"{folder / names[0]} is there already, and no run has made it; give another folder")


def _check_same(before: Config, now: Config, folder: Path) -> None:
    changes = [change for change in diff(before, now) if change[0] not in FREE]
    if changes:
        told = "; ".join(f"{path} was {old!r}, is now {new!r}" for path, old, new in changes[:5])
        more = f" and {len(changes) - 5} more" if len(changes) > 5 else ""
        raise ConfigError(
            f"{folder} holds a run with other settings: {told}{more}. "
            "Give the same settings to go on, or another folder to begin anew"
        )
