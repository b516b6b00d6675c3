"""Runs found in folders, and what became of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwright.config import Config, diff
from boxwright.engine.training.loggers import METRICS, read_metrics
from boxwright.engine.training.run_folder import SETTINGS, read_settings
from boxwright.errors import TrainingError


@dataclass(frozen=True)
class RunSummary:
    """One run: its settings, its metrics, and the best of its results."""

    folder: Path
    settings: Config
    rows: list[dict[str, Any]]

    @property
    def step(self) -> int:
        """The last that was logged."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def num_steps(self) -> int:
        """Of the whole run, as its settings say."""
        train = self.settings.train
        return sum(stage.steps for stage in train.stages) or train.schedule.max_steps

    @property
    def loss(self) -> float | None:
        """Of the last training row."""
        losses = [row["loss"] for row in self.rows if row.get("kind") == "train" and "loss" in row]
        return float(losses[-1]) if losses else None

    def best(self, name: str) -> tuple[float, int] | None:
        """The highest value of a validation figure, such as "mask.ap", and its step."""
        found = [(float(row[name]), -int(row["step"])) for row in self.rows if row.get("kind") == "val" and name in row]
        return (max(found)[0], -max(found)[1]) if found else None

    def curve(self, kind: str, name: str) -> list[tuple[int, float]]:
        """(step, value) of each row of `kind` that has the figure."""
        return [(int(row["step"]), float(row[name])) for row in self.rows if row.get("kind") == kind and name in row]


def find_runs(folders: Sequence[str | Path]) -> list[RunSummary]:
    """The runs that the folders are, or hold at any depth; in the order of their paths."""
    found: dict[Path, None] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise TrainingError(f"{folder}: no such folder")
        inside = sorted(path.parent for path in folder.rglob(SETTINGS) if (path.parent / METRICS).is_file())
        if not inside:
            raise TrainingError(f"{folder}: neither a run nor a folder of runs; a run has {SETTINGS} and {METRICS}")
        found |= dict.fromkeys(inside)
    return [_read(folder) for folder in found]


def differences(runs: Sequence[RunSummary]) -> dict[str, list[Any]]:
    """Settings in which the runs differ -> the value of each run."""
    first = runs[0].settings
    names: dict[str, None] = {}
    for run in runs[1:]:
        names |= dict.fromkeys(path for path, _, _ in diff(first, run.settings))
    changes = [{path: new for path, _, new in diff(first, run.settings)} for run in runs]
    own = {path: old for run in runs[1:] for path, old, _ in diff(first, run.settings)}
    return {name: [change.get(name, own[name]) for change in changes] for name in names}


def _read(folder: Path) -> RunSummary:
    return RunSummary(folder, read_settings(folder), read_metrics(folder))
