"""The folder of a run: its settings, log, checkpoints and weights, and whether it may go on."""

import sys
from pathlib import Path

from boxwright import __version__
from boxwright.config import Config, diff, dump, parse_config
from boxwright.engine.detector import Detector
from boxwright.engine.loading import BEST, LAST, save
from boxwright.engine.training.checkpoint import LIST
from boxwright.engine.training.loggers import METRICS
from boxwright.errors import ConfigError, TrainingError
from boxwright.files import MOST_OF_LABELS, atomic_write, read_bytes

SETTINGS, LOG = "config.yaml", "log.txt"
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

    def begin(self, *, may_go_on: bool) -> bool:
        """Makes the folder; -> whether a run is there already, which goes on."""
        if self.path.exists() and not self.path.is_dir():
            raise TrainingError(f"{self.path} is a file; a run needs a folder of its own")
        is_there = (self.checkpoints / LIST).is_file()
        if is_there and not may_go_on:
            raise TrainingError(f"{self.path} holds a run already; give another folder, or let it go on (resume=auto)")
        if not is_there:
            _need_nothing_of_others(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{self.path}: the folder cannot be made ({error.strerror})") from error
        return is_there

    def keep_settings(self, settings: Config, *, is_there: bool) -> None:
        """Writes the settings as they are used; those of a run that goes on must be the same."""
        path = self.path / SETTINGS
        if is_there and path.is_file():
            _check_same(parse_config(path.read_text(encoding="utf-8"), where=str(path)), settings, self.path)
        if not self.is_main:
            return
        header = f"{HEADER.decode()}{__version__}, Python {sys.version.split()[0]}\n"
        with atomic_write(path, "w") as file:
            file.write(header + dump(settings))

    def save_weights(self, detector: Detector, name: str) -> Path:
        """A file of its own for the weights, with settings and class names; -> its path."""
        if self.is_main:
            save(detector, self.path / name)
        return self.path / name


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
