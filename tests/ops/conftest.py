"""Every test that asks for `backend` runs once on each, forced: no other one can answer for it."""

import pytest
import torch

from boxwright import ops


@pytest.fixture(params=["reference", "cpu"])
def backend(request):
    with ops.use_backend(request.param):
        yield request.param


@pytest.fixture
def cpu():
    with ops.use_backend("cpu"):
        yield


@pytest.fixture
def num_threads():
    """Sets torch's number of threads, and sets it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
