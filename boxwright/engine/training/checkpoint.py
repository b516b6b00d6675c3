"""Checkpoints of a run: whole or absent, checked when read, a few kept, the last good one found again.

The folder holds `step_00001000.pt` files, and `checkpoints.json` with each file's step and SHA-256. Where that list is
lost, the files are known by their names, and are whole if each part has the check sum that stands beside it.
"""

import hashlib
import json
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from boxwright.errors import TrainingError, WeightsError
from boxwright.files import atomic_write
from boxwright.json_file import read_json

LIST = "checkpoints.json"
_NAME = re.compile(r"step_(\d{8,12})\.pt")


@dataclass(frozen=True)
class Entry:
    """One file of the folder's list."""

    file: str
    step: int
    sha256: str | None  # unknown where the list was lost


class Checkpoints:
    """The checkpoints in `folder`, of which the newest `keep` stay."""

    def __init__(self, folder: str | Path, *, keep: int) -> None:
        self.folder = Path(folder)
        self.keep = keep

    def save(self, state: dict[str, Any], *, step: int) -> Path:
        """Writes one and removes the oldest beyond `keep`. On any failure what was there before stays as it was."""
        path = self.folder / f"step_{step:08d}.pt"
        entry = Entry(path.name, step, self._write(state, path))
        entries = [old for old in self.entries() if old.file != entry.file] + [entry]
        kept, dropped = entries[-self.keep :], entries[: -self.keep]
        with atomic_write(self.folder / LIST, "w") as file:
            json.dump([vars(entry) for entry in kept], file, indent=1)
        for old in dropped:
            (self.folder / old.file).unlink(missing_ok=True)
        return path

    def load_last(self) -> tuple[int, dict[str, Any]] | None:
        """Step and state of the newest whole checkpoint; None in a folder without any.

        A damaged one is passed over with a warning; if none of several is whole, that is an error.
        """
        entries = self.entries()
        for entry in reversed(entries):
            path = self.folder / entry.file
            try:
                if _is_whole(path, entry.sha256):
                    return entry.step, read_checkpoint(path)
                problem = "its content is not what was written"
            except (OSError, WeightsError) as error:
                problem = str(error)
            warnings.warn(f"{path} is passed over: {problem}", stacklevel=2)
        if entries:
            raise TrainingError(
                f"{self.folder}: none of its {len(entries)} checkpoints is whole; start a new run folder"
            )
        return None

    def entries(self) -> list[Entry]:
        """From old to new."""
        path = self.folder / LIST
        if not path.is_file():
            files = sorted(self.folder.glob("step_*.pt"))
            return [Entry(file.name, int(found[1]), None) for file in files if (found := _NAME.fullmatch(file.name))]
        try:
            return [Entry(**row) for row in read_json(path)]
        except (ValueError, TypeError) as error:
            raise TrainingError(
                f"{path}: not a list of checkpoints ({error}); without it they are known by their names: remove it"
            ) from error

    def _write(self, state: dict[str, Any], path: Path) -> str:
        try:
            with atomic_write(path) as file:
                torch.save(state, file)
        except (OSError, RuntimeError) as error:
            reason = _reason(error)
            if reason is None:
                raise
            raise TrainingError(
                f"{path}: the checkpoint could not be written ({reason}); those written before are whole. "
                "Free space and resume."
            ) from error
        return _sha256(path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The state in a checkpoint of ours: tensors and plain values only."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # what torch raises for damage differs by version
        raise WeightsError(f"{path}: cannot be read as a checkpoint ({' '.join(str(error).split())[:200]})") from error
    return state


def _reason(error: BaseException | None) -> str | None:
    """Why a file could not be written: torch raises an error of its own over the system's."""
    while error is not None:
        if isinstance(error, OSError):
            return error.strerror or str(error)
        error = error.__cause__ or error.__context__
    return None


def _is_whole(path: Path, sha256: str | None) -> bool:
    if sha256 is not None:
        return _sha256(path) == sha256
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is None
    except zipfile.BadZipFile:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
