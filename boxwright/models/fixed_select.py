"""The choice of detections in tensors of fixed shapes, so that a GPU need not wait for the host to count.

It equals `RCNN._detect` with `DetectionSelector`, for hard suppression without voting. A batch in which an image has
more than `CANDIDATES` boxes above the threshold says so, and has to be done the other way.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from boxwright.models.cascade import BoxResult
from boxwright.models.select import Candidates, DetectionSelector

# Boxes above the threshold of one image: a trained detector of 80 classes has some hundreds at 0.05.
CANDIDATES = 4096


@dataclass(frozen=True)
class FixedChoice:
    """D rows for each of B images, best first; those behind the last real one are padding of zeros."""

    rows: Candidates  # (B * D), image by image
    is_real: Tensor  # (B, D) bool
    is_complete: Tensor  # () bool

    @property
    def summary(self) -> Tensor:
        """(B + 1,) int64: the detections of each image, and whether the choice is complete."""
        return torch.cat((self.is_real.sum(dim=1), self.is_complete[None]))


def choose_fixed(
    result: BoxResult, is_likely: Tensor, select: DetectionSelector, *, num_images: int, num_classes: int
) -> FixedChoice:
    """What the heads say of B * P regions, image by image, and which (B * P, K) boxes may be chosen."""
    scores, index = _best_of_images(result.probabilities.masked_fill(~is_likely, -torch.inf), num_images)
    count, in_image = scores.shape[1], len(result.probabilities) // num_images * num_classes
    image = torch.arange(num_images, device=scores.device).repeat_interleave(count)
    place = image * in_image + index.flatten()
    region, label = place // num_classes, place % num_classes
    boxes = result.boxes[region, label if result.boxes.shape[1] > 1 else torch.zeros_like(label)]
    candidates = Candidates(boxes, scores.flatten(), label, image, region)
    chosen, is_real = _suppress(candidates, select, num_images, num_classes)
    is_complete = is_likely.view(num_images, -1).sum(dim=1).amax() <= count
    return FixedChoice(chosen, is_real, is_complete)


def _best_of_images(scores: Tensor, num_images: int) -> tuple[Tensor, Tensor]:
    """(B * P, K) scores -> (B, C) the best of each image and their places in it, in the order of these."""
    scores = scores.view(num_images, -1)
    best, index = scores.topk(min(CANDIDATES, scores.shape[1]), dim=1)
    index, order = index.sort(dim=1)
    return best.gather(1, order), index


def _suppress(
    candidates: Candidates, select: DetectionSelector, num_images: int, num_classes: int
) -> tuple[Candidates, Tensor]:
    is_valid = candidates.scores > -torch.inf
    groups = candidates.image if select.class_agnostic else candidates.image * num_classes + candidates.labels
    # Each of the others is alone: a large group of them would be walked through for nothing.
    alone = -1 - torch.arange(len(groups), device=groups.device)
    keep = is_valid & select.keeps(candidates, torch.where(is_valid, groups, alone))
    scores = candidates.scores.masked_fill(~keep, -torch.inf).view(num_images, -1)
    best, order = scores.sort(dim=1, descending=True, stable=True)
    best, order = best[:, : select.max_detections], order[:, : select.max_detections]
    first = torch.arange(num_images, device=order.device)[:, None] * scores.shape[1]
    rows, is_real = candidates[(order + first).flatten()], best > -torch.inf
    boxes = rows.boxes.masked_fill(~is_real.flatten()[:, None], 0)
    return Candidates(boxes, best.flatten(), rows.labels, rows.image, rows.source), is_real
