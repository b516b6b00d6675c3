"""Drives the sampling kernels over the levels of a pyramid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from boxwright.ops.layout import at_least_float32, empty_maps, empty_pooled, is_channels_last, memory_format

from .sampling import sample_channels_first, sample_channels_last, spread_channels_first, spread_channels_last
from .threads import run_chunks

# Small enough to balance threads, large enough that a chunk costs far more than handing it out.
REGIONS_PER_CHUNK = 8
ROWS_PER_BAND = 8
CHANNELS_PER_BLOCK = 16


@dataclass(frozen=True)
class Regions:
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

    def of_level(self, level: int) -> tuple[NDArray[Any], ...]:
        part = slice(self.first[level], self.first[level + 1])
        return self.image[part], self.row[part], self.geometry[part], self.grids[part]


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
    *,
    num_levels: int,
    is_clamped: bool,
) -> Regions:
    """Sorts regions by level; bad ones go to the first image of level 0, without samples."""
    levels = torch.where(good, levels, 0)
    order = torch.argsort(levels, stable=True)
    counts = torch.bincount(levels, minlength=num_levels)
    return Regions(
        image=torch.where(good, batch_index, 0)[order].numpy(),
        row=order.numpy(),
        geometry=torch.where(good[:, None], geometry, 0)[order].numpy(),
        grids=torch.where(good[:, None], grids, 0)[order].numpy(),
        first=[0, *counts.cumsum(0).tolist()],
        is_clamped=is_clamped,
    )


def pool_regions(features: Sequence[Tensor], regions: Regions, output_size: tuple[int, int]) -> Tensor:
    """L maps (B, C, Hl, Wl) -> (R, C, ph, pw) in their type and layout; channels-last maps are read where they are."""
    out = empty_pooled(features, len(regions.row), output_size)
    if is_channels_last(features):
        narrow_out = out if out.dtype != torch.float16 else out.float()
        for level, one in enumerate(features):
            _pool_channels_last(one, regions.of_level(level), regions.is_clamped, narrow_out)
        return out if narrow_out is out else out.copy_(narrow_out)
    wide_out = at_least_float32(out)
    for level, one in enumerate(features):
        _pool_channels_first(at_least_float32(one).contiguous(), regions.of_level(level), regions.is_clamped, wide_out)
    return out if wide_out is out else out.copy_(wide_out)


def spread_regions(grad: Tensor, regions: Regions, sizes: Sequence[int], channels_last: bool) -> list[Tensor]:
    """(R, C, ph, pw) -> the gradients of the maps, in the type of `grad`; summed in float32 or better."""
    wide = at_least_float32(grad).contiguous(memory_format=memory_format(channels_last))
    maps = empty_maps(wide, sizes, channels_last)
    spread = _spread_channels_last if channels_last else _spread_channels_first
    for level, one in enumerate(maps):
        spread(wide, regions.of_level(level), regions.is_clamped, one)
    return [one.to(grad.dtype) for one in maps]


def _pool_channels_last(one: Tensor, part: tuple[NDArray[Any], ...], is_clamped: bool, out: Tensor) -> None:
    one = one.float() if one.dtype == torch.float16 else one
    maps, target = as_channels_last_array(one), as_channels_last_array(out)
    kind = torch.promote_types(one.dtype, torch.float32)

    def work(begin: int, end: int) -> None:
        total = torch.empty(one.shape[1], dtype=kind).numpy()
        sample_channels_last(maps, *part, is_clamped, begin, end, total, target)

    run_chunks(work, len(part[0]), REGIONS_PER_CHUNK)


def _pool_channels_first(one: Tensor, part: tuple[NDArray[Any], ...], is_clamped: bool, out: Tensor) -> None:
    maps, target = one.detach().numpy(), out.numpy()
    run_chunks(
        lambda begin, end: sample_channels_first(maps, *part, is_clamped, begin, end, target),
        len(part[0]),
        REGIONS_PER_CHUNK,
    )


def _spread_channels_last(grad: Tensor, part: tuple[NDArray[Any], ...], is_clamped: bool, one: Tensor) -> None:
    source, maps = as_channels_last_array(grad), as_channels_last_array(one)
    num_bands = one.shape[0] * -(-one.shape[2] // ROWS_PER_BAND)
    run_chunks(
        lambda begin, end: spread_channels_last(source, *part, is_clamped, ROWS_PER_BAND, begin, end, maps),
        num_bands,
        1,
    )


def _spread_channels_first(grad: Tensor, part: tuple[NDArray[Any], ...], is_clamped: bool, one: Tensor) -> None:
    source, maps = grad.numpy(), one.numpy()
    num_blocks = one.shape[0] * -(-one.shape[1] // CHANNELS_PER_BLOCK)
    run_chunks(
        lambda begin, end: spread_channels_first(source, *part, is_clamped, CHANNELS_PER_BLOCK, begin, end, maps),
        num_blocks,
        1,
    )


def as_channels_last_array(x: Tensor) -> NDArray[Any]:
    """(B, C, H, W) laid out as B, H, W, C -> that array, without a copy; bfloat16 as its 16 bits."""
    stored = x.detach().view(torch.uint16) if x.dtype == torch.bfloat16 else x.detach()
    array: NDArray[Any] = stored.permute(0, 2, 3, 1).numpy()
    # Sizes of 1 leave strides that numpy does not take for contiguous, though the memory is.
    return array if array.flags.c_contiguous else array.reshape(array.shape)
