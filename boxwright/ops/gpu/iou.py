"""Pairwise overlap of boxes on the GPU.

Torch would write a dozen tables of N x M numbers on the way to the result; here each pair is read, computed and written
once.
"""

import triton
import triton.language as tl
from torch import Tensor

from boxwright.ops.gpu.launch import constant, divide, launch

PAIRS = 512  # of one program


def box_iou(a: Tensor, b: Tensor, *, offset: float) -> Tensor:
    """As `reference.box_iou`, to the bit."""
    return _pairwise(a, b, offset, is_generalized=False)


def generalized_box_iou(a: Tensor, b: Tensor) -> Tensor:
    """As `reference.generalized_box_iou`, to the bit."""
    return _pairwise(a, b, 0.0, is_generalized=True)


def _pairwise(a: Tensor, b: Tensor, offset: float, is_generalized: bool) -> Tensor:
    out = a.new_empty(len(a), len(b))
    columns = min(triton.next_power_of_2(max(len(b), 1)), PAIRS)
    rows = PAIRS // columns
    launch(
        _iou,
        (triton.cdiv(len(a), rows), triton.cdiv(len(b), columns)),
        a.contiguous(),
        b.contiguous(),
        out,
        *out.shape,
        like=a,
        OFFSET=offset,
        IS_GENERALIZED=is_generalized,
        ROWS=rows,
        COLUMNS=columns,
    )
    return out


@triton.jit
def load_boxes(boxes, index, is_there):
    """boxes (N, 4) -> x1, y1, x2, y2 of these rows; zeros where there is none."""
    at = boxes + 4 * index.to(tl.int64)
    x1, y1 = tl.load(at, is_there, 0.0), tl.load(at + 1, is_there, 0.0)
    return x1, y1, tl.load(at + 2, is_there, 0.0), tl.load(at + 3, is_there, 0.0)


@triton.jit
def overlap(ax1, ay1, ax2, ay2, bx1, by1, bx2, by2, OFFSET: tl.constexpr):
    """Boxes that broadcast -> intersection and union. A NaN coordinate makes the union NaN."""
    offset = constant(OFFSET, ax1)
    width = tl.minimum(ax2, bx2) - tl.maximum(ax1, bx1) + offset
    height = tl.minimum(ay2, by2) - tl.maximum(ay1, by1) + offset
    inter = tl.maximum(width, 0.0) * tl.maximum(height, 0.0)
    area_a = (ax2 - ax1 + offset) * (ay2 - ay1 + offset)
    area_b = (bx2 - bx1 + offset) * (by2 - by1 + offset)
    return inter, area_a + area_b - inter


@triton.jit
def ratio(part, whole):
    """part / whole, and 0 of nothing; NaN stays NaN."""
    return tl.where(whole == 0, 0.0, divide(part, tl.where(whole == 0, 1.0, whole)))


@triton.jit(do_not_specialize=["num_rows"])
def _iou(
    a, b, out, num_rows, num_columns,
    OFFSET: tl.constexpr, IS_GENERALIZED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """a (N, 4), b (M, 4) -> out (N, M): a program does a tile of it."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    column = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    has_row, has_column = row < num_rows, column < num_columns
    ax1, ay1, ax2, ay2 = load_boxes(a, row, has_row)
    bx1, by1, bx2, by2 = load_boxes(b, column, has_column)
    inter, union = overlap(ax1, ay1, ax2, ay2, bx1, by1, bx2, by2, OFFSET)
    iou = ratio(inter, union)
    if IS_GENERALIZED:
        width = tl.maximum(tl.maximum(ax2, bx2) - tl.minimum(ax1, bx1), 0.0)
        height = tl.maximum(tl.maximum(ay2, by2) - tl.minimum(ay1, by1), 0.0)
        hull = width * height
        iou = iou - ratio(hull - union, hull)
    tl.store(out + row.to(tl.int64) * num_columns + column, iou, has_row & has_column)
