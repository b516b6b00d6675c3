"""With the kernels behind them the ops are still torch's own: its checks pass on every one."""

import pytest
import torch

from tests.ops.test_registration import CASES

# It runs each op a dozen times, which takes seconds in the interpreter.
LONG = ("roi_align", "roi_pool", "roi_crop", "deform_conv2d", "deform_conv2d_backward", "rasterize_outlines")


def moved(value, device):
    if isinstance(value, torch.Tensor):
        wants = value.requires_grad
        return value.detach().to(device).requires_grad_(wants)
    return [moved(v, device) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("variant", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in CASES]
)
def test_opcheck(device, name, variant):
    given = tuple(moved(value, device) for value in CASES[name](variant))
    torch.library.opcheck(getattr(torch.ops.boxwright, name).default, given)
