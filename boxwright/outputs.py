"""What a command may write: new files, and files that it wrote before and nobody changed since.

Those are known from lists in the cache folder, one for each folder that was written to: name, size and time of change.
"""

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from boxwright.cache import cache_folder
from boxwright.errors import OutputError
from boxwright.files import atomic_write, is_stream

Mark = tuple[int, int]  # size, time of the last change in nanoseconds


@contextmanager
def writing(*outputs: Path | None, inputs: Iterable[str | Path | None] = (), force: bool = False) -> Iterator[None]:
    """Around the work that writes `outputs`. Before it each is checked; after it those written are remembered.

    An OutputError is raised for a file that the command reads, a file in a folder that it reads, another's file (unless
    `force`), what is no file, and a folder that cannot be written to. Pipes and devices are written to. Of `inputs`
    what names no file counts for nothing.
    """
    targets = {Path(os.path.realpath(path)): path for path in outputs if path is not None and not is_stream(path)}
    rules = _Rules(inputs, force)
    before = {target: rules.check(target, name) for target, name in targets.items()}
    for folder in dict.fromkeys(target.parent for target in targets):
        _need_writable(folder)
    try:
        yield
    finally:
        _remember([target for target in targets if _mark(target) not in (None, before[target])])


class _Rules:
    def __init__(self, inputs: Iterable[str | Path | None], force: bool) -> None:
        self.force = force
        self.folders: list[Path] = []
        self.files: set[tuple[int, int]] = set()  # device and number, so that no other name hides a file
        self._written: dict[Path, dict[str, Mark]] = {}
        for path in _existing(inputs):
            if path.is_dir():
                self.folders.append(path.resolve())
            else:
                found = path.stat()
                self.files.add((found.st_dev, found.st_ino))

    def check(self, target: Path, name: Path) -> Mark | None:
        """`target` without links, `name` as it was given. -> the mark of the file that is there already."""
        try:
            found = target.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(f"{name} cannot be written: {error.strerror or error}") from error
        mark = found.st_size, found.st_mtime_ns
        if (found.st_dev, found.st_ino) in self.files:
            raise OutputError(f"{name} is read by this command and would be replaced; name another file")
        if self._was_written(target, mark):
            return mark
        for folder in self.folders:
            if target.is_relative_to(folder):
                raise OutputError(f"{name} lies in {folder}, which is read by this command; name another file")
        if not self.force:
            raise OutputError(
                f"{name} is there already, and was not written by boxwright or was changed since; "
                "name another file, or give --force to replace it"
            )
        return mark

    def _was_written(self, target: Path, mark: Mark) -> bool:
        if target.parent not in self._written:
            self._written[target.parent] = _remembered(target.parent)
        return self._written[target.parent].get(target.name) == mark


def _existing(inputs: Iterable[str | Path | None]) -> Iterator[Path]:
    """Files and folders among the inputs; several may be joined by commas."""
    for given in inputs:
        for text in (str(given or ""), *str(given or "").split(",")):
            with suppress(OSError, ValueError):
                if text.strip() and Path(text.strip()).exists():
                    yield Path(text.strip())


def _mark(path: Path) -> Mark | None:
    """None where there is no regular file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def _need_writable(folder: Path) -> None:
    """Tries it in the folder, or in the one in which it will be made."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OutputError(f"nothing can be written to {there}: {error.strerror or error}") from error


def _list_of(folder: Path) -> Path:
    return cache_folder() / "written" / hashlib.blake2b(os.fsencode(folder), digest_size=16).hexdigest()


def _remembered(folder: Path) -> dict[str, Mark]:
    try:
        known = json.loads(_list_of(folder).read_bytes())
        return {str(name): (int(size), int(changed)) for name, (size, changed) in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # none yet, or damaged: then nothing is known
        return {}


def _remember(written: Sequence[Path]) -> None:
    """Where the cache cannot be written to, nothing: the next run then asks for --force."""
    for folder in dict.fromkeys(path.parent for path in written):
        marks = {path.name: mark for path in written if path.parent == folder and (mark := _mark(path))}
        with suppress(OSError), atomic_write(_list_of(folder), "w") as file:
            json.dump(_remembered(folder) | marks, file)
