"""From scores and boxes of every region and class to the few detections of each image."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from boxwright import ops
from boxwright.ops.suppression import Scoring
from boxwright.types import RawDetections


@dataclass(frozen=True)
class Candidates:
    """N boxes that compete, all in the frame in which they are suppressed."""

    boxes: Tensor  # (N, 4)
    scores: Tensor  # (N,)
    labels: Tensor  # (N,) int64
    image: Tensor  # (N,) int64
    source: Tensor  # (N,) int64: the region or anchor each came from

    def __getitem__(self, index: Tensor) -> "Candidates":
        return Candidates(
            self.boxes[index], self.scores[index], self.labels[index], self.image[index], self.source[index]
        )


@dataclass(frozen=True, kw_only=True)
class DetectionSelector:
    """NMS per class (or across classes) for all images at once, then the best of each image, best first.

    `nms` "linear" and "gaussian" lower scores instead of dropping boxes; below `soft_min_score` they are dropped.
    `voting_iou` then makes of each kept box the mean of the boxes of its class around it.
    """

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

    def __call__(self, candidates: Candidates, *, num_classes: int) -> Candidates:
        groups = candidates.image
        if not self.class_agnostic:
            groups = groups * num_classes + candidates.labels
        kept, scores = self._suppress(candidates, groups)
        chosen = candidates[kept]
        boxes = chosen.boxes
        if self.voting_iou is not None:
            boxes, scores = self._vote(boxes, scores, groups[kept], candidates, groups)
        chosen = Candidates(boxes, scores, chosen.labels, chosen.image, chosen.source)
        return chosen[best_of_each_image(scores, chosen.image, self.max_detections)]

    @property
    def has_fixed_size(self) -> bool:
        """Whether boxes are only kept or dropped, so that `keeps` says it all."""
        return self.nms == "hard" and self.voting_iou is None

    def keeps(self, candidates: Candidates, groups: Tensor) -> Tensor:
        """-> (N,) bool: which candidates hard suppression leaves in their groups."""
        return ops.nms_keep(candidates.boxes, candidates.scores, groups, **self._rule)

    @property
    def _rule(self) -> dict[str, Any]:
        """Of hard suppression."""
        return {"iou_threshold": self.nms_iou, "offset": self.offset, "inclusive": self.inclusive}

    def _suppress(self, candidates: Candidates, groups: Tensor) -> tuple[Tensor, Tensor]:
        """-> (K,) indices of what stays, and its scores."""
        boxes, scores = candidates.boxes, candidates.scores
        if self.nms == "hard":
            kept = ops.nms(boxes, scores, groups, **self._rule)
            return kept, scores[kept]
        return ops.soft_nms(
            boxes,
            scores,
            groups,
            method=self.nms,
            sigma=self.sigma,
            iou_threshold=self.nms_iou,
            min_score=self.soft_min_score,
            offset=self.offset,
        )

    def _vote(
        self, boxes: Tensor, scores: Tensor, groups: Tensor, voters: Candidates, voter_groups: Tensor
    ) -> tuple[Tensor, Tensor]:
        assert self.voting_iou is not None
        return ops.box_voting(
            boxes,
            scores,
            voters.boxes,
            voters.scores,
            kept_groups=groups,
            all_groups=voter_groups,
            iou_threshold=self.voting_iou,
            scoring=self.voting_scoring,
            offset=self.offset,
        )


def best_of_each_image(scores: Tensor, image: Tensor, limit: int) -> Tensor:
    """(N,) scores and image -> indices of the `limit` best of each image, image by image, best first."""
    order = scores.argsort(descending=True, stable=True)
    order = order[image[order].argsort(stable=True)]
    sorted_image = image[order]
    first = torch.searchsorted(sorted_image, sorted_image)
    place = torch.arange(len(order), device=order.device) - first
    return order[place < limit]


def per_image(image: Tensor, num_images: int, *fields: Tensor | None) -> list[RawDetections]:
    """(D,) image of each detection, ascending, and the fields of RawDetections for all -> one for each image."""
    counts = torch.bincount(image, minlength=num_images).tolist()
    parts = [[None] * num_images if field is None else torch.split(field, counts) for field in fields]
    return [RawDetections(*of_image) for of_image in zip(*parts, strict=True)]
