"""Polygons drawn into the frame of a box on the CPU: each edge is asked only for the columns that it crosses."""

import numpy as np
import torch
from torch import Tensor

from boxwright.ops.cpu.kernel import exact_kernel
from boxwright.ops.cpu.threads import run_chunks
from boxwright.ops.reference.outlines import MAX_PLACE
from boxwright.ops.rules import DrawingRule

CHUNK = 8
_FARTHEST = np.float64(MAX_PLACE)


def rasterize_outlines(
    points: Tensor,
    point_first: Tensor,
    ring_first: Tensor,
    owner: Tensor,
    boxes: Tensor,
    rule: DrawingRule,
) -> Tensor:
    """As `reference.rasterize_outlines`, to the bit."""
    outlines = tuple(t.contiguous().numpy() for t in (points, point_first, ring_first))
    regions = owner.contiguous().numpy(), boxes.float().contiguous().numpy()
    out = np.zeros((len(boxes), rule.size, rule.size), np.uint8)

    def draw(begin: int, end: int) -> None:
        flips = np.zeros((rule.size + 1, rule.size), np.uint8)
        _draw(*outlines, *regions, np.float32(rule.min_side), rule.single_precision, begin, end, flips, out)

    run_chunks(draw, len(boxes), CHUNK)
    return torch.from_numpy(out.view(np.bool_))


@exact_kernel
def _draw(points, point_first, ring_first, owner, boxes, min_side, is_single, begin, end, flips, out):
    """Regions begin..end of out (R, size, size), which is 0 before. Scratch: flips (size + 1, size), 0 before.

    pycocotools walks down the columns one after the other and changes between set and not set at each crossing. A ring
    is closed, so it crosses every column an even number of times, and each column can be done by itself.
    """
    for i in range(begin, end):
        instance = owner[i]
        if instance < 0 or instance >= len(ring_first) - 1 or not np.isfinite(boxes[i]).all():
            continue
        for ring in range(ring_first[instance], ring_first[instance + 1]):
            _mark_ring(points[point_first[ring] : point_first[ring + 1]], boxes[i], min_side, is_single, flips)
            _fill(flips, out[i])


@exact_kernel
def _mark_ring(points, box, min_side, is_single, flips):
    size = flips.shape[1]
    last = len(points) - 1
    x = _fifths(points[last, 0], box[0], box[2], size, min_side, is_single)
    y = _fifths(points[last, 1], box[1], box[3], size, min_side, is_single)
    for k in range(last + 1):
        next_x = _fifths(points[k, 0], box[0], box[2], size, min_side, is_single)
        next_y = _fifths(points[k, 1], box[1], box[3], size, min_side, is_single)
        _mark_edge(x, y, next_x, next_y, flips)
        x, y = next_x, next_y


@exact_kernel
def _fifths(place, low, high, size, min_side, is_single):
    """A coordinate in the frame of the box -> in whole fifths of a pixel of the target, as pycocotools rounds."""
    side = max(high - low, min_side)
    if is_single:
        placed = np.float64((np.float32(place) - low) * np.float32(size) / side)
    else:
        placed = (place - np.float64(low)) * np.float64(np.float32(size) / side)
    placed = placed if placed > -_FARTHEST else -_FARTHEST  # NaN too
    placed = placed if placed < _FARTHEST else _FARTHEST
    return np.int64(5 * placed + 0.5)


@exact_kernel
def _mark_edge(x, y, next_x, next_y, flips):
    """Flips the cell where the edge crosses from fifth 5c + 2 of column c to the next; there the column changes.

    pycocotools walks the edge in whole fifths along its longer axis, from the lower end. The row is that of the upper
    one of the two steps about the crossing.
    """
    size = flips.shape[1]
    is_flat = abs(next_x - x) >= abs(next_y - y)
    if (is_flat and x > next_x) or (not is_flat and y > next_y):
        x, y, next_x, next_y = next_x, next_y, x, y
    # The columns whose fifth 5c + 2 is at the lower end or behind it, and before the higher end.
    first, past = max((min(x, next_x) + 2) // 5, 0), min((max(x, next_x) + 2) // 5, size)
    if first >= past:
        return
    slope = (next_y - y) / (next_x - x) if is_flat else (next_x - x) / (next_y - y)
    for column in range(first, past):
        fifth = 5 * column + 2
        if is_flat:
            step = np.float64(fifth - x)
            found = min(np.int64(y + slope * step + 0.5), np.int64(y + slope * (step + 1) + 0.5))
        else:
            found = y + _last_step_before(x, slope, fifth)
        flips[min(max((found + 2) // 5, 0), size), column] ^= 1


@exact_kernel
def _last_step_before(x, slope, fifth):
    """The step of a steep edge from x after which it has gone from `fifth` to the next, or from the next to `fifth`."""
    guess = np.floor((fifth + 0.5 - x) / slope)
    # The guess is rounded, so the step before may be the one, or the step after.
    step = guess - 1
    for k in range(2):
        if (x + slope * (guess + k) + 0.5 >= fifth + 1) == (x > fifth):
            step += 1
    return np.int64(step)


@exact_kernel
def _fill(flips, out):
    """Adds to out (size, size) what lies between flips down each column, and clears them."""
    size = out.shape[0]
    for y in range(size):
        for x in range(size):
            out[y, x] |= flips[y, x]
            flips[y + 1, x] ^= flips[y, x]
            flips[y, x] = 0
