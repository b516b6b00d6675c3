"""Greedy non-maximum suppression in plain torch: the definition the other backends must match."""

import torch
from torch import Tensor

from boxwright.ops.reference.iou import box_iou
from boxwright.ops.rules import SuppressionRule


def nms_keep(boxes: Tensor, scores: Tensor, groups: Tensor, rule: SuppressionRule) -> Tensor:
    """(N, 4) boxes, (N,) scores, (N,) int64 groups -> (N,) bool: which boxes stay, in the order of the input.

    From the highest score down (the earlier index first where scores are equal, NaN before all numbers), a box that
    stays removes the later ones of its group whose IoU with it is above the threshold (or equal, if inclusive).
    The threshold is rounded to the type of the boxes. A box with a NaN coordinate overlaps nothing.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    keep = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for group in set(groups.tolist()):
        members = order[groups[order] == group]
        keep[members[_greedy(boxes[members], rule)]] = True
    return keep


def _greedy(boxes: Tensor, rule: SuppressionRule) -> Tensor:
    """Boxes of one group by descending score -> (N,) bool, a row of IoU at a time."""
    stays = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    threshold = torch.tensor(rule.iou_threshold, dtype=boxes.dtype, device=boxes.device)
    for i in range(len(boxes) - 1):
        if stays[i]:
            iou = box_iou(boxes[i : i + 1], boxes[i + 1 :], offset=rule.offset)[0]
            stays[i + 1 :] &= ~(iou >= threshold if rule.inclusive else iou > threshold)
    return stays
