"""Greedy non-maximum suppression on the CPU."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boxwright.ops.cpu.iou import overlap
from boxwright.ops.cpu.kernel import exact_kernel
from boxwright.ops.cpu.threads import run_chunks
from boxwright.ops.rules import SuppressionRule

# Groups are handed out one by one where there is this much to compare; below, threads would cost more than they save.
PAIRS_WORTH_THREADS = 1 << 22


def nms_keep(boxes: Tensor, scores: Tensor, groups: Tensor, rule: SuppressionRule) -> Tensor:
    """As `reference.nms_keep`, to the bit."""
    # NumPy around the kernel: torch would wake its threads for each of these small steps.
    order, first = order_groups(scores.numpy(), groups.numpy())
    columns = np.ascontiguousarray(boxes.numpy()[order].T)
    kind, stays = columns.dtype.type, np.ones(len(order), np.int32)
    given = columns, first, kind(rule.iou_threshold), kind(rule.offset), rule.inclusive
    run_chunks(lambda begin, end: _suppress(*given, begin, end, stays), len(first) - 1, _groups_per_chunk(first))
    keep = np.empty(len(order), np.bool_)
    keep[order] = stays
    return torch.from_numpy(keep)


def order_groups(scores: NDArray[Any], groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """-> (N,) order by group, then by descending score (NaN first), then by index; (G + 1,) where each group begins."""
    order = _order_packed(scores, groups)
    if order is None:
        order = np.lexsort((-scores, ~np.isnan(scores), groups))
    grouped = groups[order]
    starts = np.flatnonzero(grouped[1:] != grouped[:-1]) + 1
    ends = [len(groups)] if len(groups) else []
    return order, np.concatenate(([0], starts, ends)).astype(np.int64)


def _order_packed(scores: NDArray[Any], groups: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Group, score and index in one number, whose sorting NumPy has on vectors; None where 64 bits do not hold them."""
    if not len(scores) or scores.dtype != np.float32:
        return None
    lowest, index_bits = int(groups.min()), len(scores).bit_length()
    if (int(groups.max()) - lowest).bit_length() + 32 + index_bits > 64:
        return None
    bits = (scores + np.float32(0)).view(np.uint32)  # adding 0 makes -0.0 equal to 0.0
    # The bits of a negative number fall as it rises, of a positive one they rise.
    falling = np.where(bits >> 31 == 1, bits, ~(bits | np.uint32(1 << 31)))
    falling[np.isnan(scores)] = 0
    packed = ((groups - lowest).astype(np.uint64) << np.uint64(32)) | falling
    packed = (packed << np.uint64(index_bits)) | np.arange(len(scores), dtype=np.uint64)
    packed.sort()
    return (packed & np.uint64((1 << index_bits) - 1)).astype(np.int64)


def _groups_per_chunk(first: NDArray[np.int64]) -> int:
    sizes = np.diff(first).astype(np.float64)
    return 1 if float((sizes * sizes).sum()) > PAIRS_WORTH_THREADS else max(len(sizes), 1)


@exact_kernel
def _suppress(columns, first, threshold, offset, inclusive, begin, end, stays):
    """columns (4, N) of boxes, each group's by descending score -> stays (N,), for the groups begin..end."""
    zero = offset - offset
    for g in range(begin, end):
        last = first[g + 1]
        for i in range(first[g], last):
            if stays[i] == 0:
                continue
            ax1, ay1, ax2, ay2 = columns[0, i], columns[1, i], columns[2, i], columns[3, i]
            x1, y1, x2, y2 = columns[0, i:last], columns[1, i:last], columns[2, i:last], columns[3, i:last]
            rest = stays[i:last]
            # Every step writes, which lets the loop run on vectors: a branch would not.
            for j in range(1, len(rest)):
                inter, union = overlap(ax1, ay1, ax2, ay2, x1[j], y1[j], x2[j], y2[j], offset)
                iou = inter / union if union != zero else zero
                goes = iou >= threshold if inclusive else iou > threshold
                rest[j] = 0 if goes else rest[j]
