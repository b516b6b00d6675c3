"""Functions in two processes at once, each with the environment that torchrun gives it.

The processes are forked from one that has imported everything, so that they begin at once.
"""

import contextlib
import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch._dynamo  # as the first optimiser does

import boxwright.engine.training.train  # noqa: F401

SECONDS = 60


def together(function: Callable[..., Any], *arguments: Any, **environment: str) -> list[Any]:
    """What `function(rank, *arguments)` gives in each process; None for one that ends without a word."""
    started = [_start(function, rank, *arguments, **environment) for rank in range(2)]
    return [result() for result in started]


def _start(function: Callable[..., Any], rank: int, *arguments: Any, **environment: str) -> Callable[[], Any]:
    """Begins one of two processes -> what waits for its result."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(its, function, rank, arguments, environment), daemon=True)
    process.start()
    its.close()

    def result() -> Any:
        given = None
        with mine, contextlib.suppress(EOFError):
            if mine.poll(SECONDS):
                given = mine.recv()
        process.join(SECONDS if given is None else 10)
        process.kill()  # one that hangs; the exit code below tells of it
        process.join()
        assert process.exitcode == 0, f"process {rank} ended with {process.exitcode} after giving {given}"
        return given

    return result


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _run(
    results: Connection,
    function: Callable[..., Any],
    rank: int,
    arguments: tuple[Any, ...],
    environment: dict[str, str],
) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ |= environment
    results.send(function(rank, *arguments))
