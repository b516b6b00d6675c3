"""Two ways to enlarge: they agree inside and differ at the border."""

import torch
from torch.testing import assert_close

from boxwright.models.upsampling import FixedUpsample, enlarge


def test_interpolation_continues_the_border():
    assert_close(enlarge(torch.ones(1, 2, 3, 3), 2), torch.ones(1, 2, 6, 6))
    x = torch.rand(1, 2, 3, 3)
    assert enlarge(x, 1) is x


def test_the_fixed_kernel_sees_zeros_outside_and_interpolates_inside():
    x = torch.rand(1, 3, 5, 5)
    out = FixedUpsample(3, 2)(x)
    assert out.shape == (1, 3, 10, 10)
    assert_close(out[..., 1:-1, 1:-1], enlarge(x, 2)[..., 1:-1, 1:-1])
    assert_close(out[0, 0, 0, 0], 0.75 * 0.75 * x[0, 0, 0, 0])


def test_a_loaded_kernel_may_mix_channels():
    layer = FixedUpsample(2, 2)
    layer.weight[0, 1] = layer.weight[0, 0]
    x = torch.zeros(1, 2, 4, 4)
    x[:, 0] = 1
    out = layer(x)
    assert_close(out[:, 0], out[:, 1])


def test_one_channel_goes_through_the_first_kernel():
    layer = FixedUpsample(4, 2)
    x = torch.rand(3, 1, 4, 4)
    assert_close(layer(x), FixedUpsample(1, 2)(x))
