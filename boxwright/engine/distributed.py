"""The processes of a run, as torchrun starts them: one for each GPU, or several on CPUs."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from boxwright.errors import TrainingError

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """Which of `size` processes this one is; `local_rank` counts those of this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes and speaks."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes, the same on each."""
        if self.size > 1:
            distributed.all_reduce(values)
            values = values / self.size
        return values

    def wait(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            distributed.barrier()

    def gather(self, own: T) -> list[T]:
        """What every process has, in the order of their ranks, on each."""
        if self.size == 1:
            return [own]
        everything: list[Any] = [None] * self.size
        distributed.all_gather_object(everything, own)
        return everything


def present_world() -> World:
    """The processes that have joined, or this one alone."""
    if not _is_joined():
        return World()
    return World(distributed.get_rank(), distributed.get_world_size(), _from_environment("LOCAL_RANK"))


@contextmanager
def joined_world(device: torch.device) -> Iterator[World]:
    """The processes that torchrun started, joined for the length of the block; alone without torchrun.

    A group that is there already is used and left as it was.
    """
    if _is_joined() or _from_environment("WORLD_SIZE") <= 1:
        yield present_world()
        return
    _join("nccl" if device.type == "cuda" else "gloo")
    try:
        yield present_world()
    except BaseException as error:
        _clear_frames(error)
        if _comes_from_a_peer(error):
            raise TrainingError(
                f"another process of the run has ended or cannot be reached ({_reason(error)}): its own message says "
                "why; the same command goes on from the last checkpoint"
            ) from error
        raise
    finally:
        distributed.destroy_process_group()


def _join(backend: str) -> None:
    """Enters the group.

    torchrun keeps one store for all its attempts, in which the addresses of processes that have died still stand; an
    early process would wait for one of them. On one machine every process knows the number of the attempt, so each
    attempt gets its own part of the store.
    """
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    try:
        store, rank, size = next(rendezvous("env://"))
        if os.environ.get("GROUP_WORLD_SIZE") == "1":
            store = PrefixStore(f"attempt {_from_environment('TORCHELASTIC_RESTART_COUNT')}", store)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"the processes of the run could not find each other: {error}") from error


def _clear_frames(error: BaseException | None) -> None:
    """Empties the frames in which an error was raised, and those of its causes.

    They hold the model that exchanges gradients, and that holds the group. If the group then outlived
    `destroy_process_group`, its threads, which need the interpreter to free tensors, would be joined by whoever frees
    the frames, who holds the interpreter: neither ends. At the end of the program they would abort it.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _comes_from_a_peer(error: BaseException) -> bool:
    return isinstance(error, distributed.DistBackendError) or (
        isinstance(error, RuntimeError) and "gloo/transport" in str(error)
    )


def _reason(error: BaseException) -> str:
    """The sentence that says it, without the place in the source before it and the advice behind it."""
    return str(error).rpartition(".cc:")[2].partition("] ")[2].partition(". ")[0] or str(error)


def device_of_process(device: torch.device) -> torch.device:
    """ "cuda" is the GPU of this process's number on its machine."""
    if str(device) != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    local_rank, count = _from_environment("LOCAL_RANK"), torch.cuda.device_count()
    if local_rank >= count:
        raise TrainingError(
            f"process {local_rank} of this machine has no GPU: there are {count}; start fewer processes"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _is_joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _from_environment(name: str) -> int:
    try:
        return int(os.environ.get(name, "0"))
    except ValueError as error:
        raise TrainingError(f"{name}={os.environ[name]} is not a number; torchrun sets it") from error
