"""The gate for files: what a user names is read only where it is a regular file of a bounded size.

Written files are seen whole or not at all: a reader finds the old content or the new, never a part.
"""

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, BinaryIO

from boxwright.errors import BoxwrightError, OutputError
from boxwright.locks import claim, remove_abandoned

# Bytes that are read of one file, by what it is.
MOST_OF_PICTURE = 2**30
MOST_OF_LABELS = 2**26  # of one picture
MOST_OF_LIST = 2**30
MOST_OF_JSON = 2**34

_UNFINISHED = ".bw.part"  # ends the names of files that are being written

_READING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: str | Path, *, error: type[BoxwrightError], most: int | None = None) -> BinaryIO:
    """A file open for reading. Pipes, sockets, devices, folders and files over `most` bytes raise `error`.

    The cause of an `error` for a file that is not there is a FileNotFoundError.
    """
    try:
        _need_regular(path, os.stat(path), error)  # before opening too: to open a device may set it going
        descriptor = os.open(path, _READING)
    except BoxwrightError:  # ours may be a ValueError too
        raise
    except FileNotFoundError as cause:
        raise error(f"{path} does not exist") from cause
    except (OSError, ValueError) as cause:  # a name with a zero byte is a ValueError
        raise error(f"{path} cannot be read: {getattr(cause, 'strerror', None) or cause}") from cause
    file = os.fdopen(descriptor, "rb")
    try:
        found = os.fstat(descriptor)
        _need_regular(path, found, error)
        if most is not None and found.st_size > most:
            raise error(f"{path} has {found.st_size:,} bytes, which are too many: at most {most:,} are read")
    except BaseException:
        file.close()
        raise
    return file


def read_bytes(path: str | Path, *, error: type[BoxwrightError], most: int) -> bytes:
    """The content of a regular file of at most `most` bytes, or `error`."""
    with open_regular(path, error=error, most=most) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            data = file.read(size + 1)
        except OSError as cause:
            raise error(f"{path} cannot be read: {cause.strerror or cause}") from cause
    if len(data) > size:  # what the kernel makes up on reading, as in /proc, says that it is empty
        raise error(f"{path} grows while it is read; wait until it is written, or copy it first")
    return data


def read_text(path: str | Path, *, error: type[BoxwrightError], most: int) -> str:
    """`read_bytes` as UTF-8, with or without a byte order mark."""
    try:
        return read_bytes(path, error=error, most=most).decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(f"{path} cannot be read as text: {cause.reason} at byte {cause.start:,}") from cause


def is_readable(path: str | Path) -> bool:
    """Whether `path` is a regular file; False too for what cannot be the name of one."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def kind_of(mode: int) -> str:
    """What `st_mode` says that something is, with its article."""
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a regular file" if stat.S_ISREG(mode) else "a device"


def _need_regular(path: str | Path, found: os.stat_result, error: type[BoxwrightError]) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise error(f"{path} is {kind_of(found.st_mode)} and not a regular file")


@contextmanager
def atomic_write(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path`; at the end of the block it is flushed to disk and renamed over `path`.

    When the block raises, `path` is left as it was and the temporary file is removed. A link stays, and what it names
    is replaced. A pipe or a device, such as /dev/stdout, is written to directly; what is neither that nor a regular
    file is an OutputError, as is every failure to write.
    """
    target = Path(os.path.realpath(path))
    try:
        with _open_stream(path, mode) if is_stream(path) else _temporary_file(target, mode) as file:
            yield file
    except (BoxwrightError, BrokenPipeError):
        raise
    except OSError as error:
        place = None if error.filename is None else Path(str(error.filename))
        if place is not None and place.suffix != ".part" and place not in (target, *target.parents):
            raise  # of something else that the block has opened
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def _temporary_file(path: Path, mode: str) -> Iterator[IO[Any]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    handle, temporary, claimed = _claimed_file(path)
    try:
        with claimed:
            with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _claimed_file(path: Path) -> tuple[int, str, AbstractContextManager[Any]]:
    """A new file beside `path`: a descriptor, its name, and what keeps other processes from sweeping it away."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=temporary_prefix(path.name), suffix=_UNFINISHED)
        if (claimed := claim(handle)) is not None:
            return handle, name, claimed
        os.close(handle)


@cache
def _sweep(folder: Path) -> None:
    """Once in each folder that is written to: removes what processes that were killed had begun to write."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.startswith(".") and entry.name.endswith(_UNFINISHED):
                remove_abandoned(Path(entry.path))


def temporary_prefix(name: str) -> str:
    """Of what is written in the place of `name`: hidden, and short enough for a longest name and eight letters more."""
    return f".{os.fsdecode(os.fsencode(name)[:220])}."


def is_stream(path: str | Path) -> bool:
    """Whether what is written to `path` is gone from here at once: a descriptor by its name, a pipe, a device."""
    if _open_descriptor(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        raise OutputError(f"{path} is {kind_of(mode)} and not a file; name a file")
    return not stat.S_ISREG(mode)


def _open_stream(path: str | Path, mode: str) -> IO[Any]:
    number = _open_descriptor(path)
    if number is not None:
        sys.stdout.flush()
    place = path if number is None else os.dup(number)
    return open(place, mode, encoding=None if "b" in mode else "utf-8")


def _open_descriptor(path: str | Path) -> int | None:
    """The number that `path` names: /dev/stdout, /dev/stderr, /dev/fd/N. The shell may have it lead to a file."""
    name = os.path.abspath(path)
    folder, _, number = name.rpartition("/")
    if folder in ("/dev/fd", "/proc/self/fd") and number.isdecimal():
        return int(number)
    return {"/dev/stdout": 1, "/dev/stderr": 2}.get(name)


def sync_folder(folder: Path) -> None:
    """Makes a rename inside `folder` survive a power cut. Systems that cannot open folders need no such call."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
