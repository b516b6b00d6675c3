"""Bilinear enlargement, by interpolation or by the fixed kernel of Detectron."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def enlarge(x: Tensor, factor: int) -> Tensor:
    """(N, C, H, W) -> (N, C, H * factor, W * factor), borders continued."""
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


class FixedUpsample(nn.Module):
    """Enlarges by a transposed convolution with a bilinear kernel per channel: outside the map it sees zeros.

    Keys: weight (C, C, 2 * factor, 2 * factor), bias (C,); constants, saved since the source saves them.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        ramp = 1 - (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
        kernel = torch.zeros(channels, channels, 2 * factor, 2 * factor)
        kernel[range(channels), range(channels)] = ramp[:, None] * ramp
        self.register_buffer("weight", kernel)
        self.register_buffer("bias", torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), or (N, 1, H, W) for one channel of the C -> (N, same, H * factor, W * factor).

        All channels go through the kernel as it was loaded; one alone through that of the first channel.
        """
        kernel, bias = self.weight[: x.shape[1], : x.shape[1]].to(x.dtype), self.bias[: x.shape[1]].to(x.dtype)
        return F.conv_transpose2d(x, kernel, bias, stride=self.factor, padding=self.factor // 2)
