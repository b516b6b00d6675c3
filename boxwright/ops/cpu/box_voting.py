"""Box voting on the CPU."""

import numpy as np
from torch import Tensor

from boxwright.ops.cpu.iou import overlap_of
from boxwright.ops.cpu.kernel import exact_kernel
from boxwright.ops.cpu.threads import run_chunks
from boxwright.ops.rules import VotingRule

# A scoring as the kernel knows it.
NUMBERS = {"id": 0, "avg": 1, "iou_avg": 2, "generalized_avg": 3, "quasi_sum": 4, "temp_avg": 5}
BOXES_PER_CHUNK = 16


def box_voting(
    kept_boxes: Tensor,
    kept_scores: Tensor,
    kept_groups: Tensor,
    all_boxes: Tensor,
    all_scores: Tensor,
    all_groups: Tensor,
    rule: VotingRule,
) -> tuple[Tensor, Tensor]:
    """As `reference.box_voting`; the votes are summed in float64."""
    new_boxes, new_scores = kept_boxes.clone(), kept_scores.clone()
    given = [t.contiguous().numpy() for t in (kept_boxes, kept_groups, all_boxes, all_scores, all_groups)]
    kind = given[0].dtype.type
    settings = kind(rule.iou_threshold), NUMBERS[rule.scoring], float(rule.beta), kind(rule.offset)
    targets = new_boxes.numpy(), new_scores.numpy()
    run_chunks(lambda begin, end: _vote(*given, *settings, begin, end, *targets), len(kept_boxes), BOXES_PER_CHUNK)
    return new_boxes, new_scores


@exact_kernel
def _vote(kept, kept_group, boxes, scores, group, threshold, scoring, beta, offset, begin, end, new_boxes, new_scores):
    """kept (K, 4), boxes (N, 4) -> new_boxes (K, 4), new_scores (K,), for the boxes begin..end; scoring is a number."""
    for k in range(begin, end):
        num_votes, weight_sum, score_sum, iou_sum = 0, 0.0, 0.0, 0.0
        box_sum = np.zeros(4)
        for i in range(len(boxes)):
            if group[i] != kept_group[k]:
                continue
            inter, union = overlap_of(kept, k, boxes, i, offset)
            iou = inter / union if union != 0 else union
            if not iou >= threshold:
                continue
            vote = np.float64(scores[i])
            num_votes += 1
            weight_sum += vote
            iou_sum += iou
            for c in range(4):
                box_sum[c] += vote * boxes[i, c]
            if scoring == 2:
                score_sum += vote * iou
            elif scoring == 3:
                score_sum += vote**beta
            elif scoring == 5:
                score_sum += _smooth(vote, beta)
        if num_votes == 0 or weight_sum == 0:
            continue
        for c in range(4):
            new_boxes[k, c] = box_sum[c] / weight_sum
        if scoring == 1:
            new_scores[k] = weight_sum / num_votes
        elif scoring == 2:
            new_scores[k] = score_sum / iou_sum
        elif scoring == 3:
            new_scores[k] = (score_sum / num_votes) ** (1 / beta)
        elif scoring == 4:
            new_scores[k] = weight_sum / np.float64(num_votes) ** beta
        elif scoring == 5:
            new_scores[k] = score_sum / num_votes


@exact_kernel
def _smooth(score, beta):
    """A probability after smoothing with the temperature `beta`, against that of any other class."""
    largest = max(score, 1 - score)
    is_it, is_not = np.exp(np.log(score / largest) / beta), np.exp(np.log((1 - score) / largest) / beta)
    return is_it / (is_it + is_not)
