"""Soft non-maximum suppression in plain torch: the definition the other backends must match."""

import torch
from torch import Tensor

from boxwright.ops.rules import DecayRule


def soft_nms(boxes: Tensor, scores: Tensor, groups: Tensor, rule: DecayRule) -> tuple[Tensor, Tensor]:
    """(N, 4) boxes, (N,) scores, (N,) int64 groups -> (N,) decayed scores and (N,) bool kept, in input order.

    In each group the highest score is taken out (the earlier index where equal) and lowers the scores of the boxes it
    touches: times 1 - IoU where the IoU is above the threshold ("linear"), or times exp(-IoU^2 / sigma)
    ("gaussian"). A box touched so, even by a factor of 1, whose score is then below the rule's `min_score` is dropped.
    One that nothing touches stays, however low its score.
    """
    new_scores = scores.clone()
    keep = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for group in set(groups.tolist()):
        waiting = (groups == group).nonzero()[:, 0]
        while len(waiting):
            best = int(torch.sort(new_scores[waiting], descending=True, stable=True).indices[0])
            top, waiting = waiting[best], torch.cat((waiting[:best], waiting[best + 1 :]))
            touched, iou = _touch(boxes[top], boxes[waiting], rule.offset)
            weight = (
                torch.where(iou > rule.iou_threshold, 1 - iou, 1.0)
                if rule.method == "linear"
                else torch.exp(-(iou * iou) / rule.sigma)
            )
            new_scores[waiting] = torch.where(touched, weight * new_scores[waiting], new_scores[waiting])
            is_low = touched & (new_scores[waiting] < rule.min_score)
            keep[waiting[is_low]] = False
            waiting = waiting[~is_low]
    return new_scores, keep


def _touch(box: Tensor, others: Tensor, offset: float) -> tuple[Tensor, Tensor]:
    """Which of the others share some area with the box, and their IoU with it."""
    size = torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2]) + offset
    inter = size[:, 0] * size[:, 1]
    area = (box[2] - box[0] + offset) * (box[3] - box[1] + offset)
    areas = (others[:, 2] - others[:, 0] + offset) * (others[:, 3] - others[:, 1] + offset)
    return (size > 0).all(dim=1), inter / (area + areas - inter)
