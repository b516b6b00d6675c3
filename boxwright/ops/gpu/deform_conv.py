"""Deformable convolution on the GPU: what every tap reads is gathered into a matrix, which cuBLAS multiplies.

Letters: P output positions (oh * ow), T taps (kh * kw), D groups of channels with own offsets, G groups of the
convolution, C channels. The matrix of some images is (G, B * P, T, C / G), in the type of the input. Maps are read in
channels-last, where the lanes of a warp read neighbouring channels; other maps are copied into it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from boxwright.ops.gpu.launch import launch, refuse_if_deterministic, sum_type
from boxwright.ops.layout import is_channels_last, memory_format
from boxwright.ops.rules import ConvolutionRule

# Images are taken together up to this many values of the matrix: 512 MB in float32.
VALUES_PER_STEP = 1 << 27
VALUES_PER_PROGRAM = 1024


@dataclass(frozen=True)
class _Problem:
    """Tensors and numbers of one call; maps (B, H, W, C) contiguous."""

    maps: Tensor
    offset: Tensor
    mask: Tensor | None
    weight: Tensor  # (G, O / G, T * C / G)
    taps: int
    positions: int
    parts: int  # D
    constants: dict[str, int]
    channels: int  # to a program

    def steps(self) -> Iterator[slice]:
        per_image = max(1, self.taps * self.positions * self.maps.shape[3])
        images = max(1, VALUES_PER_STEP // per_image)
        for first in range(0, len(self.maps), images):
            yield slice(first, min(first + images, len(self.maps)))

    def columns(self, step: slice) -> Tensor:
        """What every tap reads -> (G, B * P, T * C / G) of these images."""
        maps, places = self.maps[step], self.places(step)
        num_groups, num_channels = len(self.weight), maps.shape[3]
        rows = len(maps) * self.positions
        out = maps.new_empty(num_groups, rows, self.taps, num_channels // num_groups)
        grid = (*self.grid(rows), triton.cdiv(num_channels // self.parts, self.channels))
        launch(_gather, grid, maps, *places, out, *self.sizes(rows), like=maps, **self.constants)
        return out.flatten(2)

    def places(self, step: slice) -> tuple[Tensor, Tensor]:
        """The offsets and masks of these images; without masks the offsets stand in, unread."""
        offset = self.offset[step]
        return offset, offset if self.mask is None else self.mask[step]

    def grid(self, rows: int) -> tuple[int, int]:
        return triton.cdiv(rows * self.taps, self.constants["ROWS"]), self.parts

    def sizes(self, rows: int) -> tuple[int, ...]:
        return rows, self.positions, self.maps.shape[1], self.maps.shape[2], self.maps.shape[3]


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    rule: ConvolutionRule,
) -> Tensor:
    """As `reference.deform_conv2d`; positions are computed in float32 or better."""
    problem = _problem(input, offset, weight, mask, rule)
    out = input.new_empty(len(input), problem.positions, weight.shape[0])
    flat_weight = problem.weight.transpose(1, 2)
    for step in problem.steps():
        product = torch.bmm(problem.columns(step), flat_weight)
        out[step] = product.transpose(0, 1).reshape(-1, problem.positions, weight.shape[0])
    if bias is not None:
        out += bias
    result: Tensor = out.transpose(1, 2).unflatten(2, tuple(offset.shape[2:]))
    return result.contiguous(memory_format=memory_format(is_channels_last([input])))


def deform_conv2d_backward(
    grad: Tensor,
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    rule: ConvolutionRule,
) -> list[Tensor]:
    """As `reference.deform_conv2d_backward`; the order of the sums of the input's gradient differs from run to run."""
    refuse_if_deterministic("deform_conv2d_backward")
    problem = _problem(input, offset, weight, mask, rule)
    kind, num_groups = sum_type(input.dtype), len(problem.weight)
    # (B, G, P, O / G)
    grads = grad.flatten(2).unflatten(1, (num_groups, -1)).transpose(2, 3)
    grad_maps = torch.zeros(problem.maps.shape, dtype=kind, device=input.device)
    grad_weight = torch.zeros(problem.weight.shape, dtype=kind, device=input.device)
    grad_offset = torch.zeros(offset.shape, dtype=kind, device=input.device)
    grad_mask = grad_offset if mask is None else torch.zeros(mask.shape, dtype=kind, device=input.device)
    for step in problem.steps():
        part = grads[step].transpose(0, 1).flatten(1, 2)
        grad_weight += torch.bmm(part.transpose(1, 2), problem.columns(step)).to(kind)
        grad_columns = torch.bmm(part, problem.weight)
        rows = grad_columns.shape[1]
        sources = (problem.maps[step], *problem.places(step), grad_columns)
        targets = (grad_maps[step], grad_offset[step], grad_mask[step])
        sizes = problem.sizes(rows)
        launch(_spread, problem.grid(rows), *sources, *targets, *sizes, like=input, **problem.constants)
    found = [
        grad_maps.permute(0, 3, 1, 2),
        grad_offset,
        grad_weight.view(weight.shape[0], *weight.shape[2:], weight.shape[1]).permute(0, 3, 1, 2),
    ]
    if bias is not None:
        found.append(grad.sum(dim=(0, 2, 3), dtype=kind))
    if mask is not None:
        found.append(grad_mask)
    given = [t for t in (input, offset, weight, bias, mask) if t is not None]
    return [f.to(t.dtype).contiguous() for f, t in zip(found, given, strict=True)]


def _problem(input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, rule: ConvolutionRule) -> _Problem:
    num_groups, taps = input.shape[1] // weight.shape[1], weight.shape[2] * weight.shape[3]
    parts = offset.shape[1] // (2 * taps)
    channels = min(triton.next_power_of_2(input.shape[1] // parts), 256)
    constants = {
        "PARTS": parts,
        "GROUPS": num_groups,
        "KERNEL_HEIGHT": weight.shape[2],
        "KERNEL_WIDTH": weight.shape[3],
        "OUT_WIDTH": offset.shape[3],
        "STRIDE_Y": rule.stride[0],
        "STRIDE_X": rule.stride[1],
        "PADDING_Y": rule.padding[0],
        "PADDING_X": rule.padding[1],
        "DILATION_Y": rule.dilation[0],
        "DILATION_X": rule.dilation[1],
        "HAS_MASK": mask is not None,
        "ROWS": min(VALUES_PER_PROGRAM // channels, 64),
        "CHANNELS": channels,
    }
    return _Problem(
        maps=input.permute(0, 2, 3, 1).contiguous(),
        offset=offset.contiguous(),
        mask=None if mask is None else mask.contiguous(),
        weight=weight.permute(0, 2, 3, 1).reshape(num_groups, weight.shape[0] // num_groups, taps * weight.shape[1]),
        taps=taps,
        positions=offset.shape[2] * offset.shape[3],
        parts=parts,
        constants=constants,
        channels=channels,
    )


@triton.jit
def _place(
    offset, mask, row, part, is_there, positions, height, width,
    PARTS: tl.constexpr, KERNEL_HEIGHT: tl.constexpr, KERNEL_WIDTH: tl.constexpr, OUT_WIDTH: tl.constexpr,
    STRIDE_Y: tl.constexpr, STRIDE_X: tl.constexpr, PADDING_Y: tl.constexpr, PADDING_X: tl.constexpr,
    DILATION_Y: tl.constexpr, DILATION_X: tl.constexpr, HAS_MASK: tl.constexpr,
):  # fmt: skip
    """Rows (image, position, tap) -> image, where each one's offset and mask lie, the top left pixel that it reads, how
    far it lies below and right of that, its mask, and whether it reads anything.
    """
    TAPS: tl.constexpr = KERNEL_HEIGHT * KERNEL_WIDTH
    tap = row % TAPS
    position = (row // TAPS) % positions
    image = row // TAPS // positions
    at_mask = ((image.to(tl.int64) * PARTS + part) * TAPS + tap) * positions + position
    at_offset = ((image.to(tl.int64) * PARTS + part) * TAPS + tap) * 2 * positions + position
    kind: tl.constexpr = tl.float64 if offset.dtype.element_ty == tl.float64 else tl.float32
    y = tl.load(offset + at_offset, is_there, 0.0).to(kind)
    x = tl.load(offset + at_offset + positions, is_there, 0.0).to(kind)
    y += (position // OUT_WIDTH * STRIDE_Y - PADDING_Y + tap // KERNEL_WIDTH * DILATION_Y).to(kind)
    x += (position % OUT_WIDTH * STRIDE_X - PADDING_X + tap % KERNEL_WIDTH * DILATION_X).to(kind)
    share = tl.full(y.shape, 1.0, kind)
    if HAS_MASK:
        share = tl.load(mask + at_mask, is_there, 0.0).to(kind)
    is_near = is_there & (y > -1) & (y < height) & (x > -1) & (x < width)
    y, x = tl.where(is_near, y, 0.0), tl.where(is_near, x, 0.0)
    top, left = tl.floor(y), tl.floor(x)
    return image, at_offset, at_mask, top.to(tl.int32), left.to(tl.int32), y - top, x - left, share, is_near


@triton.jit
def _column_offset(row, channel, rows, channels_of_map, TAPS: tl.constexpr, GROUPS: tl.constexpr):
    """Where (image and position, tap) and channel lie in (G, B * P, T, C / G)."""
    if GROUPS == 1:  # so that the compiler sees neighbours in memory
        return row[:, None] * channels_of_map + channel[None, :]
    per_group = channels_of_map // GROUPS
    group = channel // per_group
    return (group[None, :].to(tl.int64) * rows * TAPS + row[:, None]) * per_group + (channel % per_group)[None, :]


@triton.jit(do_not_specialize=["rows", "positions", "height", "width"])
def _gather(
    maps, offset, mask, out, rows, positions, height, width, num_channels,
    PARTS: tl.constexpr, GROUPS: tl.constexpr, KERNEL_HEIGHT: tl.constexpr, KERNEL_WIDTH: tl.constexpr,
    OUT_WIDTH: tl.constexpr, STRIDE_Y: tl.constexpr, STRIDE_X: tl.constexpr, PADDING_Y: tl.constexpr,
    PADDING_X: tl.constexpr, DILATION_Y: tl.constexpr, DILATION_X: tl.constexpr, HAS_MASK: tl.constexpr,
    ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """maps (B, H, W, C) -> out (G, B * P, T, C / G)."""
    TAPS: tl.constexpr = KERNEL_HEIGHT * KERNEL_WIDTH
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    part = tl.program_id(1)
    per_part = num_channels // PARTS
    in_part = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    has_row, has_channel = row < rows.to(tl.int64) * TAPS, in_part < per_part
    channel = part * per_part + in_part
    image, _, _, top, left, down, right, share, is_near = _place(
        offset, mask, row, part, has_row, positions, height, width, PARTS, KERNEL_HEIGHT, KERNEL_WIDTH, OUT_WIDTH,
        STRIDE_Y, STRIDE_X, PADDING_Y, PADDING_X, DILATION_Y, DILATION_X, HAS_MASK,
    )  # fmt: skip
    kind: tl.constexpr = tl.float64 if maps.dtype.element_ty == tl.float64 else tl.float32
    total = tl.zeros((ROWS, CHANNELS), kind)
    for corner in tl.static_range(4):
        y, x = top + corner // 2, left + corner % 2
        weight = (down if corner // 2 == 1 else 1 - down) * (right if corner % 2 == 1 else 1 - right)
        is_inside = is_near & (y >= 0) & (y < height) & (x >= 0) & (x < width)
        pixel = ((image.to(tl.int64) * height + y) * width + x) * num_channels
        reads = is_inside[:, None] & has_channel[None, :]
        value = tl.load(maps + pixel[:, None] + channel[None, :], reads, 0.0).to(kind)
        total = tl.fma(value, tl.broadcast_to((weight * share).to(kind)[:, None], value.shape), total)
    at = _column_offset(row, channel, rows, num_channels, TAPS, GROUPS)
    tl.store(out + at, total, has_row[:, None] & has_channel[None, :])


@triton.jit(do_not_specialize=["rows", "positions", "height", "width"])
def _spread(
    maps, offset, mask, grad, grad_maps, grad_offset, grad_mask, rows, positions, height, width, num_channels,
    PARTS: tl.constexpr, GROUPS: tl.constexpr, KERNEL_HEIGHT: tl.constexpr, KERNEL_WIDTH: tl.constexpr,
    OUT_WIDTH: tl.constexpr, STRIDE_Y: tl.constexpr, STRIDE_X: tl.constexpr, PADDING_Y: tl.constexpr,
    PADDING_X: tl.constexpr, DILATION_Y: tl.constexpr, DILATION_X: tl.constexpr, HAS_MASK: tl.constexpr,
    ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """grad (G, B * P, T, C / G) -> adds to grad_maps (B, H, W, C), writes grad_offset and grad_mask."""
    TAPS: tl.constexpr = KERNEL_HEIGHT * KERNEL_WIDTH
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    part = tl.program_id(1)
    per_part = num_channels // PARTS
    has_row = row < rows.to(tl.int64) * TAPS
    image, at_offset, at_mask, top, left, down, right, share, is_near = _place(
        offset, mask, row, part, has_row, positions, height, width, PARTS, KERNEL_HEIGHT, KERNEL_WIDTH, OUT_WIDTH,
        STRIDE_Y, STRIDE_X, PADDING_Y, PADDING_X, DILATION_Y, DILATION_X, HAS_MASK,
    )  # fmt: skip
    kind: tl.constexpr = grad_maps.dtype.element_ty
    # The products of the gradient with the pixels, as they weigh in on each result.
    by_y, by_x, by_share = tl.zeros((ROWS,), kind), tl.zeros((ROWS,), kind), tl.zeros((ROWS,), kind)
    for block in range(0, per_part, CHANNELS):
        in_part = block + tl.arange(0, CHANNELS)
        channel = part * per_part + in_part
        has_channel = in_part < per_part
        at = _column_offset(row, channel, rows, num_channels, TAPS, GROUPS)
        g = tl.load(grad + at, has_row[:, None] & has_channel[None, :], 0.0).to(kind)
        for corner in tl.static_range(4):
            y, x = top + corner // 2, left + corner % 2
            y_share = down if corner // 2 == 1 else 1 - down
            x_share = right if corner % 2 == 1 else 1 - right
            is_inside = is_near & (y >= 0) & (y < height) & (x >= 0) & (x < width)
            pixel = ((image.to(tl.int64) * height + y) * width + x) * num_channels
            reads = is_inside[:, None] & has_channel[None, :]
            value = tl.load(maps + pixel[:, None] + channel[None, :], reads, 0.0).to(kind)
            weight = (y_share * x_share * share).to(kind)
            tl.atomic_add(grad_maps + pixel[:, None] + channel[None, :], g * weight[:, None], reads, sem="relaxed")
            dot = tl.sum(g * value, axis=1)
            by_y += (dot * (x_share if corner // 2 == 1 else -x_share)).to(kind)
            by_x += (dot * (y_share if corner % 2 == 1 else -y_share)).to(kind)
            by_share += (dot * y_share * x_share).to(kind)
    tl.store(grad_offset + at_offset, by_y * share.to(kind), has_row)
    tl.store(grad_offset + at_offset + positions, by_x * share.to(kind), has_row)
    if HAS_MASK:
        tl.store(grad_mask + at_mask, by_share, has_row)
