"""Polygons drawn into the frame of a box on the GPU: one launch, whatever the number of points.

A program holds the pixels of a tile as bits, one word of 64 rows for each column. An edge flips the rest of a column
from where it crosses it, so the order of the edges does not matter, and many are done at once.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from boxwright.ops.gpu.launch import constant, divide, launch
from boxwright.ops.reference.outlines import MAX_PLACE
from boxwright.ops.rules import DrawingRule

EDGES, COLUMNS = 16, 32
ROWS = tl.constexpr(64)  # bits of a word
_MAX_PLACE = tl.constexpr(MAX_PLACE)


def rasterize_outlines(
    points: Tensor,
    point_first: Tensor,
    ring_first: Tensor,
    owner: Tensor,
    boxes: Tensor,
    rule: DrawingRule,
) -> Tensor:
    """As `reference.rasterize_outlines`, to the bit."""
    out = torch.empty(len(boxes), rule.size, rule.size, dtype=torch.uint8, device=boxes.device)
    given = (points, point_first, ring_first, owner, boxes.float())
    launch(
        _draw,
        (len(boxes), triton.cdiv(rule.size, COLUMNS), triton.cdiv(rule.size, ROWS.value)),
        *(t.contiguous() for t in given),
        out,
        len(ring_first) - 1,
        like=boxes,
        SIZE=rule.size,
        MIN_SIDE=rule.min_side,
        IS_SINGLE=rule.single_precision,
        EDGES=EDGES,
        COLUMNS=COLUMNS,
    )
    return out.view(torch.bool)


@triton.jit
def _fifths(place, low, high, SIZE: tl.constexpr, MIN_SIDE: tl.constexpr, IS_SINGLE: tl.constexpr):
    """Coordinates in the frame of the box -> in whole fifths of a pixel of the target, as pycocotools rounds."""
    size = constant(SIZE, low)
    side = tl.maximum(high - low, constant(MIN_SIDE, low))
    if IS_SINGLE:
        placed = divide((place.to(tl.float32) - low) * size, tl.broadcast_to(side, place.shape)).to(tl.float64)
    else:
        placed = (place - low.to(tl.float64)) * divide(size, side).to(tl.float64)
    placed = tl.where(placed > -_MAX_PLACE, placed, -_MAX_PLACE)  # NaN too
    placed = tl.where(placed < _MAX_PLACE, placed, _MAX_PLACE)
    # Whole numbers from here on, but held where the slopes are: a product and a sum are rounded as in C.
    return (placed * 5.0 + 0.5).to(tl.int32).to(tl.float64)


@triton.jit
def _load(points, index, is_there, x1, y1, x2, y2, SIZE: tl.constexpr, MIN_SIDE: tl.constexpr, IS_SINGLE: tl.constexpr):
    """Some points -> their x and their y in fifths, (1, EDGES)."""
    place, is_there = points + 2 * index[None, :], is_there[None, :]
    x = _fifths(tl.load(place, is_there, 0.0), x1, x2, SIZE, MIN_SIDE, IS_SINGLE)
    y = _fifths(tl.load(place + 1, is_there, 0.0), y1, y2, SIZE, MIN_SIDE, IS_SINGLE)
    return x, y


@triton.jit
def _row(x, y, next_x, next_y, fifth, SIZE: tl.constexpr):
    """The first row of a column (0 to SIZE, int32) behind the place at which an edge goes from `fifth` to the next or
    back; SIZE if it does not: nothing of the column comes after it.

    pycocotools walks the edge in whole fifths along its longer axis, from the lower end. What counts is the upper one
    of the two steps about the crossing.
    """
    is_crossing = (x <= fifth) != (next_x <= fifth)
    is_flat = tl.abs(next_x - x) >= tl.abs(next_y - y)
    run, rise = tl.where(is_flat, next_x - x, next_y - y), tl.where(is_flat, next_y - y, next_x - x)
    slope = tl.where(is_crossing, rise, 1.0) / tl.where(is_crossing, run, 1.0)
    is_turned = run < 0.0
    x, y = tl.where(is_turned, next_x, x), tl.where(is_turned, next_y, y)
    step = fifth - x
    flat = tl.minimum(y + slope * step + 0.5, y + slope * (step + 1.0) + 0.5)
    # Of a steep edge the step after which it is on the other side. The guess is rounded, so it may be one beside it.
    is_behind = x > fifth
    guess = tl.floor((fifth + 0.5 - x) / tl.where(is_flat, 1.0, slope))
    stays = ((x + slope * guess + 0.5 >= fifth + 1.0) == is_behind).to(tl.float64)
    stays += ((x + slope * (guess + 1.0) + 0.5 >= fifth + 1.0) == is_behind).to(tl.float64)
    found = tl.where(is_flat, flat, y + (guess - 1.0 + stays))
    # In whole pixels: what goes as far as fifth 5r + 2 begins with row r.
    found = tl.clamp(tl.where(is_crossing, found, 5.0 * SIZE), 0.0, 5.0 * SIZE)
    return (found.to(tl.int32) + 2) // 5


@triton.jit(do_not_specialize=["num_instances"])
def _draw(
    points, point_first, ring_first, owner, boxes, out, num_instances,
    SIZE: tl.constexpr, MIN_SIDE: tl.constexpr, IS_SINGLE: tl.constexpr, EDGES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """points (P, 2), boxes (R, 4) -> out (R, SIZE, SIZE): a program writes a tile of one region."""
    region = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    top = tl.program_id(2) * ROWS
    x1, y1 = tl.load(boxes + 4 * region), tl.load(boxes + 4 * region + 1)
    x2, y2 = tl.load(boxes + 4 * region + 2), tl.load(boxes + 4 * region + 3)
    instance = tl.load(owner + region)
    is_good = (x1 - x1 == 0) & (y1 - y1 == 0) & (x2 - x2 == 0) & (y2 - y2 == 0)
    is_good = is_good & (instance >= 0) & (instance < num_instances)
    fifth = (5 * column + 2).to(tl.float64)[:, None]
    is_set = tl.zeros((COLUMNS,), tl.int64)
    for ring in range(tl.load(ring_first + instance, is_good, 0), tl.load(ring_first + instance + 1, is_good, 0)):
        first, end = tl.load(point_first + ring), tl.load(point_first + ring + 1)
        flips = tl.zeros((COLUMNS, EDGES), tl.int64)
        for start in range(first, end, EDGES):
            point = start + tl.arange(0, EDGES)
            next_point = tl.where(point + 1 < end, point + 1, first)
            is_edge = point < end
            x, y = _load(points, point, is_edge, x1, y1, x2, y2, SIZE, MIN_SIDE, IS_SINGLE)
            next_x, next_y = _load(points, next_point, is_edge, x1, y1, x2, y2, SIZE, MIN_SIDE, IS_SINGLE)
            row = _row(x, y, next_x, next_y, fifth, SIZE) - top
            rest = tl.full((), -1, tl.int64) << tl.minimum(tl.maximum(row, 0), ROWS - 1).to(tl.int64)
            flips = flips ^ tl.where(is_edge[None, :] & (row < ROWS), rest, 0)
        is_set = is_set | tl.xor_sum(flips, axis=1)
    row = tl.arange(0, ROWS)[:, None]
    bit = (is_set[None, :] >> row.to(tl.int64)) & 1
    pixel = (region.to(tl.int64) * SIZE + top + row) * SIZE + column[None, :]
    tl.store(out + pixel, bit.to(tl.uint8), (top + row < SIZE) & (column < SIZE)[None, :])
