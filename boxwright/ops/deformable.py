"""Deformable convolution: every tap of the kernel reads the map at a place that the network chooses."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from boxwright.errors import ShapeError
from boxwright.ops.dispatch import forced_backend, run, use_backend
from boxwright.ops.layout import is_channels_last, memory_format
from boxwright.ops.registration import register_fake, register_op
from boxwright.ops.rules import ConvolutionRule


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
) -> Tensor:
    """(B, C, H, W) input, (O, C / groups, kh, kw) weight, (O,) bias -> (B, O, oh, ow), with gradients for all of them.

    offset (B, 2 * D * kh * kw, oh, ow): y, then x, in pixels, for every tap of each of D groups of channels; D and the
    number of groups of the convolution follow from the shapes. mask (B, D * kh * kw, oh, ow) multiplies what each tap
    reads (version 2); None is version 1. Outside the map lie zeros; a position that is not finite reads 0. Under
    autocast it runs in float32, since the offsets are positions.
    """
    sizes = [(n, n) if isinstance(n, int) else tuple(n) for n in (stride, padding, dilation)]
    _check(input, offset, weight, bias, mask, *sizes)
    return torch.ops.boxwright.deform_conv2d(input, offset, weight, bias, mask, *map(list, sizes))  # type: ignore[no-any-return]


def _check(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> None:
    if input.ndim != 4 or weight.ndim != 4 or input.shape[1] % weight.shape[1]:
        raise ShapeError(
            f"weight must be (O, C / groups, kh, kw) for input (B, C, H, W); got {tuple(weight.shape)} "
            f"for {tuple(input.shape)}"
        )
    if weight.shape[0] % (input.shape[1] // weight.shape[1]):
        raise ShapeError(f"{weight.shape[0]} outputs cannot be split into {input.shape[1] // weight.shape[1]} groups")
    num_taps = weight.shape[2] * weight.shape[3]
    spans = zip(input.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    out_size = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in spans)
    num_parts = offset.shape[1] // (2 * num_taps) if offset.ndim == 4 else 0
    if num_parts == 0 or input.shape[1] % num_parts:
        raise ShapeError(
            f"offset must be (B, 2 * D * {num_taps}, oh, ow), D a divisor of the channels; got {tuple(offset.shape)}"
        )
    expected = (input.shape[0], 2 * num_parts * num_taps, *out_size)
    if tuple(offset.shape) != expected:
        raise ShapeError(
            f"offset must be {expected} for this input, stride, padding and dilation; got {tuple(offset.shape)}"
        )
    if mask is not None and tuple(mask.shape) != (input.shape[0], num_parts * num_taps, *out_size):
        raise ShapeError(f"mask must be {(input.shape[0], num_parts * num_taps, *out_size)}; got {tuple(mask.shape)}")
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ShapeError(f"bias must be ({weight.shape[0]},); got {tuple(bias.shape)}")


@register_op("deform_conv2d", has_gradient=True)
def _deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    rule = ConvolutionRule(stride, padding, dilation)
    return run("deform_conv2d", input.device.type, input, offset, weight, bias, mask, rule)  # type: ignore[no-any-return]


@register_fake("deform_conv2d")
def _(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    *rule: Any,
) -> Tensor:
    out_shape = (input.shape[0], weight.shape[0], *offset.shape[2:])
    layout = memory_format(is_channels_last([input]))
    return torch.empty(out_shape, dtype=input.dtype, device=input.device, memory_format=layout)


@register_op("deform_conv2d_backward")
def _deform_conv2d_backward(
    grad: Tensor,
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> list[Tensor]:
    """The gradients of input, offset, weight, then of bias and mask where those are given."""
    given = (grad, input, offset, weight, bias, mask, ConvolutionRule(stride, padding, dilation))
    # As the result was: autocast may be on where gradients are asked for, and would cut the products inside.
    with torch.autocast(input.device.type, enabled=False):
        return run("deform_conv2d_backward", input.device.type, *given)  # type: ignore[no-any-return]


@register_fake("deform_conv2d_backward")
def _(
    grad: Tensor,
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    *rule: Any,
) -> list[Tensor]:
    return [t.new_empty(t.shape) for t in (input, offset, weight, bias, mask) if t is not None]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.settings, ctx.backend = inputs[5:], forced_backend()


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    _, _, _, bias, mask = ctx.saved_tensors
    with use_backend(ctx.backend):
        grads = torch.ops.boxwright.deform_conv2d_backward(grad, *ctx.saved_tensors, *ctx.settings)
    grad_bias = grads[3] if bias is not None else None
    grad_mask = grads[-1] if mask is not None else None
    return (*grads[:3], grad_bias, grad_mask, None, None, None)


torch.library.register_autograd("boxwright::deform_conv2d", _backward, setup_context=_setup)
for _device_type in ("cpu", "cuda"):
    torch.library.register_autocast("boxwright::deform_conv2d", _device_type, torch.float32)
