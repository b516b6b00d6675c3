"""RoIPool on the GPU: all levels in one launch, forward and backward."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from boxwright.ops.gpu.launch import divide, launch, refuse_if_deterministic, sum_type
from boxwright.ops.gpu.levels import LEVEL_SIZES, blocks, groups_of_levels, one_block, pick_level, pixel_offset
from boxwright.ops.layout import MapShapes, empty_maps, empty_pooled, is_channels_last, memory_format
from boxwright.ops.rules import PoolingRule


def roi_pool(
    features: Sequence[Tensor], rois: Tensor, batch_index: Tensor, levels: Tensor, rule: PoolingRule
) -> tuple[Tensor, Tensor]:
    """As `reference.roi_pool`."""
    channels_last = is_channels_last(features)
    out = empty_pooled(features, len(rois), rule.output_size)
    where = torch.empty_like(out, dtype=torch.int64)
    features = [f.contiguous(memory_format=memory_format(channels_last)) for f in features]
    places = (rois.contiguous(), batch_index.contiguous(), levels.contiguous())
    sizes = features[0].shape[:2]
    for part in groups_of_levels(features, rule.scales):
        grid, block = blocks(len(rois), rule.output_size, features[0].shape[1], channels_last)
        launch(_pool, grid, *part.given, *places, out, where, *sizes, like=rois, **part.constants, **block)
    return out, where


def roi_pool_backward(
    grad: Tensor, where: Tensor, batch_index: Tensor, levels: Tensor, maps: MapShapes
) -> list[Tensor]:
    """As `reference.roi_pool_backward`; the order of the sums differs from run to run."""
    refuse_if_deterministic("roi_pool_backward")
    grads = [m.zero_() for m in empty_maps(grad.new_empty(0, dtype=sum_type(grad.dtype)), maps)]
    layout = memory_format(maps.channels_last)
    given = (grad.contiguous(memory_format=layout), where.contiguous(memory_format=layout))
    places = (batch_index.contiguous(), levels.contiguous())
    grid, block = blocks(len(grad), (grad.shape[2], grad.shape[3]), grad.shape[1], maps.channels_last)
    for level, one in enumerate(grads):
        launch(_spread, grid, one, *places, *given, *one.shape, level, like=grad, **block)
    return [m.to(grad.dtype) for m in grads]


@triton.jit
def _round(x):
    """To whole numbers, halves away from zero."""
    nearest = tl.floor(tl.abs(x) + 0.5)
    return tl.where(x < 0, -nearest, nearest)


@triton.jit
def _bins(start, end, bin, size, NUM_BINS: tl.constexpr):
    """One axis of a region in whole pixels -> first and one-past-last pixel of each bin, inside the map."""
    length = tl.maximum(end - start + 1, 1.0)
    bin_size = divide(length, tl.full((), NUM_BINS, tl.int32))
    first = tl.floor(bin.to(start.dtype) * bin_size) + start
    last = tl.ceil((bin + 1).to(start.dtype) * bin_size) + start
    most = size.to(start.dtype)
    first = tl.minimum(tl.maximum(first, 0.0), most).to(tl.int32)
    last = tl.minimum(tl.maximum(last, 0.0), most).to(tl.int32)
    return first, last


@triton.jit(do_not_specialize=[*LEVEL_SIZES, "num_images"])
def _pool(
    m0, m1, m2, m3, m4, h0, h1, h2, h3, h4, w0, w1, w2, w3, w4, rois, image, levels, out, where, num_images,
    num_channels,
    s0: tl.constexpr, s1: tl.constexpr, s2: tl.constexpr, s3: tl.constexpr, s4: tl.constexpr,
    FIRST_LEVEL: tl.constexpr, NUM_LEVELS: tl.constexpr, TOTAL_LEVELS: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, CHANNELS_LAST: tl.constexpr, BINS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Five maps (B, C, H, W), rois (R, 4), image and levels (R,) -> out and where (R, C, ph, pw)."""
    r, bin, channel, is_there = one_block(num_channels, PH, PW, CHANNELS_LAST, BINS, CHANNELS)
    maps, height, width, x1, y1, x2, y2, is_good, is_mine = pick_level(
        m0, m1, m2, m3, m4, h0, h1, h2, h3, h4, w0, w1, w2, w3, w4, rois, image, levels, r, num_images,
        num_channels, s0, s1, s2, s3, s4, FIRST_LEVEL, NUM_LEVELS, TOTAL_LEVELS,
    )  # fmt: skip
    if not is_mine:
        return
    top, bottom = _bins(_round(y1), _round(y2), bin // PW, height, PH)
    left, right = _bins(_round(x1), _round(x2), bin % PW, width, PW)
    has_pixels = is_good & (bottom > top) & (right > left) & (bin < PH * PW)
    # Bins of one region differ by a pixel at most: all walk as far as the largest.
    num_rows = tl.max(tl.where(has_pixels, bottom - top, 0))
    num_columns = tl.max(tl.where(has_pixels, right - left, 0))
    kind: tl.constexpr = tl.float64 if maps.dtype.element_ty == tl.float64 else tl.float32
    best = tl.zeros(is_there.shape, kind)
    found = tl.full(is_there.shape, -1, tl.int64)
    for i in range(num_rows):
        for j in range(num_columns):
            row, column = top + i, left + j
            is_inside = is_there & has_pixels & (row < bottom) & (column < right)
            at = pixel_offset(row, column, channel, height, width, num_channels, CHANNELS_LAST)
            value = tl.load(maps + at, is_inside, 0.0).to(kind)
            # The first of equal values is found; the first NaN wins, and stays.
            is_better = is_inside & ((found < 0) | (value > best) | ((value != value) & (best == best)))
            best = tl.where(is_better, value, best)
            found = tl.where(is_better, row.to(tl.int64) * width + column, found)
    target = pixel_offset(bin // PW, bin % PW, channel, PH, PW, num_channels, CHANNELS_LAST)
    target += r.to(tl.int64) * (PH * PW) * num_channels
    tl.store(out + target, best, is_there)
    tl.store(where + target, found, is_there)


@triton.jit(do_not_specialize=["num_images", "height", "width", "level"])
def _spread(
    maps, image, levels, grad, where, num_images, num_channels, height, width, level,
    PH: tl.constexpr, PW: tl.constexpr, CHANNELS_LAST: tl.constexpr, BINS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """grad and where (R, C, ph, pw) -> adds to maps (B, C, H, W), for the regions of one level."""
    r, bin, channel, is_there = one_block(num_channels, PH, PW, CHANNELS_LAST, BINS, CHANNELS)
    b = tl.load(image + r)
    if (tl.load(levels + r) != level) | (b < 0) | (b >= num_images):
        return
    source = pixel_offset(bin // PW, bin % PW, channel, PH, PW, num_channels, CHANNELS_LAST)
    source += r.to(tl.int64) * (PH * PW) * num_channels
    g = tl.load(grad + source, is_there, 0.0).to(maps.dtype.element_ty)
    at = tl.load(where + source, is_there, -1)
    target = at * num_channels + channel if CHANNELS_LAST else channel.to(tl.int64) * height * width + at
    tl.atomic_add(maps + b * num_channels * height * width + target, g, is_there & (at >= 0), sem="relaxed")
