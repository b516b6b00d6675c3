"""The kernels of RoIAlign and RoICrop: regions that are grids of bilinear samples, forward and backward.

Letters: B images, H x W pixels, C channels, R regions, ph x pw bins, L levels. A program does a block of bins of one
region for a block of channels. With maps in channels-last the lanes of a warp read neighbouring channels of one pixel;
otherwise they read neighbouring bins, as the maps then lie in memory.
"""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from boxwright.ops.gpu.launch import divide, launch, sum_type
from boxwright.ops.gpu.levels import LEVEL_SIZES, blocks, groups_of_levels, one_block, pick_level, pixel_offset
from boxwright.ops.layout import MapShapes, empty_maps, empty_pooled, is_channels_last, memory_format
from boxwright.ops.reference.roi_align import MAX_GRID
from boxwright.ops.rules import PoolingRule

_MAX_GRID = tl.constexpr(MAX_GRID)


def pool_regions(
    features: Sequence[Tensor],
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    rule: PoolingRule,
    sampling: dict[str, int],
) -> Tensor:
    """L maps (B, C, Hl, Wl) -> (R, C, ph, pw) in their type and layout; maps of either layout are read in place.

    `sampling`: SAMPLING, ALIGNED and IS_CROP, which are compiled into the kernels.
    """
    channels_last = is_channels_last(features)
    out = empty_pooled(features, len(rois), rule.output_size)
    features = [f.contiguous(memory_format=memory_format(channels_last)) for f in features]
    given = (rois.contiguous(), batch_index.contiguous(), levels.contiguous(), out, *features[0].shape[:2])
    for part in groups_of_levels(features, rule.scales):
        grid, block = blocks(len(rois), rule.output_size, features[0].shape[1], channels_last)
        launch(_pool, grid, *part.given, *given, like=rois, **part.constants, **block, **sampling)
    return out


def spread_regions(
    grad: Tensor,
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    maps: MapShapes,
    rule: PoolingRule,
    sampling: dict[str, int],
) -> list[Tensor]:
    """(R, C, ph, pw) -> the gradients of the maps, in the type of `grad`; summed in float32 or better, in any order."""
    grads = [m.zero_() for m in empty_maps(grad.new_empty(0, dtype=sum_type(grad.dtype)), maps)]
    grad = grad.contiguous(memory_format=memory_format(maps.channels_last))
    given = (rois.contiguous(), batch_index.contiguous(), levels.contiguous(), grad, *grads[0].shape[:2])
    for part in groups_of_levels(grads, rule.scales):
        grid, block = blocks(len(rois), rule.output_size, grads[0].shape[1], maps.channels_last)
        launch(_spread, grid, *part.given, *given, like=rois, **part.constants, **block, **sampling)
    return [m.to(grad.dtype) for m in grads]


@triton.jit
def _axis(low, high, NUM_BINS: tl.constexpr, SAMPLING: tl.constexpr, ALIGNED: tl.constexpr, IS_CROP: tl.constexpr):
    """One axis of a region in feature pixels -> its start, the size of a bin (or the step between points), samples."""
    length = high - low
    grid = tl.full((), 1, tl.int32)
    if IS_CROP:
        start = low
        if NUM_BINS == 1:
            start = low + length * 0.5
            step = length * 0
        else:
            step = divide(length, tl.full((), NUM_BINS - 1, tl.int32))
    else:
        start = low
        if not ALIGNED:
            length = tl.maximum(length, 1.0)
        step = divide(length, tl.full((), NUM_BINS, tl.int32))
        if SAMPLING > 0:
            grid = tl.full((), SAMPLING, tl.int32)
        else:
            grid = tl.minimum(tl.maximum(tl.ceil(step), 0.0), _MAX_GRID).to(tl.int32)
    return start, step, grid


@triton.jit
def _corners(start, step, grid, bin, i, size, IS_CROP: tl.constexpr):
    """Sample i of each bin along one axis -> two pixels and the share of each; pixels without a share lie inside.

    RoIAlign counts up to one pixel outside as the border and farther as nothing; RoICrop counts outside as 0.
    """
    position = start + bin.to(step.dtype) * step
    last = size - 1
    if IS_CROP:
        before = tl.floor(position)
        part = position - before
        has_low = (before >= 0) & (before <= last)
        has_high = (before + 1 >= 0) & (before + 1 <= last)
        low = tl.where(has_low, before, 0.0).to(tl.int32)
        high = tl.where(has_high, before + 1, 0.0).to(tl.int32)
        low_share = tl.where(has_low, 1 - part, 0.0)
        high_share = tl.where(has_high, part, 0.0)
    else:
        position += divide((i + 0.5) * step, grid)
        is_inside = (position >= -1) & (position <= size)
        position = tl.minimum(tl.maximum(tl.where(is_inside, position, 0.0), 0.0), last.to(step.dtype))
        before = tl.floor(position)
        part = position - before
        share = divide(is_inside.to(step.dtype), grid)
        low = before.to(tl.int32)
        high = tl.minimum(low + 1, last)
        low_share = (1 - part) * share
        high_share = part * share
    return low, high, low_share, high_share


@triton.jit(do_not_specialize=[*LEVEL_SIZES, "num_images"])
def _pool(
    m0, m1, m2, m3, m4, h0, h1, h2, h3, h4, w0, w1, w2, w3, w4, rois, image, levels, out, num_images, num_channels,
    s0: tl.constexpr, s1: tl.constexpr, s2: tl.constexpr, s3: tl.constexpr, s4: tl.constexpr,
    FIRST_LEVEL: tl.constexpr, NUM_LEVELS: tl.constexpr, TOTAL_LEVELS: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, CHANNELS_LAST: tl.constexpr, BINS: tl.constexpr, CHANNELS: tl.constexpr,
    SAMPLING: tl.constexpr, ALIGNED: tl.constexpr, IS_CROP: tl.constexpr,
):  # fmt: skip
    """Five maps (B, C, H, W), rois (R, 4), image and levels (R,) -> out (R, C, ph, pw)."""
    r, bin, channel, is_there = one_block(num_channels, PH, PW, CHANNELS_LAST, BINS, CHANNELS)
    maps, height, width, x1, y1, x2, y2, is_good, is_mine = pick_level(
        m0, m1, m2, m3, m4, h0, h1, h2, h3, h4, w0, w1, w2, w3, w4, rois, image, levels, r, num_images,
        num_channels, s0, s1, s2, s3, s4, FIRST_LEVEL, NUM_LEVELS, TOTAL_LEVELS,
    )  # fmt: skip
    if not is_mine:
        return
    half = 0.5 if ALIGNED and not IS_CROP else 0.0
    y_start, y_step, y_grid = _axis(y1 - half, y2 - half, PH, SAMPLING, ALIGNED, IS_CROP)
    x_start, x_step, x_grid = _axis(x1 - half, x2 - half, PW, SAMPLING, ALIGNED, IS_CROP)
    y_grid = tl.where(is_good, y_grid, 0)
    kind: tl.constexpr = tl.float64 if maps.dtype.element_ty == tl.float64 else tl.float32
    total = tl.zeros(is_there.shape, kind)
    for i in range(y_grid):
        top, bottom, up, down = _corners(y_start, y_step, y_grid, bin // PW, i, height, IS_CROP)
        for j in range(x_grid):
            left, right, before, after = _corners(x_start, x_step, x_grid, bin % PW, j, width, IS_CROP)
            for corner in tl.static_range(4):
                row, row_share = (top, up) if corner < 2 else (bottom, down)
                column, column_share = (left, before) if corner % 2 == 0 else (right, after)
                share = (row_share * column_share).to(kind)
                at = pixel_offset(row, column, channel, height, width, num_channels, CHANNELS_LAST)
                value = tl.load(maps + at, is_there & (share != 0), 0.0).to(kind)
                total = tl.fma(value, tl.broadcast_to(share, value.shape), total)
    target = pixel_offset(bin // PW, bin % PW, channel, PH, PW, num_channels, CHANNELS_LAST)
    tl.store(out + r.to(tl.int64) * (PH * PW) * num_channels + target, total, is_there)


@triton.jit(do_not_specialize=[*LEVEL_SIZES, "num_images"])
def _spread(
    m0, m1, m2, m3, m4, h0, h1, h2, h3, h4, w0, w1, w2, w3, w4, rois, image, levels, grad, num_images, num_channels,
    s0: tl.constexpr, s1: tl.constexpr, s2: tl.constexpr, s3: tl.constexpr, s4: tl.constexpr,
    FIRST_LEVEL: tl.constexpr, NUM_LEVELS: tl.constexpr, TOTAL_LEVELS: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, CHANNELS_LAST: tl.constexpr, BINS: tl.constexpr, CHANNELS: tl.constexpr,
    SAMPLING: tl.constexpr, ALIGNED: tl.constexpr, IS_CROP: tl.constexpr,
):  # fmt: skip
    """The reverse of `_pool`: adds grad (R, C, ph, pw) to the maps."""
    r, bin, channel, is_there = one_block(num_channels, PH, PW, CHANNELS_LAST, BINS, CHANNELS)
    maps, height, width, x1, y1, x2, y2, is_good, is_mine = pick_level(
        m0, m1, m2, m3, m4, h0, h1, h2, h3, h4, w0, w1, w2, w3, w4, rois, image, levels, r, num_images,
        num_channels, s0, s1, s2, s3, s4, FIRST_LEVEL, NUM_LEVELS, TOTAL_LEVELS,
    )  # fmt: skip
    if not (is_mine & is_good):
        return
    half = 0.5 if ALIGNED and not IS_CROP else 0.0
    y_start, y_step, y_grid = _axis(y1 - half, y2 - half, PH, SAMPLING, ALIGNED, IS_CROP)
    x_start, x_step, x_grid = _axis(x1 - half, x2 - half, PW, SAMPLING, ALIGNED, IS_CROP)
    source = pixel_offset(bin // PW, bin % PW, channel, PH, PW, num_channels, CHANNELS_LAST)
    g = tl.load(grad + r.to(tl.int64) * (PH * PW) * num_channels + source, is_there, 0.0).to(maps.dtype.element_ty)
    for i in range(y_grid):
        top, bottom, up, down = _corners(y_start, y_step, y_grid, bin // PW, i, height, IS_CROP)
        for j in range(x_grid):
            left, right, before, after = _corners(x_start, x_step, x_grid, bin % PW, j, width, IS_CROP)
            for corner in tl.static_range(4):
                row, row_share = (top, up) if corner < 2 else (bottom, down)
                column, column_share = (left, before) if corner % 2 == 0 else (right, after)
                share = (row_share * column_share).to(g.dtype)
                at = pixel_offset(row, column, channel, height, width, num_channels, CHANNELS_LAST)
                tl.atomic_add(maps + at, g * share, is_there & (share != 0), sem="relaxed")
