"""Runs compiled kernels, which hold no GIL, in as many threads as torch uses.

Numba's own `parallel=True` is left alone: its OpenMP layer hangs after `fork` and its workqueue is not thread-safe.
Work is split by what it writes, never by thread, so the number of threads cannot change a result.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def run_chunks(work: Callable[[int, int], object], num_items: int, chunk: int) -> None:
    """Calls work(first, past_last) for all chunks of 0..num_items; the next free thread takes the next chunk."""
    num_chunks = -(-num_items // chunk)
    next_chunk = itertools.count()

    def drain() -> None:
        while (i := next(next_chunk)) < num_chunks:
            work(i * chunk, min((i + 1) * chunk, num_items))

    num_helpers = min(torch.get_num_threads(), num_chunks) - 1
    futures = []
    if num_helpers > 0:
        pool = _helpers(num_helpers)
        try:
            futures = [pool.submit(drain) for _ in range(num_helpers)]
        except RuntimeError:  # the interpreter is shutting down: this thread does all of it
            futures = []
    drain()
    for future in futures:
        future.result()


def _helpers(num_threads: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    if _pool is None or _pool_size < num_threads:
        # The old pool is left to its callers: its threads end with it.
        _pool, _pool_size = ThreadPoolExecutor(num_threads, thread_name_prefix="boxwright-ops"), num_threads
    return _pool


def _forget_helpers() -> None:
    """A forked child has the pool's object but not its threads."""
    global _pool, _pool_size
    _pool, _pool_size = None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)
