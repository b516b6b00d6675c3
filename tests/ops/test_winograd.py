"""Winograd's convolution is the convolution, as near as oneDNN's own."""

import pytest
import torch
from torch.nn import functional as F

from boxwright.ops.cpu.winograd import WinogradConv

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.enabled, reason="PyTorch without oneDNN")


def error(x, exact):
    """The root of the mean squared error, as a share of the spread."""
    return ((x - exact).square().mean().sqrt() / exact.std()).item()


@pytest.mark.parametrize("shape", [(1, 8, 12), (2, 7, 9), (3, 14, 14), (1, 1, 1), (1, 3, 50), (0, 7, 7)], ids=str)
@pytest.mark.parametrize("channels", [(32, 48), (272, 16), (16, 304)], ids=str)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@torch.no_grad()
def test_it_is_the_convolution(shape, channels, layout):
    torch.manual_seed(0)
    num, height, width = shape
    x = torch.randn(num, channels[0], height, width).contiguous(memory_format=layout)
    weight, bias = torch.randn(channels[1], channels[0], 3, 3), torch.randn(channels[1])
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    found = WinogradConv(weight, bias)(x, None, relu=False)
    assert found.shape == exact.shape
    assert num == 0 or error(found, exact) < 3e-6


@pytest.mark.parametrize("num_out", [32, 288])
@torch.no_grad()
def test_sum_and_activation_are_part_of_it(num_out):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 32, 9, 13), torch.randn(num_out, 32, 3, 3)
    residual = torch.randn(2, num_out, 9, 13) * 20
    exact = (F.conv2d(x.double(), weight.double(), padding=1) + residual).relu()
    assert error(WinogradConv(weight, None)(x, residual, relu=True), exact) < 3e-6


@torch.no_grad()
def test_many_tiles_come_in_several_parts(monkeypatch):
    monkeypatch.setattr("boxwright.ops.cpu.winograd.MOST_AT_ONCE", 1)
    torch.manual_seed(0)
    x, weight = torch.randn(2, 32, 40, 37), torch.randn(32, 32, 3, 3)
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    conv = WinogradConv(weight, None)
    assert error(conv(x, None, relu=False), exact) < 3e-6


@torch.no_grad()
def test_the_number_of_threads_changes_nothing():
    torch.manual_seed(0)
    x, conv = torch.randn(1, 64, 40, 44), WinogradConv(torch.randn(64, 64, 3, 3), None)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(conv(x, None, relu=False))
    torch.set_num_threads(before)
    assert torch.equal(*found)
