"""Layers without gradients on the CPU: weights laid out for oneDNN once, and one call for all that a layer does.

The sum with a residual and the activation happen while a value is still in a register: nothing is written and read
again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from boxwright.ops.cpu.winograd import WinogradConv

_ATTRIBUTES = {None: "none", "relu": "relu", "silu": "swish", "hardswish": "hardswish"}  # oneDNN's names
_DTYPES = (torch.float32, torch.bfloat16)
_are_direct: ContextVar[bool] = ContextVar("boxwright_direct_convolutions", default=False)


def packing_dtype(x: Tensor) -> torch.dtype | None:
    """What a packed layer computes in for `x`; None where it is not for `x`: it learns, is compiled, is elsewhere."""
    if torch.is_grad_enabled() or x.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    if x.dtype == torch.uint8:  # from one quantised layer to the next
        return x.dtype
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    is_known = dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype if is_known and x.numel() and torch.backends.mkldnn.enabled else None


class PackedConv:
    """A convolution's weights in oneDNN's order."""

    def __init__(self, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None, x: Tensor) -> None:
        """`weight` and `bias` have the norm multiplied in; `x` is the first input, for whose size they are laid out."""
        self.place: tuple[Any, ...] = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight.to(x.dtype), *self.place, list(x.shape))
        self.bias = None if bias is None else bias.to(x.dtype)

    def __call__(self, x: Tensor, residual: Tensor | None, activation: str | None) -> Tensor:
        """(N, C, H, W), and (N, O, H', W') or nothing -> (N, O, H', W')."""
        given = (self.weight, self.bias, *self.place)
        if residual is None:
            out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, *given, _ATTRIBUTES[activation], [], "")
        else:
            out = torch.ops.mkldnn._convolution_pointwise.binary(x, residual, *given, "add", None, activation, [], None)
        return out


class PackedWinograd:
    """As PackedConv, with a quarter of the multiplications and four times the memory; always in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.convolve = WinogradConv(weight, bias)

    def __call__(self, x: Tensor, residual: Tensor | None, activation: str | None) -> Tensor:
        """As PackedConv; the result is in channels-last."""
        exact = None if residual is None else residual.float()
        return self.convolve(x.float(), exact, relu=activation == "relu").to(x.dtype)


@contextmanager
def direct_convolutions() -> Iterator[None]:
    """Every convolution inside the block multiplies as its definition says: to count, and to compare."""
    token = _are_direct.set(True)
    try:
        yield
    finally:
        _are_direct.reset(token)


def suits_winograd(conv: nn.Conv2d, dtype: torch.dtype) -> bool:
    """Wide 3x3 convolutions: in narrower ones the transforms take what the products save, sooner in bfloat16, whose
    direct products are twice as fast."""
    if dtype not in _DTYPES or _are_direct.get():
        return False
    is_3x3 = conv.kernel_size == (3, 3) and conv.stride == conv.padding == conv.dilation == (1, 1)
    least = 128 if dtype == torch.float32 else 256
    return (
        is_3x3 and conv.groups == 1 and all(n >= least and n % 16 == 0 for n in (conv.in_channels, conv.out_channels))
    )


def trains_winograd(x: Tensor) -> bool:
    """Whether a step of training on `x` may take Winograd's way: not in bfloat16, where it gains nothing, and where a
    map lies otherwise in memory than its transforms want it."""
    is_here = torch.is_grad_enabled() and x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() > 0
    is_plain = not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
    fits = x.is_contiguous(memory_format=torch.channels_last)
    return is_here and is_plain and fits and bool(torch.backends.mkldnn.enabled)


class PackedLinear:
    """As PackedConv, for a fully connected layer."""

    def __init__(self, layer: nn.Linear, x: Tensor) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.to(x.dtype), len(x))
        self.bias = layer.bias.to(x.dtype)

    def __call__(self, x: Tensor, activation: str | None) -> Tensor:
        """(N, I) -> (N, O)."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, _ATTRIBUTES[activation], [], "")
        return out
