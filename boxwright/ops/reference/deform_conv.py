"""Deformable convolution, v1 and modulated v2, in plain torch: the definition the other backends must match."""

from collections.abc import Sequence

import torch
from torch import Tensor

from boxwright.ops.layout import is_channels_last, memory_format
from boxwright.ops.rules import ConvolutionRule


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    rule: ConvolutionRule,
) -> Tensor:
    """(B, C, H, W), (B, 2 * D * kh * kw, oh, ow), (O, C / G, kh, kw), (O,), (B, D * kh * kw, oh, ow) -> (B, O, oh, ow).

    Each tap of the kernel reads the map, bilinearly and with zeros outside, at its own place moved by the offset (y,
    then x, for every tap of each of the D groups of channels), times its mask. A position that is not finite reads 0.
    """
    batch, num_channels = input.shape[:2]
    num_out, channels_per_group = weight.shape[:2]
    num_taps = weight.shape[2] * weight.shape[3]
    out_size = offset.shape[2:]
    y, x = _positions(offset, weight.shape[2:], rule)
    num_parts = y.shape[1]
    columns = _sample(input.view(batch, num_parts, num_channels // num_parts, *input.shape[2:]), y, x)
    if mask is not None:
        columns = columns * mask.view(batch, num_parts, 1, num_taps, *out_size)
    num_groups = num_channels // channels_per_group
    columns = columns.reshape(batch, num_groups, channels_per_group, num_taps, *out_size)
    grouped = weight.view(num_groups, num_out // num_groups, channels_per_group, num_taps)
    out = torch.einsum("bgctyx,goct->bgoyx", columns, grouped).reshape(batch, num_out, *out_size)
    out = out if bias is None else out + bias.view(1, -1, 1, 1)
    return out.contiguous(memory_format=memory_format(is_channels_last([input])))


def deform_conv2d_backward(
    grad: Tensor,
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    rule: ConvolutionRule,
) -> list[Tensor]:
    """(B, O, oh, ow) -> the gradients of input, offset, weight, then of bias and mask where those are given."""
    given = [input, offset, weight, *(t for t in (bias, mask) if t is not None)]

    def forward(input: Tensor, offset: Tensor, weight: Tensor, *rest: Tensor) -> Tensor:
        left = list(rest)
        new_bias = left.pop(0) if bias is not None else None
        new_mask = left.pop(0) if mask is not None else None
        return deform_conv2d(input, offset, weight, new_bias, new_mask, rule)

    return [g.contiguous() for g in torch.func.vjp(forward, *given)[1](grad)]


def _positions(offset: Tensor, kernel: Sequence[int], rule: ConvolutionRule) -> tuple[Tensor, Tensor]:
    """Where each tap reads: y and x, each (B, D, taps, oh, ow), in pixels of the input."""
    batch, _, out_height, out_width = offset.shape
    num_taps = kernel[0] * kernel[1]
    num_parts = offset.shape[1] // (2 * num_taps)
    moved = offset.view(batch, num_parts, num_taps, 2, out_height, out_width)
    tap = torch.arange(num_taps, device=offset.device)
    rows = torch.arange(out_height, device=offset.device) * rule.stride[0] - rule.padding[0]
    columns = torch.arange(out_width, device=offset.device) * rule.stride[1] - rule.padding[1]
    y = rows[None, :, None] + (tap // kernel[1] * rule.dilation[0])[:, None, None]
    x = columns[None, None, :] + (tap % kernel[1] * rule.dilation[1])[:, None, None]
    return moved[:, :, :, 0] + y, moved[:, :, :, 1] + x


def _sample(maps: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(B, D, C, H, W) maps read at (B, D, T, oh, ow) -> (B, D, C, T, oh, ow)."""
    height, width = maps.shape[3:]
    # Where no corner lies inside, any position gives 0: the same one for all, also for those that are not finite.
    is_near = (y > -1) & (y < height) & (x > -1) & (x < width)
    y, x = torch.where(is_near, y, -2), torch.where(is_near, x, -2)
    top, left = y.detach().floor(), x.detach().floor()
    flat = maps.flatten(3)
    out = maps.new_zeros(*maps.shape[:3], *y.shape[2:])
    for row, row_share in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, column_share in ((left, 1 - (x - left)), (left + 1, x - left)):
            is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            index = torch.where(is_inside, row * width + column, 0).long()
            share = torch.where(is_inside, row_share * column_share, 0)
            values = flat.gather(3, index.flatten(2)[:, :, None].expand(*flat.shape[:3], -1))
            out = out + values.view(out.shape) * share[:, :, None]
    return out
