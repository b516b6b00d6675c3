"""Runs compiled kernels, which hold no GIL, in as many threads as torch uses.

Work is split by what it writes, never by thread, so the number of threads cannot change a result.

Where torch brings GNU's OpenMP (Linux) they are torch's own threads: these look for work in a loop for milliseconds
after each of torch's operations, and threads beside them find the processors taken. Elsewhere, and after a fork, which
OpenMP does not survive, they are a pool of Python's. Numba's own `parallel=True` is left alone: its OpenMP layer hangs
after `fork` and its workqueue is not thread-safe.
"""

import ctypes
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

_REGION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_is_forked = False
_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def run_chunks(work: Callable[[int, int], object], num_items: int, chunk: int) -> None:
    """Calls work(first, past_last) for all chunks of 0..num_items; the next free thread takes the next chunk."""
    num_chunks = -(-num_items // chunk)
    next_chunk = itertools.count()

    def drain() -> None:
        while (i := next(next_chunk)) < num_chunks:
            work(i * chunk, min((i + 1) * chunk, num_items))

    num_threads = min(torch.get_num_threads(), num_chunks)
    if num_threads <= 1:
        drain()
    elif _is_forked or _openmp_region() is None:
        _drain_in_pool(drain, num_threads)
    else:
        _drain_in_region(drain, num_threads)


def _drain_in_region(drain: Callable[[], None], num_threads: int) -> None:
    errors: list[BaseException] = []

    def region(_: Any) -> None:
        try:
            drain()
        except BaseException as error:  # C cannot be thrown through; the caller hears of it
            errors.append(error)

    _openmp_region()(_REGION(region), None, num_threads, 0)
    if errors:
        raise errors[0]


@cache
def _openmp_region() -> Any:
    """What begins a parallel region in the GNU OpenMP that torch has loaded; None where it has another."""
    found = sorted(Path(torch.__file__).parent.glob("lib/libgomp*.so*"))
    return ctypes.CDLL(str(found[0])).GOMP_parallel if found else None


def _drain_in_pool(drain: Callable[[], None], num_threads: int) -> None:
    futures = []
    with suppress(RuntimeError):  # the interpreter is shutting down: this thread does it all
        futures = [_helpers(num_threads - 1).submit(drain) for _ in range(num_threads - 1)]
    drain()
    for future in futures:
        future.result()


def _helpers(num_threads: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    if _pool is None or _pool_size < num_threads:
        # The old pool is left to its callers: its threads end with it.
        _pool, _pool_size = ThreadPoolExecutor(num_threads, thread_name_prefix="boxwright-ops"), num_threads
    return _pool


def _after_fork() -> None:
    """A forked child has the pool's object but not its threads."""
    global _is_forked, _pool, _pool_size
    _is_forked, _pool, _pool_size = True, None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
