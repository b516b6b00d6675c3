"""Pairwise overlap of boxes on the CPU."""

from torch import Tensor

from boxwright.ops.cpu.kernel import exact_kernel
from boxwright.ops.cpu.threads import run_chunks

PAIRS_PER_CHUNK = 1 << 16


def box_iou(a: Tensor, b: Tensor, *, offset: float) -> Tensor:
    """As `reference.box_iou`, to the bit."""
    return _pairwise(_iou_rows, a, b, offset)


def generalized_box_iou(a: Tensor, b: Tensor) -> Tensor:
    """As `reference.generalized_box_iou`, to the bit."""
    return _pairwise(_giou_rows, a, b, 0.0)


def _pairwise(rows, a: Tensor, b: Tensor, offset: float) -> Tensor:
    out = a.new_empty(len(a), len(b))
    # Columns of coordinates, so that the inner loop reads them side by side.
    sources = a.contiguous().numpy(), b.t().contiguous().numpy()
    target, kind = out.numpy(), sources[0].dtype.type
    chunk = max(1, PAIRS_PER_CHUNK // max(len(b), 1))
    run_chunks(lambda begin, end: rows(*sources, kind(offset), begin, end, target), len(a), chunk)
    return out


@exact_kernel
def overlap(ax1, ay1, ax2, ay2, bx1, by1, bx2, by2, offset):
    """Two boxes -> intersection and union. A NaN coordinate makes the union NaN."""
    zero = offset - offset
    width = (ax2 if ax2 < bx2 else bx2) - (ax1 if ax1 > bx1 else bx1) + offset
    height = (ay2 if ay2 < by2 else by2) - (ay1 if ay1 > by1 else by1) + offset
    inter = (width if width > zero else zero) * (height if height > zero else zero)
    area_a = (ax2 - ax1 + offset) * (ay2 - ay1 + offset)
    area_b = (bx2 - bx1 + offset) * (by2 - by1 + offset)
    return inter, area_a + area_b - inter


@exact_kernel
def overlap_of(a, i, b, j, offset):
    """Row i of boxes a (N, 4) and row j of boxes b (M, 4), as `overlap`."""
    return overlap(a[i, 0], a[i, 1], a[i, 2], a[i, 3], b[j, 0], b[j, 1], b[j, 2], b[j, 3], offset)


@exact_kernel
def _iou_rows(a, b, offset, begin, end, out):
    """a (N, 4), b (4, M) -> out (N, M), rows begin..end."""
    for i in range(begin, end):
        x1, y1, x2, y2 = a[i, 0], a[i, 1], a[i, 2], a[i, 3]
        for j in range(b.shape[1]):
            inter, union = overlap(x1, y1, x2, y2, b[0, j], b[1, j], b[2, j], b[3, j], offset)
            out[i, j] = inter / union if union != 0 else union


@exact_kernel
def _giou_rows(a, b, offset, begin, end, out):
    for i in range(begin, end):
        x1, y1, x2, y2 = a[i, 0], a[i, 1], a[i, 2], a[i, 3]
        for j in range(b.shape[1]):
            inter, union = overlap(x1, y1, x2, y2, b[0, j], b[1, j], b[2, j], b[3, j], offset)
            iou = inter / union if union != 0 else union
            width = (x2 if x2 > b[2, j] else b[2, j]) - (x1 if x1 < b[0, j] else b[0, j])
            height = (y2 if y2 > b[3, j] else b[3, j]) - (y1 if y1 < b[1, j] else b[1, j])
            hull = (width if width > offset else offset) * (height if height > offset else offset)
            out[i, j] = iou - ((hull - union) / hull if hull != 0 else hull)
