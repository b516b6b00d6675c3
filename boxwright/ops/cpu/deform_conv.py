"""Deformable convolution on the CPU: what every tap reads is gathered into a matrix, which the weights multiply.

Letters: P output positions (oh * ow), T taps (kh * kw), D groups of channels with own offsets, G groups of the
convolution, C channels. The matrix of one image is (G, P, T * C / G); positions are taken in slices that fit a cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boxwright.ops.cpu.kernel import exact_kernel, kernel
from boxwright.ops.cpu.threads import run_chunks
from boxwright.ops.layout import at_least_float32, is_channels_last, memory_format
from boxwright.ops.rules import ConvolutionRule

VALUES_PER_SLICE = 1 << 21
POSITIONS_PER_CHUNK = 64
CHANNELS_PER_BLOCK = 32


@dataclass(frozen=True)
class _Shape:
    """The numbers a kernel needs, and where each tap of each position reads: places (B, P, D, T, 2), y then x."""

    num_groups: int
    num_taps: int
    num_positions: int
    out_size: tuple[int, ...]
    positions_per_slice: int
    places: Tensor
    shares: Tensor  # (B, P, D, T): the mask, or ones

    def slices(self) -> Iterator[slice]:
        for begin in range(0, self.num_positions, self.positions_per_slice):
            yield slice(begin, min(begin + self.positions_per_slice, self.num_positions))


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    rule: ConvolutionRule,
) -> Tensor:
    """As `reference.deform_conv2d`."""
    maps = _channels_last_array(input)
    shape = _shape(input, offset, weight, mask, rule)
    flat_weight = _flat_weight(weight, shape).transpose(1, 2)
    # Laid out channels-last and returned as it is: autograd lets nobody write into a view of what an op has made.
    sizes = (len(input), weight.shape[0], *shape.out_size)
    out = torch.empty(sizes, dtype=flat_weight.dtype, memory_format=torch.channels_last)
    rows = out.permute(0, 2, 3, 1).flatten(1, 2)
    for b in range(len(input)):
        for part in shape.slices():
            columns = _gather(maps[b], shape, b, part)
            rows[b, part] = torch.bmm(columns, flat_weight).transpose(0, 1).flatten(1)
    if bias is not None:
        rows += bias
    result: Tensor = out.to(input.dtype).contiguous(memory_format=memory_format(is_channels_last([input])))
    return result


def deform_conv2d_backward(
    grad: Tensor,
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    rule: ConvolutionRule,
) -> list[Tensor]:
    """As `reference.deform_conv2d_backward`; bitwise the same however many threads run."""
    maps = _channels_last_array(input)
    shape = _shape(input, offset, weight, mask, rule)
    flat_weight = _flat_weight(weight, shape)
    # (B, G, P, O / G)
    grads = at_least_float32(grad).flatten(2).unflatten(1, (shape.num_groups, -1)).transpose(2, 3)
    grad_maps = np.zeros_like(maps)
    grad_weight = torch.zeros_like(flat_weight)
    grad_places, grad_shares = torch.empty_like(shape.places), torch.empty_like(shape.shares)
    for b in range(len(input)):
        for part in shape.slices():
            columns = _gather(maps[b], shape, b, part)
            grad_weight += torch.bmm(grads[b, :, part].transpose(1, 2), columns)
            grad_columns = torch.bmm(grads[b, :, part], flat_weight)
            _spread(grad_columns, shape, b, part, grad_maps[b])
            _move(maps[b], grad_columns, shape, b, part, grad_places, grad_shares)
    found = [
        torch.from_numpy(grad_maps).permute(0, 3, 1, 2),
        grad_places.permute(0, 2, 3, 4, 1).reshape(offset.shape),
        grad_weight.view(weight.shape[0], *weight.shape[2:], weight.shape[1]).permute(0, 3, 1, 2),
    ]
    if bias is not None:
        found.append(at_least_float32(grad).sum(dim=(0, 2, 3)))
    if mask is not None:
        found.append(grad_shares.permute(0, 2, 3, 1).reshape(mask.shape))
    given = [t for t in (input, offset, weight, bias, mask) if t is not None]
    return [f.to(t.dtype).contiguous() for f, t in zip(found, given, strict=True)]


def _shape(input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, rule: ConvolutionRule) -> _Shape:
    num_taps = weight.shape[2] * weight.shape[3]
    out_size = tuple(offset.shape[2:])
    tap = torch.arange(num_taps)
    row, column = tap // weight.shape[3], tap % weight.shape[3]
    tap_places = torch.stack((row * rule.dilation[0], column * rule.dilation[1]), dim=1)
    rows = torch.arange(out_size[0]) * rule.stride[0] - rule.padding[0]
    columns = torch.arange(out_size[1]) * rule.stride[1] - rule.padding[1]
    corners = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).view(-1, 1, 1, 2)
    # (B, D * T * 2, oh, ow) -> (B, P, D, T, 2)
    moved = at_least_float32(offset).flatten(2).transpose(1, 2).unflatten(2, (-1, num_taps, 2))
    places = (moved + (corners + tap_places)).contiguous()
    if mask is None:
        shares = places.new_ones(places.shape[:-1])
    else:
        shares = at_least_float32(mask).flatten(2).transpose(1, 2).unflatten(2, (-1, num_taps)).contiguous()
    return _Shape(
        num_groups=input.shape[1] // weight.shape[1],
        num_taps=num_taps,
        num_positions=out_size[0] * out_size[1],
        out_size=out_size,
        positions_per_slice=max(1, VALUES_PER_SLICE // (num_taps * input.shape[1])),
        places=places,
        shares=shares,
    )


def _channels_last_array(x: Tensor) -> NDArray[Any]:
    """(B, C, H, W) -> (B, H, W, C), contiguous; no copy for float32 in channels-last."""
    return np.ascontiguousarray(at_least_float32(x.detach()).permute(0, 2, 3, 1).numpy())


def _flat_weight(weight: Tensor, shape: _Shape) -> Tensor:
    """(O, C / G, kh, kw) -> (G, O / G, T * C / G)."""
    return (
        at_least_float32(weight).permute(0, 2, 3, 1).reshape(shape.num_groups, weight.shape[0] // shape.num_groups, -1)
    )


def _gather(one: NDArray[Any], shape: _Shape, b: int, part: slice) -> Tensor:
    """One image (H, W, C) -> (G, P, T * C / G) for a slice of its positions."""
    places, shares = shape.places[b, part].numpy(), shape.shares[b, part].numpy()
    num_positions, num_channels = len(places), one.shape[2]
    out = np.empty((shape.num_groups, num_positions, shape.num_taps, num_channels // shape.num_groups), one.dtype)
    run_chunks(
        lambda begin, end: _gather_positions(one, places, shares, begin, end, out), num_positions, POSITIONS_PER_CHUNK
    )
    return torch.from_numpy(out).flatten(2)


def _spread(grad_columns: Tensor, shape: _Shape, b: int, part: slice, target: NDArray[Any]) -> None:
    """The reverse of `_gather`: adds to target (H, W, C). Split by channels, so that no two threads write one value."""
    places, shares = shape.places[b, part].numpy(), shape.shares[b, part].numpy()
    source = grad_columns.unflatten(2, (shape.num_taps, -1)).numpy()
    run_chunks(
        lambda begin, end: _spread_channels(source, places, shares, begin, end, target),
        target.shape[2],
        CHANNELS_PER_BLOCK,
    )


def _move(
    one: NDArray[Any],
    grad_columns: Tensor,
    shape: _Shape,
    b: int,
    part: slice,
    grad_places: Tensor,
    grad_shares: Tensor,
) -> None:
    """How the result changes as each place moves, and as each share grows."""
    places, shares = shape.places[b, part].numpy(), shape.shares[b, part].numpy()
    source = grad_columns.unflatten(2, (shape.num_taps, -1)).numpy()
    targets = grad_places[b, part].numpy(), grad_shares[b, part].numpy()
    run_chunks(
        lambda begin, end: _move_positions(one, source, places, shares, begin, end, *targets),
        len(places),
        POSITIONS_PER_CHUNK,
    )


@exact_kernel
def _corners(y, x, height, width):
    """Where a place reads: whether anywhere, its first row and column, and how far it lies below and right of them."""
    kind = type(y)
    if not (y > kind(-1) and y < kind(height) and x > kind(-1) and x < kind(width)):
        return False, 0, 0, kind(0), kind(0)
    top, left = int(np.floor(y)), int(np.floor(x))
    return True, top, left, y - kind(top), x - kind(left)


@kernel
def _gather_positions(one, places, shares, begin, end, out):
    """one (H, W, C), places (P, D, T, 2), shares (P, D, T) -> out (G, P, T, C / G), positions begin..end."""
    height, width, num_channels = one.shape
    kind = one.dtype.type
    per_part, per_group = num_channels // places.shape[1], out.shape[3]
    for i in range(begin, end):
        for d in range(places.shape[1]):
            for t in range(places.shape[2]):
                is_near, top, left, down, right = _corners(places[i, d, t, 0], places[i, d, t, 1], height, width)
                first = d * per_part
                while first < (d + 1) * per_part:
                    # A run of channels that lies in one part and in one group.
                    g = first // per_group
                    last = min((d + 1) * per_part, (g + 1) * per_group)
                    target = out[g, i, t, first - g * per_group : last - g * per_group]
                    for c in range(len(target)):
                        target[c] = 0
                    for corner in range(4 if is_near else 0):
                        y, x = top + corner // 2, left + corner % 2
                        if y < 0 or y >= height or x < 0 or x >= width:
                            continue
                        row_share = down if corner // 2 else 1 - down
                        column_share = right if corner % 2 else 1 - right
                        w = kind(row_share * column_share * shares[i, d, t])
                        source = one[y, x, first:last]
                        for c in range(len(target)):
                            target[c] += w * source[c]
                    first = last


@kernel
def _spread_channels(grad, places, shares, begin, end, target):
    """grad (G, P, T, C / G) -> target (H, W, C), channels begin..end."""
    height, width, num_channels = target.shape
    kind = target.dtype.type
    per_part, per_group = num_channels // places.shape[1], grad.shape[3]
    for i in range(places.shape[0]):
        first = begin
        while first < end:
            d, g = first // per_part, first // per_group
            last = min(end, (d + 1) * per_part, (g + 1) * per_group)
            for t in range(places.shape[2]):
                is_near, top, left, down, right = _corners(places[i, d, t, 0], places[i, d, t, 1], height, width)
                source = grad[g, i, t, first - g * per_group : last - g * per_group]
                for corner in range(4 if is_near else 0):
                    y, x = top + corner // 2, left + corner % 2
                    if y < 0 or y >= height or x < 0 or x >= width:
                        continue
                    row_share = down if corner // 2 else 1 - down
                    column_share = right if corner % 2 else 1 - right
                    w = kind(row_share * column_share * shares[i, d, t])
                    out = target[y, x, first:last]
                    for c in range(len(out)):
                        out[c] += w * source[c]
            first = last


@kernel
def _move_positions(one, grad, places, shares, begin, end, grad_places, grad_shares):
    """one (H, W, C), grad (G, P, T, C / G) -> grad_places (P, D, T, 2), grad_shares (P, D, T), positions begin..end."""
    height, width, num_channels = one.shape
    per_part, per_group = num_channels // places.shape[1], grad.shape[3]
    dots = np.zeros(4)
    for i in range(begin, end):
        for d in range(places.shape[1]):
            for t in range(places.shape[2]):
                is_near, top, left, down, right = _corners(places[i, d, t, 0], places[i, d, t, 1], height, width)
                for corner in range(4):
                    y, x = top + corner // 2, left + corner % 2
                    dots[corner] = 0
                    if not is_near or y < 0 or y >= height or x < 0 or x >= width:
                        continue
                    pixel = one[y, x]
                    total = 0.0
                    for c in range(d * per_part, (d + 1) * per_part):
                        total += pixel[c] * grad[c // per_group, i, t, c % per_group]
                    dots[corner] = total
                upper = dots[0] * (1 - right) + dots[1] * right
                lower = dots[2] * (1 - right) + dots[3] * right
                before = dots[0] * (1 - down) + dots[2] * down
                after = dots[1] * (1 - down) + dots[3] * down
                grad_places[i, d, t, 0] = (lower - upper) * shares[i, d, t]
                grad_places[i, d, t, 1] = (after - before) * shares[i, d, t]
                grad_shares[i, d, t] = upper * (1 - down) + lower * down
