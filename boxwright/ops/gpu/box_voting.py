"""Box voting on the GPU: one program for each kept box."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from boxwright.ops.gpu.iou import load_boxes, overlap, ratio
from boxwright.ops.gpu.launch import constant, launch
from boxwright.ops.rules import VotingRule

BLOCK = 512


def box_voting(
    kept_boxes: Tensor,
    kept_scores: Tensor,
    kept_groups: Tensor,
    all_boxes: Tensor,
    all_scores: Tensor,
    all_groups: Tensor,
    rule: VotingRule,
) -> tuple[Tensor, Tensor]:
    """As `reference.box_voting`."""
    given = [t.contiguous() for t in (kept_boxes, kept_scores, kept_groups, all_boxes, all_scores, all_groups)]
    new_boxes, new_scores = torch.empty_like(given[0]), torch.empty_like(given[1])
    launch(
        _vote,
        (len(kept_boxes),),
        *given,
        new_boxes,
        new_scores,
        len(all_boxes),
        like=kept_boxes,
        THRESHOLD=rule.iou_threshold,
        SCORING=rule.scoring,
        BETA=rule.beta,
        INVERSE_BETA=1.0 / rule.beta if rule.scoring == "generalized_avg" else 0.0,
        OFFSET=rule.offset,
        BLOCK=BLOCK,
    )
    return new_boxes, new_scores


@triton.jit
def _power(x, EXPONENT: tl.constexpr):
    """x ** EXPONENT for x >= 0; like the definition, 1 for exponent 0."""
    exponent = constant(EXPONENT, x)
    return tl.where(exponent == 0, 1.0, tl.exp2(exponent * tl.log2(x)))


@triton.jit
def _smooth(score, BETA: tl.constexpr):
    """Probabilities after smoothing with the temperature, against those of any other class."""
    largest = tl.maximum(score, 1 - score)
    beta = constant(BETA, score)
    is_it, is_not = tl.exp(tl.log(score / largest) / beta), tl.exp(tl.log((1 - score) / largest) / beta)
    return is_it / (is_it + is_not)


@triton.jit
def _score(own, total, num_votes, value, shared, SCORING: tl.constexpr, BETA: tl.constexpr, INVERSE_BETA: tl.constexpr):
    """The sums over the votes of scores, of what the scoring makes of each, and of IoUs -> the new score."""
    if SCORING == "id":
        result = own
    elif SCORING == "avg":
        result = total / num_votes
    elif SCORING == "iou_avg":
        result = value / shared
    elif SCORING == "generalized_avg":
        result = _power(value / num_votes, INVERSE_BETA)
    elif SCORING == "quasi_sum":
        result = total / _power(num_votes, BETA)
    else:
        result = value / num_votes
    return result


@triton.jit(do_not_specialize=["num_boxes"])
def _vote(
    kept, kept_scores, kept_groups, boxes, scores, groups, new_boxes, new_scores, num_boxes,
    THRESHOLD: tl.constexpr, SCORING: tl.constexpr, BETA: tl.constexpr, INVERSE_BETA: tl.constexpr,
    OFFSET: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """kept (K, 4), boxes (N, 4) -> new_boxes (K, 4) and new_scores (K,)."""
    k = tl.program_id(0)
    ax1, ay1, ax2, ay2 = load_boxes(kept, k, True)
    own, group = tl.load(kept_scores + k), tl.load(kept_groups + k)
    zeros = tl.zeros((BLOCK,), boxes.dtype.element_ty)
    weight, value, shared, count = zeros, zeros, zeros, zeros
    x1, y1, x2, y2 = zeros, zeros, zeros, zeros
    for block in range(0, num_boxes, BLOCK):
        index = block + tl.arange(0, BLOCK)
        is_there = index < num_boxes
        bx1, by1, bx2, by2 = load_boxes(boxes, index, is_there)
        inter, union = overlap(ax1, ay1, ax2, ay2, bx1, by1, bx2, by2, OFFSET)
        iou = ratio(inter, union)
        votes = is_there & (iou >= constant(THRESHOLD, iou)) & (tl.load(groups + index, is_there, 0) == group)
        score = tl.load(scores + index, votes, 0.0)
        weight += score
        count += votes.to(zeros.dtype)
        x1 += tl.where(votes, bx1 * score, 0.0)
        y1 += tl.where(votes, by1 * score, 0.0)
        x2 += tl.where(votes, bx2 * score, 0.0)
        y2 += tl.where(votes, by2 * score, 0.0)
        if SCORING == "iou_avg":
            shared += tl.where(votes, iou, 0.0)
            value += tl.where(votes, score * iou, 0.0)
        elif SCORING == "generalized_avg":
            value += tl.where(votes, _power(score, BETA), 0.0)
        elif SCORING == "temp_avg":
            value += tl.where(votes, _smooth(score, BETA), 0.0)
    total, num_votes = tl.sum(weight, axis=0), tl.sum(count, axis=0)
    value, shared = tl.sum(value, axis=0), tl.sum(shared, axis=0)
    result = _score(own, total, num_votes, value, shared, SCORING, BETA, INVERSE_BETA)
    has_votes = (num_votes > 0) & (total != 0)
    tl.store(new_scores + k, tl.where(has_votes, result, own))
    tl.store(new_boxes + 4 * k, tl.where(has_votes, tl.sum(x1, axis=0) / total, ax1))
    tl.store(new_boxes + 4 * k + 1, tl.where(has_votes, tl.sum(y1, axis=0) / total, ay1))
    tl.store(new_boxes + 4 * k + 2, tl.where(has_votes, tl.sum(x2, axis=0) / total, ax2))
    tl.store(new_boxes + 4 * k + 3, tl.where(has_votes, tl.sum(y2, axis=0) / total, ay2))
