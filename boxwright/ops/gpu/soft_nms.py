"""Soft non-maximum suppression on the GPU: one program for each group, all groups in one launch.

Each step takes the best box out and lowers the others, and finds the next best on the way.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from boxwright.ops.gpu.iou import load_boxes, overlap
from boxwright.ops.gpu.launch import constant, divide, launch
from boxwright.ops.rules import DecayRule

BLOCK = 512


def soft_nms(boxes: Tensor, scores: Tensor, groups: Tensor, rule: DecayRule) -> tuple[Tensor, Tensor]:
    """As `reference.soft_nms`."""
    groups, order = torch.sort(groups, stable=True)
    sorted_scores = scores[order]
    # 1: waiting or taken out as the best, so it stays; 0: dropped. `is_waiting` tells the two apart.
    keep = torch.ones(len(boxes), dtype=torch.uint8, device=boxes.device)
    launch(
        _decay,
        (len(boxes),),
        boxes[order].contiguous(),
        torch.searchsorted(groups, groups),
        torch.searchsorted(groups, groups, right=True),
        sorted_scores,
        keep,
        keep.clone(),
        like=boxes,
        IS_LINEAR=rule.method == "linear",
        SIGMA=rule.sigma,
        THRESHOLD=rule.iou_threshold,
        MIN_SCORE=rule.min_score,
        OFFSET=rule.offset,
        BLOCK=BLOCK,
    )
    new_scores = torch.empty_like(scores).scatter_(0, order, sorted_scores)
    return new_scores, torch.empty_like(keep).scatter_(0, order, keep).view(torch.bool)


@triton.jit
def _best_of(scores, index, is_candidate, best, best_is_nan, best_index):
    """The better of the best so far and a block: NaN before all numbers, the earlier index among equals."""
    is_nan = is_candidate & (scores != scores)
    has_nan = tl.max(is_nan.to(tl.int32), axis=0) != 0
    most = tl.max(tl.where(is_candidate & (scores == scores), scores, float("-inf")), axis=0)
    is_most = tl.where(has_nan, is_nan, is_candidate & (scores == most))
    none = 2147483647
    place = tl.min(tl.where(is_most, index, none), axis=0)
    is_better = (best_index < 0) | (has_nan & (best_is_nan == 0)) | ((best_is_nan == 0) & (most > best))
    is_better = is_better & (place != none)
    best = tl.where(is_better, most, best)
    best_is_nan = tl.where(is_better, has_nan.to(tl.int32), best_is_nan)
    return best, best_is_nan, tl.where(is_better, place, best_index)


@triton.jit
def _decay(
    boxes, first_of_group, end_of_group, scores, keep, is_waiting,
    IS_LINEAR: tl.constexpr, SIGMA: tl.constexpr, THRESHOLD: tl.constexpr, MIN_SCORE: tl.constexpr,
    OFFSET: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Boxes by group: lowers scores (N,) and clears keep (N,) and is_waiting (N,) of the group that begins here."""
    start = tl.program_id(0)
    if tl.load(first_of_group + start) != start:
        return
    end = tl.load(end_of_group + start).to(tl.int32)
    best = tl.full((), float("-inf"), scores.dtype.element_ty)
    best_is_nan = tl.full((), 0, tl.int32)
    top = tl.full((), -1, tl.int32)
    for block in range(start, end, BLOCK):
        index = block + tl.arange(0, BLOCK)
        score = tl.load(scores + index, index < end, 0.0)
        best, best_is_nan, top = _best_of(score, index, index < end, best, best_is_nan, top)
    while top >= 0:
        ax1, ay1, ax2, ay2 = load_boxes(boxes, top, True)
        taken = top
        best = tl.full((), float("-inf"), scores.dtype.element_ty)
        best_is_nan = tl.full((), 0, tl.int32)
        top = tl.full((), -1, tl.int32)
        for block in range(start, end, BLOCK):
            index = block + tl.arange(0, BLOCK)
            is_there = index < end
            waits = (tl.load(is_waiting + index, is_there, 0) != 0) & (index != taken)
            bx1, by1, bx2, by2 = load_boxes(boxes, index, waits)
            inter, union = overlap(ax1, ay1, ax2, ay2, bx1, by1, bx2, by2, OFFSET)
            # Sides, not the area: a product of tiny sides may be 0.
            offset = constant(OFFSET, ax1)
            is_wide = tl.minimum(ax2, bx2) - tl.maximum(ax1, bx1) + offset > 0
            touched = waits & is_wide & (tl.minimum(ay2, by2) - tl.maximum(ay1, by1) + offset > 0)
            iou = divide(inter, tl.where(touched, union, 1.0))
            if IS_LINEAR:
                weight = tl.where(iou > constant(THRESHOLD, iou), 1 - iou, 1.0)
            else:
                weight = tl.exp(divide(-(iou * iou), constant(SIGMA, iou)))
            score = tl.load(scores + index, is_there, 0.0)
            score = tl.where(touched, weight * score, score)
            is_low = touched & (score < constant(MIN_SCORE, score))
            waits = waits & (is_low == 0)
            tl.store(scores + index, score, touched)
            tl.store(keep + index, tl.zeros((BLOCK,), tl.uint8), is_low)
            tl.store(is_waiting + index, waits.to(tl.uint8), is_there)
            best, best_is_nan, top = _best_of(score, index, waits, best, best_is_nan, top)
        # The next step may read in other threads what these have written.
        tl.debug_barrier()
