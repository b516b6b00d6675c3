"""Large results are like any others, only their pages are larger."""

import pytest
import torch

from boxwright import ops
from boxwright.ops.cpu.memory import ALIGNMENT, BYTES_WORTH_LARGE_PAGES, allocate


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_large_tensor_is_made_like_another(dtype, layout):
    side = BYTES_WORTH_LARGE_PAGES // 8 // 64
    like = torch.empty(2, 4, side, 8, dtype=dtype, memory_format=layout)
    like = torch.cat([like] * 8).contiguous(memory_format=layout)
    made = allocate(like)
    assert (made.shape, made.dtype, made.stride()) == (like.shape, like.dtype, like.stride())
    assert made.data_ptr() != like.data_ptr()
    assert made.data_ptr() % ALIGNMENT == 0
    made.fill_(3)
    assert made[-1, -1, -1, -1] == 3
    assert not made._is_view()


def test_a_small_one_stays_what_it_is():
    like = torch.empty(3, 4)
    assert allocate(like) is like


def test_what_an_op_gives_may_be_changed_in_place(cpu):
    feature = torch.ones(1, 256, 20, 20).contiguous(memory_format=torch.channels_last).requires_grad_()
    rois = torch.tensor([[1.0, 1, 15, 15]]).repeat(100, 1)
    none = torch.zeros(100, dtype=torch.int64)
    pooled = ops.roi_align([feature], rois, none, none, scales=[1.0], output_size=(7, 7))
    assert pooled.numel() * 4 > BYTES_WORTH_LARGE_PAGES
    pooled.mul_(2)[:50].zero_()
    (grad,) = torch.autograd.grad(pooled.sum(), feature)
    assert grad.sum().item() == pytest.approx(50 * 2 * 49 * 256, rel=1e-4)
