"""The block of EfficientNet and MobileNetV3: expand, depthwise convolution, squeeze-and-excite, project."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boxwright.models.layers import Activation, ConvNorm
from boxwright.models.norms import Norm

Padding = Literal["symmetric", "same"]
Gate = Literal["sigmoid", "hardsigmoid"]


class SamePadConvNorm(ConvNorm):
    """Pads as TensorFlow's "same": ceil(size / stride) cells, and where the padding is odd, more at right and bottom.

    The padding follows from the size of each input, or for ever from `nominal_size` if one is given.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        stride: int,
        groups: int = 1,
        norm: Norm | None,
        activation: Activation | None,
        nominal_size: int | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            groups=groups,
            bias=False,
            norm=norm,
            activation=activation,
        )
        self.nominal_size = nominal_size

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """With another padding before than after an axis, the input is padded in a pass of its own."""
        top, bottom = self._amounts(x.shape[2])
        left, right = self._amounts(x.shape[3])
        if top == bottom and left == right:
            return F.conv2d(x, weight, bias, self.stride, (top, left), groups=self.groups)
        return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, self.stride, groups=self.groups)

    def _amounts(self, size: int) -> tuple[int, int]:
        """Cells to add before and after one axis."""
        return same_padding(self.nominal_size or size, kernel_size=self.kernel_size[0], stride=self.stride[0])


def same_padding(size: int, *, kernel_size: int, stride: int) -> tuple[int, int]:
    """Cells before and after an axis of `size` cells that make ceil(size / stride) windows fit."""
    total = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate that it computes from the means of all channels.

    Keys: reduce.weight, reduce.bias, expand.weight, expand.bias.
    """

    def __init__(self, channels: int, squeezed_channels: int, *, activation: Activation, gate: Gate) -> None:
        super().__init__()
        self.reduce = ConvNorm(channels, squeezed_channels, kernel_size=1, activation=activation)
        self.expand = ConvNorm(squeezed_channels, channels, kernel_size=1)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        logits: Tensor = self.expand(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * (logits.sigmoid() if self.gate == "sigmoid" else F.hardsigmoid(logits))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, squeeze-and-excite, 1x1 projection; the input is added where it fits.

    Keys: expand.weight (where there is an expansion), depthwise.weight, squeeze.reduce.weight and .bias,
    squeeze.expand.weight and .bias (where `squeezed_channels` is not 0), project.weight; norm.* under each
    convolution but those of squeeze.

    `drop_path` is the share of the batch whose branch is left out in training (stochastic depth).
    """

    def __init__(
        self,
        in_channels: int,
        expanded_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        stride: int,
        squeezed_channels: int,
        norm: Norm | None,
        activation: Activation,
        squeeze_activation: Activation,
        gate: Gate,
        padding: Padding = "symmetric",
        nominal_size: int | None = None,
        drop_path: float = 0.0,
    ) -> None:
        """`nominal_size` fixes the padding of "same" to that of an input of this size."""
        super().__init__()
        self.expand: nn.Module = nn.Identity()
        if expanded_channels != in_channels:
            self.expand = ConvNorm(
                in_channels, expanded_channels, kernel_size=1, bias=False, norm=norm, activation=activation
            )
        self.depthwise = make_padded_conv(
            expanded_channels,
            expanded_channels,
            kernel_size=kernel_size,
            stride=stride,
            groups=expanded_channels,
            norm=norm,
            activation=activation,
            padding=padding,
            nominal_size=nominal_size,
        )
        self.squeeze: nn.Module = nn.Identity()
        if squeezed_channels:
            self.squeeze = SqueezeExcite(expanded_channels, squeezed_channels, activation=squeeze_activation, gate=gate)
        self.project = ConvNorm(expanded_channels, out_channels, kernel_size=1, bias=False, norm=norm)
        self.has_shortcut = stride == 1 and in_channels == out_channels
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H / stride, W / stride)."""
        out = self.squeeze(self.depthwise(self.expand(x)))
        if not self.has_shortcut:
            return self._project(out)
        if self.training and self.drop_path:
            return x + self._project(out) * self._kept(x)
        return self._project(out, x)

    def _project(self, out: Tensor, shortcut: Tensor | None = None) -> Tensor:
        result: Tensor = self.project(out, shortcut)
        return result

    def _kept(self, x: Tensor) -> Tensor:
        """(N, 1, 1, 1): 0 for the images whose branch is left out, and for the others what keeps the mean."""
        keep = 1.0 - self.drop_path
        return torch.empty((len(x), 1, 1, 1), dtype=x.dtype, device=x.device).bernoulli_(keep) / keep


def make_padded_conv(
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: int,
    stride: int,
    norm: Norm | None,
    activation: Activation | None,
    padding: Padding,
    groups: int = 1,
    nominal_size: int | None = None,
) -> ConvNorm:
    """A convolution with either padding. Both are the same where the stride is 1."""
    if padding == "symmetric" or stride == 1:
        return ConvNorm(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            groups=groups,
            bias=False,
            norm=norm,
            activation=activation,
        )
    return SamePadConvNorm(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        stride=stride,
        groups=groups,
        norm=norm,
        activation=activation,
        nominal_size=nominal_size,
    )


def round_channels(channels: float) -> int:
    """To the nearest multiple of 8, but never down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
