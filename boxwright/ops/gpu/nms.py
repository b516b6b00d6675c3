"""Greedy non-maximum suppression on the GPU: all groups at once, and nothing waits for the device.

Boxes are sorted by group and score, and done in bands of `BAND`. In a band every pair is compared into a table of bits,
64 to a word; then one program for each group walks down its words, 64 boxes a step. Boxes of later bands are compared
with what stayed of the earlier ones. So memory grows with the number of boxes, not with its square.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from boxwright.ops.gpu.iou import load_boxes, overlap, ratio
from boxwright.ops.gpu.launch import constant, launch
from boxwright.ops.rules import SuppressionRule

# The bits of a band take BAND * BAND / 8 bytes: 8 MB.
BAND = 8192
TILE = tl.constexpr(64)  # boxes to a word
ROWS = 1024


def nms_keep(boxes: Tensor, scores: Tensor, groups: Tensor, rule: SuppressionRule) -> Tensor:
    """As `reference.nms_keep`, to the bit."""
    order = torch.argsort(scores, descending=True, stable=True)
    groups, by_group = torch.sort(groups[order], stable=True)
    order = order[by_group]
    boxes = boxes[order].contiguous()
    stays = _suppress(boxes, groups, rule)
    return torch.empty_like(stays).scatter_(0, order, stays).view(torch.bool)


def _suppress(boxes: Tensor, groups: Tensor, rule: SuppressionRule) -> Tensor:
    """Boxes by group, each group's by descending score -> (N,) uint8, 1 for those that stay."""
    num_boxes = len(boxes)
    band = min(BAND, triton.cdiv(max(num_boxes, 1), 64) * 64)
    removed = torch.zeros(num_boxes, dtype=torch.uint8, device=boxes.device)
    stays = torch.empty_like(removed)
    bits = torch.empty(band // 64, band, dtype=torch.int64, device=boxes.device)
    first_of_group = torch.searchsorted(groups, groups)
    end_of_group = torch.searchsorted(groups, groups, right=True)
    constants = {"THRESHOLD": rule.iou_threshold, "OFFSET": rule.offset, "INCLUSIVE": rule.inclusive}
    for first in range(0, num_boxes, band):
        size = min(band, num_boxes - first)
        tiles = triton.cdiv(size, 64)
        if first:
            earlier = (boxes, groups, first_of_group, stays, removed, first, num_boxes)
            launch(_compare_with_earlier, (tiles,), *earlier, like=boxes, num_warps=8, **constants)
        pairs = (boxes, groups, bits, first, num_boxes)
        launch(_compare_in_band, (tiles, tiles), *pairs, like=boxes, num_warps=8, BAND=band, **constants)
        table = (bits, first_of_group, end_of_group, removed, stays, first, size)
        launch(_walk_groups, (size,), *table, like=boxes, BAND=band, ROWS=ROWS)
    return stays


@triton.jit
def _hits(
    boxes, groups, rows, has_row, columns, has_column,
    THRESHOLD: tl.constexpr, OFFSET: tl.constexpr, INCLUSIVE: tl.constexpr,
):  # fmt: skip
    """(rows, columns) bool: pairs of one group that overlap enough."""
    ax1, ay1, ax2, ay2 = load_boxes(boxes, rows[:, None], has_row[:, None])
    bx1, by1, bx2, by2 = load_boxes(boxes, columns[None, :], has_column[None, :])
    inter, union = overlap(ax1, ay1, ax2, ay2, bx1, by1, bx2, by2, OFFSET)
    iou = ratio(inter, union)
    row_group = tl.load(groups + rows, has_row, 0)
    column_group = tl.load(groups + columns, has_column, 0)
    threshold = constant(THRESHOLD, iou)
    hits = (iou >= threshold) if INCLUSIVE else (iou > threshold)
    return hits & has_row[:, None] & has_column[None, :] & (row_group[:, None] == column_group[None, :])


@triton.jit(do_not_specialize=["first", "num_boxes"])
def _compare_with_earlier(
    boxes, groups, first_of_group, stays, removed, first, num_boxes,
    THRESHOLD: tl.constexpr, OFFSET: tl.constexpr, INCLUSIVE: tl.constexpr,
):  # fmt: skip
    """Marks in removed (N,) a tile of the band that begins at `first`: what boxes of earlier bands suppress."""
    start = first + tl.program_id(0) * TILE
    columns = start + tl.arange(0, TILE)
    has_column = columns < num_boxes
    is_hit = tl.zeros((TILE, TILE), tl.int32)
    for row in range(tl.load(first_of_group + start).to(tl.int32), first, TILE):
        rows = row + tl.arange(0, TILE)
        has_row = rows < first
        has_row = has_row & (tl.load(stays + rows, has_row, 0) != 0)
        hits = _hits(boxes, groups, rows, has_row, columns, has_column, THRESHOLD, OFFSET, INCLUSIVE)
        is_hit = is_hit | hits.to(tl.int32)
    tl.store(removed + columns, tl.max(is_hit, axis=0).to(tl.uint8), has_column)


@triton.jit(do_not_specialize=["first", "num_boxes"])
def _compare_in_band(
    boxes, groups, bits, first, num_boxes,
    BAND: tl.constexpr, THRESHOLD: tl.constexpr, OFFSET: tl.constexpr, INCLUSIVE: tl.constexpr,
):  # fmt: skip
    """bits (tiles, BAND): bit k of word (t, row) says that box `row` would remove box 64 * t + k of its group."""
    row_tile, tile = tl.program_id(0), tl.program_id(1)
    if row_tile > tile:
        return
    rows = first + row_tile * TILE + tl.arange(0, TILE)
    columns = first + tile * TILE + tl.arange(0, TILE)
    last_row = tl.minimum(first + row_tile * TILE + TILE, num_boxes) - 1
    # Sorted by group: if the last row is of an earlier group than the first column, nobody here meets.
    if tl.load(groups + last_row) < tl.load(groups + first + tile * TILE):
        return
    has_row, has_column = rows < num_boxes, columns < num_boxes
    hits = _hits(boxes, groups, rows, has_row, columns, has_column, THRESHOLD, OFFSET, INCLUSIVE)
    hits = hits & (columns[None, :] > rows[:, None])
    place = tl.arange(0, TILE).to(tl.int64)
    words = tl.sum(hits.to(tl.int64) << place[None, :], axis=1)
    tl.store(bits + tile * BAND + row_tile * TILE + tl.arange(0, TILE), words, has_row)


@triton.jit
def _either(a, b):
    return a | b


@triton.jit(do_not_specialize=["first", "size"])
def _walk_groups(
    bits, first_of_group, end_of_group, removed, stays, first, size, BAND: tl.constexpr, ROWS: tl.constexpr
):
    """One program for each box of the band; the one of a group's first box in the band decides on the whole group."""
    start = tl.program_id(0)
    group_start = tl.load(first_of_group + first + start) - first
    if (group_start != start) & (start != 0):
        return
    end = tl.minimum(tl.load(end_of_group + first + start) - first, size).to(tl.int32)
    lane = tl.arange(0, TILE)
    for tile in range(start // TILE, tl.cdiv(end, TILE)):
        place = tile * TILE + lane
        is_mine = (place >= start) & (place < end)
        words = bits + tile * BAND
        gone = tl.load(removed + first + place, is_mine, 0).to(tl.int64)
        word = tl.sum(gone << lane.to(tl.int64), axis=0)
        if tile * TILE > start:
            # What the boxes that stayed in the tiles before take away from this one.
            taken = tl.zeros((ROWS,), tl.int64)
            for row in range(start, tile * TILE, ROWS):
                rows = row + tl.arange(0, ROWS)
                is_before = rows < tile * TILE
                stayed = tl.load(stays + first + rows, is_before, 0) != 0
                taken = taken | tl.load(words + rows, is_before & stayed, 0)
            word = word | tl.reduce(taken, 0, _either)
        for k in tl.static_range(64):
            row = tile * TILE + k
            suppressed = tl.load(words + row, (row >= start) & (row < end), 0)
            word = tl.where(((word >> k) & 1) == 0, word | suppressed, word)
        tl.store(stays + first + place, (((word >> lane.to(tl.int64)) & 1) == 0).to(tl.uint8), is_mine)
        # The next tile reads in other threads what these have written.
        tl.debug_barrier()
