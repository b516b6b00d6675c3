"""Convolutions and fully connected layers on bytes: inference on CPUs, with ranges found by calibration.

Inputs become bytes by one scale and zero for a layer, weights signed bytes by one scale for an output channel; sums
are whole numbers. Results are bfloat16 where the CPU computes in it, else float32. Where the CPU cannot add products of
bytes in 32 bits (VNNI), oneDNN adds them in pairs in 16, which 255 * 127 + 255 * 127 would overflow: inputs then have
seven bits.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from boxwright.ops.cpu.quantise import quantise

MOST = 255 if torch.cpu._is_vnni_supported() else 127  # the highest byte of an input
_ATTRIBUTES = {None: "none", "relu": "relu"}


@dataclass(frozen=True)
class Range:
    """The values that an input takes; it holds 0, which padding needs to have a byte of its own."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        """From one byte to the next, in the units of the input."""
        return max(self.high - self.low, 1e-8) / MOST

    @property
    def zero_point(self) -> int:
        """The byte that stands for 0."""
        return round(-self.low / self.scale)


class QuantisedConv:
    """A convolution with its bias, a residual and its activation."""

    def __init__(
        self,
        conv: nn.Conv2d,
        weight: Tensor,
        bias: Tensor | None,
        x: Tensor,
        *,
        within: Range,
        result_within: Range | None,
    ) -> None:
        """`weight` and `bias` have the norm multiplied in; `x` is a first input."""
        self.within, self.result_within = within, result_within
        self.scales, integers = _integers(weight)
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.bias = None if bias is None else bias.float()
        self.place = (conv.stride, conv.padding, conv.dilation, conv.groups)
        given = (integers, self.scales, within.scale, within.zero_point)
        self.weight = torch.ops.onednn.qconv_prepack(*given, *self.place, list(x.shape))

    def __call__(self, x: Tensor, residual: Tensor | None, activation: str | None) -> Tensor:
        """(N, C, H, W), and (N, O, H', W') or nothing -> (N, O, H', W'); the sum is written over the residual.

        Bytes as input are taken as they are; bytes come out where the next layer's range is known.
        """
        scale, zero = self.within.scale, self.within.zero_point
        levels = x if x.dtype == torch.uint8 else quantise(x, scale, zero, most=MOST)
        layer = (levels, scale, zero, self.weight, self.scales, self.zeros)
        attribute = _ATTRIBUTES[activation]
        if residual is None and self.result_within is not None:
            to = self.result_within
            tail: tuple[Any, ...] = (self.bias, *self.place, to.scale, to.zero_point, torch.uint8, attribute, [], "")
            return torch.ops.onednn.qconv_pointwise(*layer, *tail)  # type: ignore[no-any-return]
        if residual is None:
            tail = (self.bias, *self.place, 1.0, 0, result_dtype(), attribute, [], "")
            return torch.ops.onednn.qconv_pointwise(*layer, *tail)  # type: ignore[no-any-return]
        total = residual.to(result_dtype()).contiguous(memory_format=torch.channels_last)
        sum_with = (total, self.bias, *self.place, 1.0, 0, result_dtype(), 1.0, 0)
        return torch.ops.onednn.qconv2d_pointwise.binary(*layer, *sum_with, "sum", 1.0, attribute, [], "")  # type: ignore[no-any-return]


class QuantisedLinear:
    """A fully connected layer with its bias and activation."""

    def __init__(self, layer: nn.Linear, x: Tensor, within: Range) -> None:
        self.within = within
        self.scales, integers = _integers(layer.weight)
        self.zeros = torch.zeros(len(integers), dtype=torch.int32)
        self.bias = layer.bias.float()
        self.weight = torch.ops.onednn.qlinear_prepack(integers, list(x.shape))

    def __call__(self, x: Tensor, activation: str | None) -> Tensor:
        """(N, I) -> (N, O)."""
        scale, zero = self.within.scale, self.within.zero_point
        layer = (quantise(x, scale, zero, most=MOST), scale, zero, self.weight, self.scales, self.zeros, self.bias)
        tail: tuple[Any, ...] = (1.0, 0, result_dtype(), _ATTRIBUTES[activation], [], "")
        return torch.ops.onednn.qlinear_pointwise(*layer, *tail)  # type: ignore[no-any-return]


def result_dtype() -> torch.dtype:
    """What the layers return where they do not return bytes: bfloat16 where the CPU computes in it, else float32."""
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def _integers(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(O, ...) -> (O,) scales and int8 weights."""
    flat = weight.float().flatten(1)
    scales = flat.abs().amax(dim=1).clamp(min=1e-12) / 127
    return scales, (flat / scales[:, None]).round().to(torch.int8).view_as(weight)
