"""Which object each anchor of a batch belongs to, and which anchors take no part."""

from dataclasses import dataclass

import torch
from torch import Tensor

from boxwright.models.anchors import Anchors
from boxwright.models.dense import DensePredictions
from boxwright.models.frames import Frames
from boxwright.models.matching import IGNORED, Matcher, covered_share
from boxwright.models.objects import Objects


@dataclass(frozen=True)
class Assigned:
    """Of B images and N anchors."""

    label: Tensor  # (B, N) int8: POSITIVE, NEGATIVE or IGNORED
    owner: Tensor  # (B, N) int64 among the objects that are not crowds; any of them where not positive
    is_below: Tensor  # (B, N) bool: negative by its IoU alone, even where an object claims it
    objects: Objects  # those that are not crowds


@dataclass(frozen=True, kw_only=True)
class AnchorAssigner:
    """Habits as in `Conventions` (`anchor_area`, `outside_anchors`) and `Matching` (`inside_border`, `crowd_share`)."""

    matcher: Matcher
    inside_border: float | None
    only_inside_padding: bool
    outside_absent: bool
    crowd_share: float | None

    @torch.no_grad()
    def __call__(self, dense: DensePredictions, objects: Objects, frames: Frames, anchors: Anchors) -> Assigned:
        boxes = dense.all_anchors
        learning = objects.without_crowds()
        crowds = None if self.crowd_share is None else objects.crowds()
        inside = self._inside(boxes, dense, frames, anchors)
        labels, owners, below = [], [], []
        for i, takes_part in enumerate(inside):
            of_image = learning.of_image(i)
            matches = self.matcher(learning.boxes[of_image], boxes, takes_part if self.outside_absent else None)
            label = torch.where(takes_part, matches.label, IGNORED)
            if self.crowd_share is not None and crowds is not None:
                share = covered_share(boxes, crowds.boxes[crowds.of_image(i)], offset=self.matcher.offset)
                label = torch.where(share > self.crowd_share, IGNORED, label)
            labels.append(label)
            owners.append(matches.index + (of_image.start if learning.counts[i] else 0))
            below.append(self.matcher.is_below(matches) & takes_part)
        return Assigned(torch.stack(labels), torch.stack(owners), torch.stack(below), learning)

    def _inside(self, boxes: Tensor, dense: DensePredictions, frames: Frames, anchors: Anchors) -> Tensor:
        """(B, N) bool."""
        inside = torch.ones(len(frames), len(boxes), dtype=torch.bool, device=boxes.device)
        if self.only_inside_padding:
            inside &= anchors.inside_padding(dense.map_sizes, frames.padded)
        if self.inside_border is not None:
            limits = frames.network.flip(1)[:, None] + self.inside_border
            inside &= (boxes[:, :2] >= -self.inside_border).all(dim=1)
            inside &= (boxes[:, 2:] < limits).all(dim=2)
        return inside
