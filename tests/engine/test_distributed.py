"""Processes that join, fail, begin again, and leave nothing behind."""

from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from boxwright.engine.distributed import joined_world
from boxwright.errors import TrainingError
from tests.engine.processes import free_port, together

CPU = torch.device("cpu")


def threads_of_the_group():
    """Those that exchange tensors; the store's own are no matter."""
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return [name for name in names if "gloo" in name]


def one_step(world):
    net = DistributedDataParallel(nn.Linear(1, 1))
    net(torch.ones(1, 1)).sum().backward()
    return world.mean(torch.tensor(float(world.rank))).item()


def succeed(rank):
    with joined_world(CPU) as world:
        during = threads_of_the_group()
        mean = one_step(world)
        everything = world.gather({"rank": rank})
    return mean, everything, bool(during), threads_of_the_group()


def test_processes_that_have_joined_share_values_and_part_without_leaving_threads():
    expected = (0.5, [{"rank": 0}, {"rank": 1}], True, [])
    assert together(succeed, MASTER_PORT=free_port()) == [expected, expected]


def fail(rank):
    def train(world):
        net = DistributedDataParallel(nn.Linear(1, 1))  # an error's frames hold it
        net(torch.ones(1, 1)).sum().backward()
        if rank == 1:
            raise ValueError("a mistake")
        world.mean(torch.zeros(1))

    try:
        with joined_world(CPU) as world:
            train(world)
    except (TrainingError, ValueError) as error:
        return type(error).__name__, str(error), threads_of_the_group()


def test_a_process_whose_neighbour_fails_says_so_and_neither_leaves_threads_that_could_hang_it():
    first, second = together(fail, MASTER_PORT=free_port())
    assert second == ("ValueError", "a mistake", [])
    assert first[0] == "TrainingError"
    assert first[1].startswith("another process of the run has ended or cannot be reached (")
    assert first[1].endswith("its own message says why; the same command goes on from the last checkpoint")
    assert first[2] == []


def join(rank):
    with joined_world(CPU) as world:
        return world.mean(torch.tensor(float(rank))).item()


def test_processes_started_anew_read_nothing_of_those_before():
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # torchrun's, of all attempts
    shared = {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True", "GROUP_WORLD_SIZE": "1"}
    assert together(join, **shared, TORCHELASTIC_RESTART_COUNT="0") == [0.5, 0.5]
    for key in store.list_keys():
        store.set(key, "the address of a process that is no more")
    assert together(join, **shared, TORCHELASTIC_RESTART_COUNT="1") == [0.5, 0.5]
