"""Drives the sampling kernels over the levels of a pyramid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boxwright.ops.cpu.memory import allocate
from boxwright.ops.cpu.sampling import (
    list_taps,
    sample_channels_first,
    sample_channels_last,
    spread_channels_first,
    spread_channels_last,
)
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

# Small enough to balance threads, large enough that a chunk costs far more than handing it out.
REGIONS_PER_CHUNK = 8
ROWS_PER_BAND = 8
CHANNELS_PER_BLOCK = 16
# Regions are pooled in the order of their place, by bands of this many rows: what they share stays in the cache.
ROWS_PER_WALK = 16


@dataclass(frozen=True)
class SortedRegions:
    """R regions sorted by level: those of level l are first[l]..first[l + 1].

    image, row (R,): which image each reads, which row of the pooled tensor it is. geometry (R, 4): y start, y bin, x
    start, x bin in feature pixels. grids (R, 2): samples per bin in y and x; 0 for a bad region, which gives zeros.
    `is_clamped`: whether up to one pixel outside the map counts as its border (RoIAlign), or as 0 (RoICrop).
    """

    image: NDArray[Any]
    row: NDArray[Any]
    geometry: NDArray[Any]
    grids: NDArray[Any]
    first: list[int]
    is_clamped: bool
    num_bins: tuple[int, int]

    def of_level(self, level: int) -> "SortedRegions":
        """Those of one level, as the only level there is."""
        part = slice(self.first[level], self.first[level + 1])
        first = [0, part.stop - part.start]
        fields = (self.image[part], self.row[part], self.geometry[part], self.grids[part])
        return SortedRegions(*fields, first=first, is_clamped=self.is_clamped, num_bins=self.num_bins)

    def taps(self, size: tuple[int, int], begin: int, end: int) -> tuple[NDArray[Any], ...]:
        """Image, row, number of bins, and per axis and bin the taps of the regions begin..end in maps of this size."""
        most = min(2 * max(int(self.grids[begin:end].max(initial=0)), 1), max(size) + 4)
        shape = (end - begin, 2, max(self.num_bins))
        pixel, weight = np.empty((*shape, most), np.int64), np.empty((*shape, most), self.geometry.dtype)
        count = np.empty(shape, np.int64)
        list_taps(self.geometry, self.grids, self.num_bins, size, self.is_clamped, begin, end, pixel, weight, count)
        return self.image[begin:end], self.row[begin:end], self.num_bins, pixel, weight, count  # type: ignore[return-value]


def are_good(rois: Tensor, batch_index: Tensor, levels: Tensor, num_images: int, num_levels: int) -> Tensor:
    """(R,) bool: finite coordinates, and an image and level that exist."""
    is_there = (batch_index >= 0) & (batch_index < num_images) & (levels >= 0) & (levels < num_levels)
    return is_there & rois.isfinite().all(dim=1)


def scale_rois(rois: Tensor, levels: Tensor, scales: Sequence[float]) -> Tensor:
    """(R, 4) in the network frame -> in pixels of each one's level."""
    table = torch.tensor(scales, dtype=rois.dtype)
    return rois * table[levels.clamp(0, len(scales) - 1)][:, None]


def arrange(
    geometry: Tensor,
    grids: Tensor,
    good: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    rule: PoolingRule,
    *,
    is_clamped: bool,
) -> SortedRegions:
    """Sorts regions by level, image and place; bad ones go to the first image of level 0, without samples."""
    level, image = (torch.where(good, t, 0).numpy() for t in (levels, batch_index))
    placed = torch.where(good[:, None], geometry, 0).numpy()
    order = np.lexsort((placed[:, 2], placed[:, 0] // ROWS_PER_WALK, image, level))
    counts = np.bincount(level, minlength=len(rule.scales))
    return SortedRegions(
        image=image[order],
        row=order,
        geometry=placed[order],
        grids=torch.where(good[:, None], grids, 0).numpy()[order],
        first=[0, *counts.cumsum().tolist()],
        is_clamped=is_clamped,
        num_bins=rule.output_size,
    )


def pool_regions(features: Sequence[Tensor], regions: SortedRegions) -> Tensor:
    """L maps (B, C, Hl, Wl) -> (R, C, ph, pw) in their type and layout; channels-last maps are read where they are."""
    out = allocate(empty_pooled(features, len(regions.row), regions.num_bins))
    if is_channels_last(features):
        narrow_out = out if out.dtype != torch.float16 else out.float()
        for level, one in enumerate(features):
            _pool_channels_last(one, regions.of_level(level), narrow_out)
        return out if narrow_out is out else out.copy_(narrow_out)
    wide_out = at_least_float32(out)
    for level, one in enumerate(features):
        _pool_channels_first(at_least_float32(one.detach()).contiguous(), regions.of_level(level), wide_out)
    return out if wide_out is out else out.copy_(wide_out)


def spread_regions(grad: Tensor, regions: SortedRegions, maps: MapShapes) -> list[Tensor]:
    """(R, C, ph, pw) -> the gradients of the maps, in the type of `grad`; summed in float32 or better."""
    reads = maps.channels_last and grad.dtype == torch.bfloat16
    wide = (grad if reads else at_least_float32(grad)).contiguous(memory_format=memory_format(maps.channels_last))
    grads = [allocate(one) for one in empty_maps(wide, maps)]
    spread = _spread_channels_last if maps.channels_last else _spread_channels_first
    for level, one in enumerate(grads):
        spread(wide, regions.of_level(level), one)
    return [one.to(grad.dtype) for one in grads]


def _pool_channels_last(one: Tensor, regions: SortedRegions, out: Tensor) -> None:
    one = one.detach().float() if one.dtype == torch.float16 else one.detach()
    maps, target, size = flat_array(one), flat_array(out), _size(one)
    kind = at_least_float32(one[:0]).numpy().dtype

    def work(begin: int, end: int) -> None:
        taps = regions.taps(size[:2], begin, end)
        most = taps[-2].shape[-1] ** 2
        scratch = np.empty(most, np.uint64), np.empty(most, kind), np.empty(size[2], kind)
        sample_channels_last(maps, *size, *taps, *scratch, target)

    run_chunks(work, len(regions.row), REGIONS_PER_CHUNK)


def _pool_channels_first(one: Tensor, regions: SortedRegions, out: Tensor) -> None:
    maps, target, size = flat_array(one), flat_array(out), _size(one)

    def work(begin: int, end: int) -> None:
        line = np.empty(size[1], maps.dtype)
        sample_channels_first(maps, *size, *regions.taps(size[:2], begin, end), line, target)

    run_chunks(work, len(regions.row), REGIONS_PER_CHUNK)


def _spread_channels_last(grad: Tensor, regions: SortedRegions, one: Tensor) -> None:
    source, maps, size = flat_array(grad), flat_array(one), _size(one)
    taps = regions.taps(size[:2], 0, len(regions.row))
    is_narrow = one.dtype == torch.bfloat16

    def work(begin: int, end: int) -> None:
        total = np.empty(ROWS_PER_BAND * size[1] * size[2], np.float32) if is_narrow else maps
        spread_channels_last(source, *size, *taps, ROWS_PER_BAND, begin, end, is_narrow, total, maps)

    run_chunks(work, one.shape[0] * -(-one.shape[2] // ROWS_PER_BAND), 1)


def _spread_channels_first(grad: Tensor, regions: SortedRegions, one: Tensor) -> None:
    source, maps, size = flat_array(grad), flat_array(one), _size(one)
    taps = regions.taps(size[:2], 0, len(regions.row))

    def work(begin: int, end: int) -> None:
        line = np.empty(size[1], maps.dtype)
        spread_channels_first(source, *size, *taps, CHANNELS_PER_BLOCK, begin, end, line, maps)

    run_chunks(work, one.shape[0] * -(-one.shape[1] // CHANNELS_PER_BLOCK), 1)


def _size(one: Tensor) -> tuple[int, int, int]:
    """Height, width, channels."""
    return one.shape[2], one.shape[3], one.shape[1]


def flat_array(x: Tensor) -> NDArray[Any]:
    """A dense tensor as the flat array that it is in memory, without a copy; bfloat16 as its 16 bits."""
    stored = x.detach().view(torch.uint16) if x.dtype == torch.bfloat16 else x.detach()
    array: NDArray[Any] = stored.as_strided((stored.numel(),), (1,)).numpy()
    return array
