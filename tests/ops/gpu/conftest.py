"""The kernels run where they can: on a GPU, or in Triton's interpreter, in the process that test_interpreted.py starts.

Triton asks for `TRITON_INTERPRET=1` once, when it is imported: the kernels of a process are interpreted or compiled.
"""

import os
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from boxwright import ops

IS_INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"
# These start or compile something themselves.
OUTSIDE = ["test_compiled.py", "test_forced.py", "test_interpreted.py"]
INSIDE = [path.name for path in Path(__file__).parent.glob("test_*.py") if path.name not in OUTSIDE]

if IS_INTERPRETING:
    collect_ignore = OUTSIDE
elif not torch.cuda.is_available():
    collect_ignore = INSIDE


@pytest.fixture(params=["cpu"] if IS_INTERPRETING else [pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Where the kernels run; the gpu backend is forced, so that nothing else can answer."""
    with ops.use_backend("gpu"):
        yield torch.device(request.param)


@pytest.fixture
def without_waiting(device):
    """Inside the block it is an error to wait for the GPU. In the interpreter there is nobody to wait for."""

    @contextmanager
    def watched():
        if device.type == "cpu":
            yield
            return
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    return watched
