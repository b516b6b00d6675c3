"""torch's bilinear resize of normalised levels in Numba: from bytes to planes in one go.

The numbers are those of `torch.nn.functional.interpolate` on more than one thread: along the width first, then along
the height, each a product and a fused sum. On one thread torch sums in another order, and the last bit depends on
whether a loader's worker or a detector resized the picture; here it does not.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from boxwright.ops.cpu.fused import fused
from boxwright.ops.cpu.kernel import exact_kernel


def resize_normalised(image: Any, table: Any, size: tuple[int, int]) -> Tensor:
    """(H, W, 3) uint8 levels, (3, 256) float32 what each level of a channel becomes -> (3, h, w)."""
    planes = torch.empty(3, *size)
    width = image.shape[1]
    lines = np.empty((3, width), np.float32), np.empty((2, 3, size[1]), np.float32)
    rows, columns = _neighbours(image.shape[0], size[0]), _neighbours(width, size[1])
    _resize(np.ascontiguousarray(image), np.ascontiguousarray(table), *rows, *columns, *lines, planes.numpy())
    return planes


@lru_cache(maxsize=256)
def _neighbours(num_in: int, num_out: int) -> tuple[Any, Any, Any, Any]:
    """-> (num_out,) first and second input of each output, and their float32 shares."""
    scale = np.float64(np.float32(num_in) / np.float32(num_out))
    place = np.maximum((scale * (np.arange(num_out) + 0.5) - 0.5).astype(np.float32), np.float32(0))
    first = np.minimum(place.astype(np.int64), num_in - 1)
    share = np.clip(place - first.astype(np.float32), 0, 1).astype(np.float32)
    return first, np.minimum(first + 1, num_in - 1), np.float32(1) - share, share


@exact_kernel
def _resize(image, table, y0, y1, upper, lower, x0, x1, left, right, line, rows, out):
    """Scratch: `line` (3, W) a row of the image, `rows` (2, 3, w) two of them in the new width."""
    held = (-1, -1)  # which row of the image each of the two holds
    for y in range(out.shape[1]):
        for row in range(y0[y], y1[y] + 1):
            slot = row & 1
            if held[slot] == row:
                continue
            held = (row, held[1]) if slot == 0 else (held[0], row)
            for x in range(image.shape[1]):
                for c in range(3):
                    line[c, x] = table[c, image[row, x, c]]
            for c in range(3):
                given, spread = line[c], rows[slot, c]
                for x in range(out.shape[2]):
                    spread[x] = fused(given[x0[x]], left[x], given[x1[x]] * right[x])
        up, down = upper[y], lower[y]
        for c in range(3):
            above, below, result = rows[y0[y] & 1, c], rows[y1[y] & 1, c], out[c, y]
            for x in range(out.shape[2]):
                result[x] = fused(above[x], up, below[x] * down)
