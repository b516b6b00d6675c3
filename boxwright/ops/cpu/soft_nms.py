"""Soft non-maximum suppression on the CPU."""

import numpy as np
import torch
from torch import Tensor

from boxwright.ops.cpu.iou import overlap_of
from boxwright.ops.cpu.kernel import exact_kernel
from boxwright.ops.cpu.nms import order_groups
from boxwright.ops.cpu.threads import run_chunks
from boxwright.ops.rules import DecayRule


def soft_nms(boxes: Tensor, scores: Tensor, groups: Tensor, rule: DecayRule) -> tuple[Tensor, Tensor]:
    """As `reference.soft_nms`."""
    new_scores, keep = scores.clone(), torch.ones(len(boxes), dtype=torch.bool)
    # Within a group by index, not by score: of equal scores the earlier index is then the first that is found.
    order, first = order_groups(np.zeros(len(scores), np.float32), groups.numpy())
    given = boxes.contiguous().numpy(), order, first
    numbers = rule.sigma, rule.iou_threshold, rule.min_score, rule.offset
    settings = rule.method == "linear", *map(given[0].dtype.type, numbers)
    targets = new_scores.numpy(), keep.numpy()
    run_chunks(lambda begin, end: _decay(*given, *settings, begin, end, *targets), len(first) - 1, 1)
    return new_scores, keep


@exact_kernel
def _decay(boxes, order, first, is_linear, sigma, threshold, min_score, offset, begin, end, scores, keep):
    """boxes (N, 4), order (N,) by group -> lowers scores (N,) and clears keep (N,), for the groups begin..end."""
    one = scores.dtype.type(1)
    for g in range(begin, end):
        waiting = order[first[g] : first[g + 1]].copy()
        num_waiting = len(waiting)
        while num_waiting > 0:
            best = 0
            for k in range(1, num_waiting):
                s, most = scores[waiting[k]], scores[waiting[best]]
                if s > most or (s != s and most == most):
                    best = k
            top = waiting[best]
            num_left = 0
            for k in range(num_waiting):
                i = waiting[k]
                if k == best:
                    continue
                inter, union = overlap_of(boxes, top, boxes, i, offset)
                if inter > 0:
                    iou = inter / union
                    weight = one
                    if not is_linear:
                        weight = np.exp(-(iou * iou) / sigma)
                    elif iou > threshold:
                        weight = one - iou
                    scores[i] *= weight
                    if scores[i] < min_score:
                        keep[i] = False
                        continue
                waiting[num_left] = i
                num_left += 1
            num_waiting = num_left
