"""Compiles a function with Numba, once per machine: the machine code is kept on disk.

It is kept in `NUMBA_CACHE_DIR` if that is set, otherwise in `__pycache__` beside the source, otherwise in the user's
cache folder. Where none can be written, each process compiles for itself.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys

from boxwright.locks import locked


def kernel(function: Callable[..., Any]) -> Any:
    """Decorator: compiled on first use, runs without the GIL. Products and sums may fuse, but never change order."""
    compiled = numba.njit(nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")(function)
    return _keep_on_disk(compiled)


def exact_kernel(function: Callable[..., Any]) -> Any:
    """As `kernel`, but rounds after every operation, where a comparison must come out as in the definition.

    Also for what a `kernel` calls: without its own word a function inherits the caller's arithmetic.
    """
    return _keep_on_disk(numba.njit(nogil=True, fastmath=False, error_model="numpy")(function))


def _keep_on_disk(compiled: Any) -> Any:
    with suppress(RuntimeError):  # no folder can be written
        compiled._cache = _SharedCache(compiled.py_func)
    return compiled


class _SharedCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache, made safe to share.

    Two processes that store different signatures of one function at the same moment could give both the same file
    name: a lock on the folder prevents it. And code is reused only while no source of the kernels has changed, since
    a kernel contains those that it calls from other files. What is stored is read without setting the compiler up,
    which Numba does first and which takes longer than all else; a kernel that has to be compiled sets it up itself.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = (self._cache_file._source_stamp, _digest_of_sources())

    def load_overload(self, signature: Any, target: Any) -> Any:
        rtsys.initialize(target)
        with _locked(Path(self.cache_path)), self._guard_against_spurious_io_errors():
            return self._load_overload(signature, target)

    def save_overload(self, *args: Any) -> None:
        with _locked(Path(self.cache_path)):
            super().save_overload(*args)


@cache
def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone among the processes that use this folder, where the system and the file system can do that."""
    with ExitStack() as stack:
        with suppress(OSError):  # nobody may write there
            stack.enter_context(locked(folder / "boxwright.lock"))
        yield
