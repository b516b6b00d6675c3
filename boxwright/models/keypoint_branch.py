"""The keypoint head's work: from boxes to heatmaps, from regions to its loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boxwright.errors import DatasetError
from boxwright.models.cascade import BoxLosses
from boxwright.models.frames import Frames
from boxwright.models.keypoint_head import keypoint_targets, visible_inside
from boxwright.models.losses import at_least_one, no_loss
from boxwright.models.matching import POSITIVE
from boxwright.models.objects import Objects
from boxwright.models.pooler import RegionPooler
from boxwright.models.regions import Regions
from boxwright.models.sampling import KEYPOINT_STREAM, Draw, lowest

NO_CELL = -1


@dataclass(frozen=True, kw_only=True)
class KeypointBranch:
    """How the keypoint head of the model is used.

    `full_sample`: the most positive regions an image may give. `samples_anew`: they are drawn from all that match an
    object, not taken from the box head's sample."""

    pooler: RegionPooler
    num_classes: int
    loss_weight: float
    loss_average: Literal["visible", "sampled"]
    min_visible: int
    full_sample: float
    samples_anew: bool

    def predict(self, head: nn.Module, features: Mapping[str, Tensor], boxes: Tensor, image: Tensor) -> Tensor:
        """(D, 4) boxes in the network frame, (D,) image -> (D, K, S, S) logits."""
        heatmaps: Tensor = head(self.pooler(features, boxes, image))
        return heatmaps.float()

    def losses(
        self,
        head: nn.Module,
        features: Mapping[str, Tensor],
        boxes: BoxLosses,
        objects: Objects,
        frames: Frames,
        draw: Draw,
    ) -> dict[str, Tensor]:
        """-> loss_keypoint: cross-entropy over the cells of each visible keypoint's map."""
        regions = self._regions(boxes, objects, draw)
        if not len(regions.boxes):
            self._count(regions.labels.new_zeros(0, 0), len(frames))  # the other ranks wait for it
            return {"loss_keypoint": no_loss(head).to(regions.boxes.device)}
        keypoints = _keypoints(objects)[regions.owner]
        heatmaps = self.predict(head, features, regions.boxes, regions.image)
        cells, is_valid = keypoint_targets(keypoints, regions.boxes, size=heatmaps.shape[-1])
        is_valid &= regions.is_real[:, None]
        wanted = torch.where(is_valid, cells, NO_CELL).flatten()
        loss = F.cross_entropy(heatmaps.flatten(2).flatten(0, 1), wanted, ignore_index=NO_CELL, reduction="sum")
        return {"loss_keypoint": self.loss_weight * loss / self._count(is_valid, len(frames))}

    def _count(self, is_valid: Tensor, num_images: int) -> Tensor | float:
        if self.loss_average == "visible":
            return at_least_one(is_valid.sum())
        return num_images * self.full_sample * is_valid.shape[1]

    def _regions(self, boxes: BoxLosses, objects: Objects, draw: Draw) -> Regions:
        """Positive regions with enough visible keypoints inside."""
        if self.samples_anew:
            return self._drawn_anew(boxes, objects, draw)
        positive, _ = boxes.regions[0].positives(draw, self.num_classes)
        if not len(positive.boxes):
            return positive
        seen = visible_inside(_keypoints(objects)[positive.owner], positive.boxes)
        return positive.where(positive.is_real & (seen >= self.min_visible), draw)[0]

    def _drawn_anew(self, boxes: BoxLosses, objects: Objects, draw: Draw) -> Regions:
        labelled = boxes.labelled
        candidates = labelled.label == POSITIVE
        if len(objects):
            seen = visible_inside(_keypoints(objects)[labelled.owner], labelled.boxes)
            candidates = candidates & (seen >= self.min_visible)
        num_images, count = candidates.shape
        most = min(round(self.full_sample), count)
        keys = draw.keys((num_images, count), candidates.device, stream=KEYPOINT_STREAM, numbers=labelled.origin)
        rows = draw.rows(lowest(candidates, keys, most), most=most)
        drawn = labelled.regions(rows, objects, self.num_classes, most_positives=most)
        return drawn.positives(draw, self.num_classes)[0]


def _keypoints(objects: Objects) -> Tensor:
    if objects.keypoints is None:
        raise DatasetError(
            "the model trains a keypoint head, but targets have no keypoints; annotate them or drop keypoint_head"
        )
    return objects.keypoints
