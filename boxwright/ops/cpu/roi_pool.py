"""RoIPool on the CPU."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from boxwright.ops.layout import at_least_float32, empty_maps, empty_pooled, memory_format

from .kernel import exact_kernel
from .regions import are_good, scale_rois
from .threads import run_chunks

REGIONS_PER_CHUNK = 8
CHANNELS_PER_BLOCK = 64


def roi_pool(
    features: Sequence[Tensor],
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    *,
    scales: Sequence[float],
    output_size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """As `reference.roi_pool`."""
    good = are_good(rois, batch_index, levels, features[0].shape[0], len(scales))
    scaled = scale_rois(torch.where(good[:, None], rois, 0), levels, scales)
    corners = (torch.sign(scaled) * torch.floor(scaled.abs() + 0.5)).numpy()
    out = torch.empty_like(empty_pooled(features, len(rois), output_size), dtype=_wide(features[0].dtype))
    where = torch.empty_like(out, dtype=torch.int64)
    strided = tuple(t.permute(0, 2, 3, 1).numpy() for t in (out, where))
    image, has_image = batch_index.numpy(), good.numpy()
    for level, one in enumerate(features):
        maps = at_least_float32(one.detach()).permute(0, 2, 3, 1).numpy()
        # Bad regions belong to level 0, which writes their zeros.
        mine = torch.where(good, levels, 0).eq(level).nonzero()[:, 0].numpy()

        def work(begin: int, end: int, maps=maps, mine=mine) -> None:
            _pool(maps, mine[begin:end], image, has_image, corners, *strided)

        run_chunks(work, len(mine), REGIONS_PER_CHUNK)
    return out.to(features[0].dtype), where


def roi_pool_backward(
    grad: Tensor, where: Tensor, batch_index: Tensor, levels: Tensor, *, sizes: Sequence[int], channels_last: bool
) -> list[Tensor]:
    """As `reference.roi_pool_backward`; bitwise the same however many threads run."""
    wide = at_least_float32(grad).contiguous(memory_format=memory_format(channels_last))
    where = where.contiguous(memory_format=memory_format(channels_last))
    maps = empty_maps(wide, sizes, channels_last)
    sources = tuple(t.permute(0, 2, 3, 1).numpy() for t in (wide, where))
    for level, one in enumerate(maps):
        target = one.permute(0, 2, 3, 1).numpy()
        mine = levels.eq(level).nonzero()[:, 0].numpy()
        image = batch_index.numpy()

        def work(begin: int, end: int, target=target, mine=mine, image=image) -> None:
            _spread(*sources, mine, image, begin, end, target)

        run_chunks(work, one.shape[1], CHANNELS_PER_BLOCK)
    return [one.to(grad.dtype) for one in maps]


def _wide(kind: torch.dtype) -> torch.dtype:
    return torch.promote_types(kind, torch.float32)


@exact_kernel
def _pool(maps, mine, image, has_image, corners, out, where):
    """maps (B, H, W, C), corners (R, 4) whole pixels -> out and where (R, ph, pw, C), for the regions `mine`."""
    height, width, num_channels = maps.shape[1:]
    one = corners.dtype.type(1)
    for r in mine:
        x1, y1, x2, y2 = corners[r]
        bin_height = max(y2 - y1 + one, one) / corners.dtype.type(out.shape[1])
        bin_width = max(x2 - x1 + one, one) / corners.dtype.type(out.shape[2])
        for p in range(out.shape[1]):
            top, bottom = _bin(p, bin_height, y1, height)
            for q in range(out.shape[2]):
                left, right = _bin(q, bin_width, x1, width)
                is_empty = bottom <= top or right <= left or not has_image[r]
                for c in range(num_channels):
                    out[r, p, q, c] = 0 if is_empty else maps[image[r], top, left, c]
                    where[r, p, q, c] = -1 if is_empty else top * width + left
                if is_empty:
                    continue
                for y in range(top, bottom):
                    for x in range(left, right):
                        for c in range(num_channels):
                            value = maps[image[r], y, x, c]
                            best = out[r, p, q, c]
                            # The first NaN wins, and stays.
                            if value > best or (value != value and best == best):
                                out[r, p, q, c] = value
                                where[r, p, q, c] = y * width + x


@exact_kernel
def _bin(p, bin_size, start, size):
    kind = type(bin_size)
    first = np.floor(kind(p) * bin_size) + start
    last = np.ceil(kind(p + 1) * bin_size) + start
    return int(min(max(first, kind(0)), kind(size))), int(min(max(last, kind(0)), kind(size)))


@exact_kernel
def _spread(grad, where, mine, image, begin, end, maps):
    """grad and where (R, ph, pw, C) -> maps (B, H, W, C), channels begin..end, in the order of the regions."""
    width = maps.shape[2]
    for b in range(maps.shape[0]):
        for y in range(maps.shape[1]):
            for x in range(width):
                for c in range(begin, end):
                    maps[b, y, x, c] = 0
    for r in mine:
        if image[r] < 0 or image[r] >= maps.shape[0]:
            continue
        for p in range(grad.shape[1]):
            for q in range(grad.shape[2]):
                for c in range(begin, end):
                    at = where[r, p, q, c]
                    if at >= 0:
                        maps[image[r], at // width, at % width, c] += grad[r, p, q, c]
