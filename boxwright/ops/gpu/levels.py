"""How a kernel reads one pyramid of several maps: which map a region belongs to, and where a pixel lies in it.

A kernel takes `MAX_LEVELS` maps as arguments, so that one launch does a whole pyramid without a table of addresses that
would first have to be sent to the device.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

MAX_LEVELS = 5
# Bins x channels of one program: 8 values for each thread of 4 warps.
VALUES_PER_PROGRAM = 1024
LEVEL_SIZES = ("h0", "h1", "h2", "h3", "h4", "w0", "w1", "w2", "w3", "w4")


@dataclass(frozen=True)
class LevelGroup:
    """Up to `MAX_LEVELS` maps as a kernel takes them: the maps, their heights, their widths; what is compiled in."""

    given: tuple[Any, ...]
    constants: dict[str, Any]


def groups_of_levels(maps: Sequence[Tensor], scales: Sequence[float]) -> Iterator[LevelGroup]:
    """The maps as as many launches as it takes, each with the scales of its levels."""
    for first in range(0, len(maps), MAX_LEVELS):
        part = list(maps[first : first + MAX_LEVELS])
        filled = part + part[:1] * (MAX_LEVELS - len(part))
        shares = [*scales[first : first + len(part)], *[0.0] * (MAX_LEVELS - len(part))]
        yield LevelGroup(
            given=(*filled, *(m.shape[2] for m in filled), *(m.shape[3] for m in filled)),
            constants={
                **{f"s{i}": float(share) for i, share in enumerate(shares)},
                "FIRST_LEVEL": first,
                "NUM_LEVELS": len(part),
                "TOTAL_LEVELS": len(maps),
            },
        )


def blocks(
    num_regions: int, output_size: tuple[int, int], num_channels: int, channels_last: bool
) -> tuple[tuple[int, int, int], dict[str, Any]]:
    """The grid of programs (regions, blocks of bins, blocks of channels), and the shape of a block."""
    num_bins = output_size[0] * output_size[1]
    if channels_last:
        channels = min(triton.next_power_of_2(max(num_channels, 1)), 256)
        bins = min(triton.next_power_of_2(num_bins), VALUES_PER_PROGRAM // channels)
    else:
        bins = min(triton.next_power_of_2(num_bins), 64)
        channels = min(triton.next_power_of_2(max(num_channels, 1)), VALUES_PER_PROGRAM // bins)
    grid = (num_regions, triton.cdiv(num_bins, bins), triton.cdiv(num_channels, channels))
    constants = {
        "PH": output_size[0],
        "PW": output_size[1],
        "CHANNELS_LAST": channels_last,
        "BINS": bins,
        "CHANNELS": channels,
    }
    return grid, constants


@triton.jit
def one_block(
    num_channels,
    PH: tl.constexpr,
    PW: tl.constexpr,
    CHANNELS_LAST: tl.constexpr,
    BINS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """This program's region, bins and channels, and which of those exist; lanes go along the last axis."""
    bin = tl.program_id(1) * BINS + tl.arange(0, BINS)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    if CHANNELS_LAST:
        bin = bin[:, None]
        channel = channel[None, :]
    else:
        bin = bin[None, :]
        channel = channel[:, None]
    return tl.program_id(0), bin, channel, (bin < PH * PW) & (channel < num_channels)


@triton.jit
def pixel_offset(row, column, channel, height, width, num_channels, CHANNELS_LAST: tl.constexpr):
    """Where a value lies in one image of (C, H, W), or of (H, W, C) in channels-last."""
    pixel = row.to(tl.int64) * width + column
    return pixel * num_channels + channel if CHANNELS_LAST else channel.to(tl.int64) * height * width + pixel


@triton.jit
def pick_level(
    m0, m1, m2, m3, m4, h0, h1, h2, h3, h4, w0, w1, w2, w3, w4, rois, image, levels, r, num_images, num_channels,
    s0: tl.constexpr, s1: tl.constexpr, s2: tl.constexpr, s3: tl.constexpr, s4: tl.constexpr,
    FIRST_LEVEL: tl.constexpr, NUM_LEVELS: tl.constexpr, TOTAL_LEVELS: tl.constexpr,
):  # fmt: skip
    """Region r -> its image in its map, the map's height and width, its corners in feature pixels, whether it is a good
    region, and whether it is for this launch: the first one also does the bad ones, with the first map.
    """
    x1, y1 = tl.load(rois + 4 * r), tl.load(rois + 4 * r + 1)
    x2, y2 = tl.load(rois + 4 * r + 2), tl.load(rois + 4 * r + 3)
    b, level = tl.load(image + r), tl.load(levels + r)
    is_good = (b >= 0) & (b < num_images) & (level >= 0) & (level < TOTAL_LEVELS)
    # Neither NaN nor infinite: their difference with themselves is not 0.
    is_good = is_good & (x1 - x1 == 0) & (y1 - y1 == 0) & (x2 - x2 == 0) & (y2 - y2 == 0)
    x1, y1 = tl.where(is_good, x1, 0.0), tl.where(is_good, y1, 0.0)
    x2, y2 = tl.where(is_good, x2, 0.0), tl.where(is_good, y2, 0.0)
    b = tl.where(is_good, b, 0)
    level = tl.where(is_good, level - FIRST_LEVEL, 0 if FIRST_LEVEL == 0 else -1)
    maps, height, width, scale = m0, h0, w0, tl.full((), s0, x1.dtype)
    if NUM_LEVELS > 1:
        maps, height = tl.where(level == 1, m1, maps), tl.where(level == 1, h1, height)
        width = tl.where(level == 1, w1, width)
        scale = tl.where(level == 1, tl.full((), s1, x1.dtype), scale)
    if NUM_LEVELS > 2:
        maps, height = tl.where(level == 2, m2, maps), tl.where(level == 2, h2, height)
        width = tl.where(level == 2, w2, width)
        scale = tl.where(level == 2, tl.full((), s2, x1.dtype), scale)
    if NUM_LEVELS > 3:
        maps, height = tl.where(level == 3, m3, maps), tl.where(level == 3, h3, height)
        width = tl.where(level == 3, w3, width)
        scale = tl.where(level == 3, tl.full((), s3, x1.dtype), scale)
    if NUM_LEVELS > 4:
        maps, height = tl.where(level == 4, m4, maps), tl.where(level == 4, h4, height)
        width = tl.where(level == 4, w4, width)
        scale = tl.where(level == 4, tl.full((), s4, x1.dtype), scale)
    maps += b * num_channels * height * width
    is_mine = (level >= 0) & (level < NUM_LEVELS)
    return maps, height, width, x1 * scale, y1 * scale, x2 * scale, y2 * scale, is_good, is_mine
