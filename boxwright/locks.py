"""Locks between processes, each on an open file: the system frees them when their owner dies."""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

_FAR = 2**30  # Windows locks bytes, and keeps others from reading those: one that no file here has
_held: set[IO[bytes]] = set()


@contextmanager
def locked(path: Path, *, waits: bool = True) -> Iterator[IO[bytes]]:
    """Alone among the processes that lock `path`, a file that is made for it and removed at the end; yields it, open.

    Raises BlockingIOError where another process has it and `waits` is False. Where the file system knows no locks
    nobody is kept out. A process that is forked meanwhile does not hold it on.
    """
    file = _taken(path, waits=waits)
    _held.add(file)
    try:
        yield file
    finally:
        if file in _held:  # not so in a forked process
            _held.remove(file)
            with suppress(OSError):  # Windows removes no open file
                path.unlink()
            file.close()


def _taken(path: Path, *, waits: bool) -> IO[bytes]:
    while True:
        file = path.open("a+b")
        try:
            _lock(file, waits=waits)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except FileNotFoundError:  # its owner has removed it while we waited
            pass
        except BaseException:
            file.close()
            raise
        file.close()


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes], *, waits: bool) -> None:
        file.seek(_FAR)
        while True:
            try:
                return msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if waits else msvcrt.LK_NBLCK, 1)
            except OSError as error:
                if not waits:
                    raise BlockingIOError(*error.args) from error

    def claim(descriptor: int) -> AbstractContextManager[Any] | None:
        return nullcontext()  # a file that is open cannot be renamed

    def remove_abandoned(path: Path) -> None:
        return

else:
    import fcntl

    def _lock(file: IO[bytes] | int, *, waits: bool) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:  # no locks here
            pass

    def _let_go() -> None:
        while _held:
            _held.pop().close()

    os.register_at_fork(after_in_child=_let_go)

    def claim(descriptor: int) -> AbstractContextManager[Any] | None:
        """Marks an open file as being written until the result is left, even where `descriptor` is closed before.

        None where the file was removed meanwhile.
        """
        _lock(descriptor, waits=True)
        return os.fdopen(os.dup(descriptor)) if os.fstat(descriptor).st_nlink else None

    def remove_abandoned(path: Path) -> None:
        """Removes a file that nobody claims any more. Where there are no locks that is never known."""
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)
