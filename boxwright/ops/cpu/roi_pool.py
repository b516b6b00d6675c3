"""RoIPool on the CPU. Written for channels-last; other layouts are copied to it and back."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from boxwright.ops.cpu.kernel import exact_kernel
from boxwright.ops.cpu.memory import allocate
from boxwright.ops.cpu.regions import are_good, flat_array, scale_rois
from boxwright.ops.cpu.threads import run_chunks
from boxwright.ops.layout import (
    MapShapes,
    at_least_float32,
    empty_maps,
    empty_pooled,
    is_channels_last,
    memory_format,
)
from boxwright.ops.rules import PoolingRule

REGIONS_PER_CHUNK = 8
CHANNELS_PER_BLOCK = 64


def roi_pool(
    features: Sequence[Tensor], rois: Tensor, batch_index: Tensor, levels: Tensor, rule: PoolingRule
) -> tuple[Tensor, Tensor]:
    """As `reference.roi_pool`."""
    good = are_good(rois, batch_index, levels, features[0].shape[0], len(rule.scales))
    scaled = scale_rois(torch.where(good[:, None], rois, 0), levels, rule.scales)
    corners = (torch.sign(scaled) * torch.floor(scaled.abs() + 0.5)).numpy()
    like = empty_pooled(features, len(rois), rule.output_size)
    shape = like.permute(0, 2, 3, 1).shape
    out = allocate(torch.empty(shape, dtype=at_least_float32(like[:0]).dtype))
    where = allocate(torch.empty(shape, dtype=torch.int64))
    # A bad region belongs to the first image of level 0, and lies outside.
    corners[~good.numpy()] = -2
    image, level_of = (torch.where(good, t, 0).numpy() for t in (batch_index, levels))
    for level, one in enumerate(features):
        maps = flat_array(as_channels_last(one))
        mine = np.flatnonzero(level_of == level)

        def work(begin: int, end: int, maps=maps, mine=mine, size=one.shape[1:]) -> None:
            scratch = np.empty(size[0], maps.dtype), np.empty(size[0], np.int32)
            targets = flat_array(out), flat_array(where)
            _pool(maps, *size, mine[begin:end], image, corners, rule.output_size, *scratch, *targets)

        run_chunks(work, len(mine), REGIONS_PER_CHUNK)
    layout = memory_format(is_channels_last(features))
    found = (t.permute(0, 3, 1, 2) for t in (out.to(features[0].dtype), where))
    pooled, places = (t.contiguous(memory_format=layout) for t in found)
    return pooled, places


def as_channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W), float32 or better, in memory as B, H, W, C: a copy unless it is so."""
    return at_least_float32(x.detach()).contiguous(memory_format=torch.channels_last)


def roi_pool_backward(
    grad: Tensor, where: Tensor, batch_index: Tensor, levels: Tensor, maps: MapShapes
) -> list[Tensor]:
    """As `reference.roi_pool_backward`; bitwise the same however many threads run."""
    wide = as_channels_last(grad)
    sources = flat_array(wide), flat_array(where.contiguous(memory_format=torch.channels_last))
    num_bins = grad.shape[2] * grad.shape[3]
    grads = [allocate(one) for one in empty_maps(wide, replace(maps, channels_last=True))]
    image, level_of = batch_index.numpy(), levels.numpy()
    for level, one in enumerate(grads):
        target = flat_array(one)
        mine = np.flatnonzero((level_of == level) & (image >= 0) & (image < len(one)))

        def work(begin: int, end: int, target=target, mine=mine, size=one.shape) -> None:
            _spread(*sources, size[1], mine, image, size[0], size[2] * size[3], num_bins, begin, end, target)

        run_chunks(work, one.shape[1], CHANNELS_PER_BLOCK)
    layout = memory_format(maps.channels_last)
    return [one.to(grad.dtype).contiguous(memory_format=layout) for one in grads]


@exact_kernel
def _pool(maps, num_channels, height, width, mine, image, corners, num_bins, best, place, out, where):
    """Flat maps (B, H, W, C), corners (R, 4) whole pixels -> flat out and where (R, ph, pw, C), for the regions `mine`.

    best, place (C,) are scratch.
    """
    channels, kind = np.uint64(num_channels), corners.dtype.type
    for r in mine:
        at = np.uint64(r * num_bins[0] * num_bins[1]) * channels
        bin_height = max(corners[r, 3] - corners[r, 1] + kind(1), kind(1)) / kind(num_bins[0])
        bin_width = max(corners[r, 2] - corners[r, 0] + kind(1), kind(1)) / kind(num_bins[1])
        for p in range(num_bins[0]):
            top, bottom = _bin(p, bin_height, corners[r, 1], height)
            for q in range(num_bins[1]):
                left, right = _bin(q, bin_width, corners[r, 0], width)
                is_empty = bottom <= top or right <= left
                first = np.uint64(0 if is_empty else (image[r] * height + top) * width + left) * channels
                for c in range(channels):
                    best[c] = maps.dtype.type(0) if is_empty else maps[first + c]
                    place[c] = -1 if is_empty else top * width + left
                for y in range(top, 0 if is_empty else bottom):
                    for x in range(left, right):
                        source = np.uint64((image[r] * height + y) * width + x) * channels
                        index = np.int32(y * width + x)
                        for c in range(channels):
                            value, old = maps[source + c], best[c]
                            # The first NaN wins, and stays.
                            wins = (not value <= old) and old == old
                            best[c] = value if wins else old
                            place[c] = index if wins else place[c]
                for c in range(channels):
                    out[at + c] = best[c]
                    where[at + c] = place[c]
                at += channels


@exact_kernel
def _bin(p, bin_size, start, size):
    kind = type(bin_size)
    first = np.floor(kind(p) * bin_size) + start
    last = np.ceil(kind(p + 1) * bin_size) + start
    return int(min(max(first, kind(0)), kind(size))), int(min(max(last, kind(0)), kind(size)))


@exact_kernel
def _spread(grad, where, num_channels, mine, image, num_images, num_pixels, num_bins, begin, end, maps):
    """Flat grad and where (R, ph, pw, C) -> flat maps (B, H, W, C), channels begin..end, region after region."""
    channels, first, last = np.uint64(num_channels), np.uint64(begin), np.uint64(end)
    for pixel in range(num_images * num_pixels):
        target = np.uint64(pixel) * channels
        for c in range(first, last):
            maps[target + c] = 0
    for r in mine:
        base = image[r] * num_pixels
        for b in range(num_bins):
            source = np.uint64(r * num_bins + b) * channels
            for c in range(first, last):
                at = where[source + c]
                if at >= 0:
                    maps[np.uint64(base + at) * channels + c] += grad[source + c]
