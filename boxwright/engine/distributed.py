"""The processes of a run, as torchrun starts them: one for each GPU, or several on CPUs."""

import os
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
    world = World(_from_environment("RANK"), _from_environment("WORLD_SIZE"), _from_environment("LOCAL_RANK"))
    try:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"the {world.size} processes could not find each other: {error}") from error
    try:
        yield world
    finally:
        distributed.destroy_process_group()


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
