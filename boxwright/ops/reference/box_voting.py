"""Box voting in plain torch: the definition the other backends must match."""

import math

import torch
from torch import Tensor

from boxwright.ops.reference.iou import box_iou
from boxwright.ops.rules import VotingRule


def box_voting(
    kept_boxes: Tensor,
    kept_scores: Tensor,
    kept_groups: Tensor,
    all_boxes: Tensor,
    all_scores: Tensor,
    all_groups: Tensor,
    rule: VotingRule,
) -> tuple[Tensor, Tensor]:
    """(K, 4) kept and (N, 4) candidate boxes -> (K, 4) mean of each one's voters by their scores, (K,) new scores.

    The voters of a box are the candidates of its group with IoU >= the threshold. A box without voters, or whose
    voters' scores add up to 0, stays as it is.
    """
    new_boxes, new_scores = kept_boxes.clone(), kept_scores.clone()
    threshold = torch.tensor(rule.iou_threshold, dtype=kept_boxes.dtype, device=kept_boxes.device)
    for k in range(len(kept_boxes)):
        iou = box_iou(kept_boxes[k : k + 1], all_boxes, offset=rule.offset)[0]
        voters = (iou >= threshold) & (all_groups == kept_groups[k])
        weights = all_scores[voters]
        total = weights.sum()
        if total != 0 and len(weights):
            new_boxes[k] = (all_boxes[voters] * weights[:, None]).sum(dim=0) / total
            new_scores[k] = _score(kept_scores[k], weights, iou[voters], rule)
    return new_boxes, new_scores


def _score(own: Tensor, votes: Tensor, iou: Tensor, rule: VotingRule) -> Tensor:
    beta = rule.beta
    match rule.scoring:
        case "id":
            return own
        case "avg":
            return votes.mean()
        case "iou_avg":
            return (votes * iou).sum() / iou.sum()
        case "generalized_avg":
            return votes.pow(beta).mean().pow(1.0 / beta)
        case "quasi_sum":
            return votes.sum() / math.pow(len(votes), beta)
    assert rule.scoring == "temp_avg", rule.scoring
    # Smoothed with the temperature beta, as the chance of the class against the chance of any other.
    is_it, is_not = votes, 1 - votes
    largest = torch.maximum(is_it, is_not)
    is_it, is_not = (torch.exp(torch.log(p / largest) / beta) for p in (is_it, is_not))
    return (is_it / (is_it + is_not)).mean()
