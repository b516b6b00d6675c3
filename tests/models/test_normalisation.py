"""Norms in channels-last memory give what float64 gives, forward and backward."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from boxwright.models.normalisation import LARGE, BatchNorm, GroupNorm


def norms(kind, channels=32):
    if kind == "group":
        return GroupNorm(8, channels), nn.GroupNorm(8, channels).double()
    return BatchNorm(channels), nn.BatchNorm2d(channels).double()


@pytest.mark.parametrize("kind", ["group", "batch"])
@pytest.mark.parametrize("size", [(0, 4, 4), (2, 5, 7), (1, 160, 200)], ids=str)
def test_norms_agree_with_float64_in_channels_last(kind, size):
    if size[0] == 0 and kind == "batch":
        pytest.skip("torch's batch norm refuses empty batches in training")
    torch.manual_seed(0)
    ours, exact = norms(kind)
    for parameter in ours.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    exact.load_state_dict(ours.state_dict())
    x = (3 * torch.randn(size[0], 32, *size[1:]) + 1).contiguous(memory_format=torch.channels_last).requires_grad_()
    x64 = x.detach().double().requires_grad_()
    grad = torch.randn_like(x)
    out, expected = ours(x), exact(x64)
    out.backward(grad)
    expected.backward(grad.double())
    assert_close(out.double(), expected, rtol=0, atol=3e-6)
    assert_close(x.grad.double(), x64.grad, rtol=0, atol=3e-6)
    for mine, other in zip(ours.parameters(), exact.parameters(), strict=True):
        assert_close(mine.grad.double(), other.grad, rtol=1e-4, atol=2e-2)
    for name, buffer in ours.named_buffers():
        assert_close(buffer.double(), dict(exact.named_buffers())[name].double(), rtol=1e-5, atol=1e-6)


def test_the_sum_is_taken_in_blocks_only_where_it_is_needed():
    norm = GroupNorm(4, 8)
    x = torch.randn(1, 8, LARGE // 32 + 1, 32).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert "GroupNormBackward" in norm(x).grad_fn.name()
    assert "Native" in norm(x.contiguous()).grad_fn.name()


def test_large_batch_norms_in_eval_use_what_they_tracked():
    norm = BatchNorm(4).eval()
    x = torch.randn(1, 4, 64, 64).contiguous(memory_format=torch.channels_last)
    assert_close(norm(x), x / (1 + norm.eps) ** 0.5)
