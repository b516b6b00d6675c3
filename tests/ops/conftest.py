"""Every test that asks for `backend` runs once on each, forced: no other one can answer for it."""

import os

import pytest
import torch

from boxwright import ops

BACKENDS = ["reference", "cpu"]
if os.environ.get("TRITON_INTERPRET") == "1":  # tests/ops/gpu/test_interpreted.py runs these in a process of their own
    BACKENDS.append("gpu")


@pytest.fixture(params=BACKENDS)
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
