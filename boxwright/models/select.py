"""From scores and boxes of every region and class to the few detections of each image."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from boxwright import ops
from boxwright.ops.suppression import Scoring

# Boxes above the threshold of one image that are looked at where counting them would make the host wait for a GPU: a
# trained detector of 80 classes has some hundreds at 0.05.
CANDIDATES = 4096


@dataclass(frozen=True)
class Candidates:
    """Up to C boxes of each of B images that compete, in the frame in which they are suppressed."""

    boxes: Tensor  # (B, C, 4); zeros where not valid
    scores: Tensor  # (B, C)
    labels: Tensor  # (B, C) int64
    source: Tensor  # (B, C) int64: the region or anchor of the image that each came from
    is_valid: Tensor  # (B, C) bool; the rest is padding
    is_complete: Tensor  # () bool: that none was left out for want of room

    def at(self, index: Tensor) -> "Candidates":
        """(B, D) places in each image -> those."""
        is_valid = self.is_valid.gather(1, index)
        boxes = self.boxes.gather(1, index[..., None].expand(-1, -1, 4)).masked_fill(~is_valid[..., None], 0)
        scores, labels, source = (part.gather(1, index) for part in (self.scores, self.labels, self.source))
        return Candidates(boxes, scores, labels, source, is_valid, self.is_complete)


def gather_candidates(boxes: Tensor, scores: Tensor, is_likely: Tensor, *, limit: int | None) -> Candidates:
    """(B, P, K or 1, 4) boxes and (B, P, K) scores of P regions and K classes, (B, P, K) bool -> those that are likely.

    They stay in the order of regions and classes. Of an image with more than `limit` the best so many; None: as many as
    there are, which has to be counted first.
    """
    likely, num_classes = is_likely.flatten(1), scores.shape[2]
    most = likely.sum(dim=1).amax()
    room = min(int(most) if limit is None else limit, likely.shape[1])
    best, place = scores.flatten(1).masked_fill(~likely, -torch.inf).topk(room, dim=1)
    place, order = place.sort(dim=1)
    best = best.gather(1, order)
    region, label = place // num_classes, place % num_classes
    column = label if boxes.shape[2] > 1 else torch.zeros_like(label)
    image = torch.arange(len(boxes), device=boxes.device)[:, None]
    is_valid = best > -torch.inf
    found = boxes[image, region, column].masked_fill(~is_valid[..., None], 0)
    return Candidates(found, best, label, region, is_valid, most <= room)


@dataclass(frozen=True, kw_only=True)
class DetectionSelector:
    """Which boxes are likely, NMS per class (or across classes) for all images at once, then the best of each image.

    `nms` "linear" and "gaussian" lower scores instead of dropping boxes; below `soft_min_score` they are dropped.
    `voting_iou` then makes of each kept box the mean of the boxes of its class around it. `offset` 1: the far corner
    of a box is its last pixel.
    """

    score_threshold: float
    min_size: float
    nms: Literal["hard", "linear", "gaussian"]
    nms_iou: float
    sigma: float
    soft_min_score: float
    class_agnostic: bool
    inclusive: bool
    offset: float
    voting_iou: float | None
    voting_scoring: Scoring
    max_detections: int
    num_classes: int

    def is_likely(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """(..., K or 1, 4), (..., K) -> (..., K) bool: boxes with a score above the threshold that are no noise."""
        is_good = boxes.isfinite().all(dim=-1)
        if self.min_size > 0:
            is_good &= (boxes[..., 2:] - boxes[..., :2] + self.offset >= self.min_size).all(dim=-1)
        return (scores > self.score_threshold) & is_good

    def __call__(self, candidates: Candidates, *, counts: bool) -> Candidates:
        """-> (B, D): the detections, best first. `counts`: no more rows than the fullest image has, else as many as
        there may be."""
        num_images, count = candidates.scores.shape
        device = candidates.scores.device
        groups = torch.arange(num_images, device=device)[:, None].expand(num_images, count)
        if not self.class_agnostic:
            groups = groups * self.num_classes + candidates.labels
        # Padding is alone, each box of it: a large group would be walked through for nothing.
        alone = -1 - torch.arange(num_images * count, device=device).view(num_images, count)
        groups = torch.where(candidates.is_valid, groups, alone)
        keep, scores = self._suppress(candidates, groups.flatten())
        keep = keep.view_as(groups) & candidates.is_valid
        kept = replace(candidates, scores=scores.view_as(groups).masked_fill(~keep, -torch.inf), is_valid=keep)
        room = int(keep.sum(dim=1).amax()) if counts else count
        if self.voting_iou is not None:
            index = _best_first(kept, room)
            kept = self._vote(kept.at(index), torch.where(keep, groups, alone).gather(1, index), candidates, groups)
        return kept.at(_best_first(kept, min(room, self.max_detections)))

    def _suppress(self, candidates: Candidates, groups: Tensor) -> tuple[Tensor, Tensor]:
        """-> (B * C,) bool: what stays, and its scores."""
        boxes, scores = candidates.boxes.flatten(0, 1), candidates.scores.flatten()
        if self.nms == "hard":
            rule = {"iou_threshold": self.nms_iou, "offset": self.offset, "inclusive": self.inclusive}
            return ops.nms_keep(boxes, scores, groups, **rule), scores  # type: ignore[arg-type]
        return ops.soft_nms_keep(
            boxes,
            scores,
            groups,
            method=self.nms,
            sigma=self.sigma,
            iou_threshold=self.nms_iou,
            min_score=self.soft_min_score,
            offset=self.offset,
        )

    def _vote(self, kept: Candidates, groups: Tensor, voters: Candidates, voter_groups: Tensor) -> Candidates:
        assert self.voting_iou is not None
        boxes, scores = ops.box_voting(
            kept.boxes.flatten(0, 1),
            kept.scores.flatten(),
            voters.boxes.flatten(0, 1),
            voters.scores.flatten(),
            kept_groups=groups.flatten(),
            all_groups=voter_groups.flatten(),
            iou_threshold=self.voting_iou,
            scoring=self.voting_scoring,
            offset=self.offset,
        )
        scores = scores.view_as(kept.scores).masked_fill(~kept.is_valid, -torch.inf)
        return replace(kept, boxes=boxes.view_as(kept.boxes), scores=scores)


def _best_first(candidates: Candidates, most: int) -> Tensor:
    """-> (B, most) places; of equal scores the earlier comes first."""
    return candidates.scores.sort(dim=1, descending=True, stable=True).indices[:, :most]
