"""Pillow's bilinear resize in Numba: the same fixed-point sums, several times faster.

Pillow resizes along the width first and rounds to bytes, then along the height. Each output is a weighted sum of the
inputs under a triangle, whose half width is the scale when shrinking and 1 otherwise; weights are integers of 22 bits.
Where the height shrinks, Pillow 13 may begin with it, earlier ones do not: `boxwright.data.resize` leaves that to the
Pillow that is installed.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from boxwright.ops.cpu.kernel import exact_kernel

PRECISION = 22  # bits after the point: 32 less 8 of a pixel and 2 to spare
HALF = np.int32(1 << (PRECISION - 1))


def resize_pillow(image: Any, size: tuple[int, int]) -> Any:
    """(H, W) or (H, W, C) uint8 without alpha -> the same with `size` (height, width)."""
    height, width = image.shape[:2]
    rows = np.ascontiguousarray(image).reshape(height, -1)
    channels = rows.shape[1] // width
    if size[1] != width:
        rows = _resize_width(rows, channels, size[1])
    if size[0] != height:
        resized = np.empty((size[0], rows.shape[1]), dtype=np.uint8)
        _vertical(rows, *weights(height, size[0]), np.empty(rows.shape[1], np.int32), resized)
        rows = resized
    return rows.reshape(*size, *image.shape[2:])


def _resize_width(rows, channels, width):
    first, count, weight = weights(rows.shape[1] // channels, width)
    resized = np.empty((rows.shape[0], width * channels), dtype=np.uint8)
    if weight.shape[1] == 2 and channels == 3:
        _horizontal_pairs(rows, first, weight, resized)
    else:
        _horizontal(rows, channels, first, count, weight, resized)
    return resized


@lru_cache(maxsize=256)
def weights(num_in: int, num_out: int) -> tuple[Any, Any, Any]:
    """-> first (num_out,), count (num_out,), weight (num_out, taps) int32: the inputs that make each output.

    Where no output has more than two inputs, all get exactly two, so that the loop over them can be written out.
    """
    support = max(num_in / num_out, 1.0)
    table = _weights(num_in, num_out, support, int(np.ceil(support)) * 2 + 1)
    pairs: tuple[Any, Any, Any] | None = _pairs(table, num_in)
    return table if pairs is None else pairs


def _pairs(table, num_in):
    first, _, weight = table
    lead = (weight != 0).argmax(axis=1)
    if num_in < 2 or ((weight != 0).sum(axis=1) > 2).any():
        return None
    begin = np.minimum(first + lead, num_in - 2)
    pairs = np.zeros((len(first), 2), dtype=np.int32)
    for tap in range(weight.shape[1]):
        place = first + tap - begin
        fits = (place >= 0) & (place < 2) & (weight[:, tap] != 0)
        pairs[fits, place[fits]] = weight[fits, tap]
    return begin.astype(np.int32), np.full(len(first), 2, dtype=np.int32), pairs


def _weights(num_in, num_out, support, taps):
    """In NumPy, which takes no compiling; every sum in Pillow's order."""
    center = (np.arange(num_out) + 0.5) * (num_in / num_out)
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    count = np.minimum((center + support + 0.5).astype(np.int64), num_in) - first
    tap = np.arange(taps)
    share = np.maximum(1.0 - np.abs((tap + first[:, None] - center[:, None] + 0.5) * (1.0 / support)), 0.0)
    share[tap >= count[:, None]] = 0.0
    total = np.cumsum(share, axis=1)[:, -1:]  # one after the other, unlike sum
    normal = share / np.where(total == 0.0, 1.0, total)
    return first.astype(np.int32), count.astype(np.int32), (0.5 + normal * (1 << PRECISION)).astype(np.int32)


@exact_kernel
def _horizontal_pairs(rows, first, weight, out):
    """Three channels, two inputs each."""
    for y in range(rows.shape[0]):
        row, result = rows[y], out[y]
        for x in range(first.shape[0]):
            p, w0, w1 = np.int64(first[x]) * 3, weight[x, 0], weight[x, 1]
            for c in range(3):
                total = np.int32(HALF) + np.int32(row[p + c]) * w0 + np.int32(row[p + 3 + c]) * w1
                result[3 * x + c] = total >> PRECISION


@exact_kernel
def _horizontal(rows, channels, first, count, weight, out):
    for y in range(rows.shape[0]):
        row, result = rows[y], out[y]
        for x in range(first.shape[0]):
            for c in range(channels):
                total = np.int64(HALF)
                for tap in range(count[x]):
                    total += np.int64(row[(first[x] + tap) * channels + c]) * weight[x, tap]
                result[x * channels + c] = total >> PRECISION


@exact_kernel
def _vertical(rows, first, count, weight, total, out):
    """total (width,) is scratch: handed in, since making an array here would take longer to compile than the rest."""
    width = rows.shape[1]
    for y in range(out.shape[0]):
        for x in range(width):
            total[x] = HALF
        for tap in range(count[y]):
            factor = weight[y, tap]
            if factor != 0:
                row = rows[first[y] + tap]
                for x in range(width):
                    total[x] += np.int32(row[x]) * factor
        result = out[y]
        for x in range(width):
            result[x] = total[x] >> PRECISION
