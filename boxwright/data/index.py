"""The shared index: annotations are parsed once, kept as one file of arrays, and mapped by every process after that.

Workers and ranks map the same file, so its pages are in memory once, whoever reads them.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from boxwright.cache import cache_folder
from boxwright.data.annotations import Annotations
from boxwright.data.array_file import open_arrays, write_arrays
from boxwright.errors import DatasetError
from boxwright.locks import locked

LAYOUT = 3  # raise it whenever the columns or what the readers put into them change


def indexed(read: Callable[[], Annotations], *, files: Sequence[Path], key: str) -> Annotations:
    """What `read` gives, from the index where `files` have not changed since it was made.

    `key` tells apart different readings of the same files. A folder that cannot be written is no error: the
    annotations are then read anew each time and not shared. $BOXWRIGHT_CACHE names another cache for the index alone.
    """
    name = _digest(f"{LAYOUT} {key} {[str(path.resolve()) for path in files[:1]]}", 24)
    state = _digest("\n".join(line for path in files for line in _stat_lines(path)), 16)
    folder = Path(os.environ.get("BOXWRIGHT_CACHE") or cache_folder()) / "index"
    path = folder / f"{name}-{state}.arrays"
    if found := _open(path):
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"{name}.lock"):  # of many ranks one parses, the others wait for its file
            return _open(path) or _make(path, read, older=f"{name}-*.arrays")
    except OSError:
        return read()


def _digest(text: str, length: int) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape")).hexdigest()[:length]


def save_index(annotations: Annotations, path: Path) -> None:
    """All of it in one file of arrays; `open_index` maps that file."""
    write_arrays(path, annotations.columns, meta=annotations.plain_meta())


def open_index(path: Path) -> Annotations:
    """Columns are mapped from the file and read-only. A DatasetError where it is no such file."""
    meta, arrays = open_arrays(path)
    return Annotations.from_plain({**meta, "index_path": str(path)}, arrays)


def _make(path: Path, read: Callable[[], Annotations], *, older: str) -> Annotations:
    annotations = read()
    for stale in path.parent.glob(older):
        stale.unlink(missing_ok=True)
    save_index(annotations, path)
    return open_index(path)


def _open(path: Path) -> Annotations | None:
    if not path.exists():
        return None
    try:
        return open_index(path)
    except (DatasetError, TypeError):  # cut off by a full disk or written by another version: it is made again
        return None


def _stat_lines(path: Path) -> Iterator[str]:
    """Name, size and time of a file, or of each file inside a folder."""
    if path.is_dir():
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_dir():
                    yield from _stat_lines(Path(entry.path))
                else:
                    yield _line(entry.path, entry.stat())
    elif path.exists():
        yield _line(str(path.resolve()), path.stat())


def _line(path: str, stat: os.stat_result) -> str:
    return f"{path} {stat.st_size} {stat.st_mtime_ns}"
