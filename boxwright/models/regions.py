"""Which regions train the second stage, and what each should become."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from boxwright.models.frames import Frames
from boxwright.models.matching import IGNORED, POSITIVE, Matcher, covered_share
from boxwright.models.objects import Objects
from boxwright.models.proposals import Proposals
from boxwright.models.sampling import Draw, Rows
from boxwright.transfer import send


@dataclass(frozen=True)
class Regions:
    """R regions of a batch, image by image, each with the object it belongs to."""

    boxes: Tensor  # (R, 4) in the network frame
    image: Tensor  # (R,) int64
    labels: Tensor  # (R,) int64, K for background
    owner: Tensor  # (R,) int64 among the objects; means nothing for background
    is_object: Tensor  # (R,) bool: the region is a ground-truth box itself
    is_real: Tensor  # (R,) bool; the others are padding, and background
    most_positive: int  # how many may have an object

    def positives(self, draw: Draw, num_classes: int) -> tuple["Regions", Tensor]:
        """-> those that have an object, and the (P,) place of each."""
        return self.where(self.labels < num_classes, draw)

    def where(self, chosen: Tensor, draw: Draw) -> tuple["Regions", Tensor]:
        """(R,) bool, set for regions that have an object -> these, and the (P,) place of each; padding has class 0."""
        rows = draw.rows(chosen[None], most=self.most_positive)
        place, is_real = rows.place, rows.is_real
        labels = self.labels[place].masked_fill(~is_real, 0)
        boxes = _unit_boxes_at_padding(self.boxes[place], is_real)
        rest = (self.owner[place], self.is_object[place], is_real, self.most_positive)
        return Regions(boxes, self.image[place], labels, *rest), place


@dataclass(frozen=True)
class Labelled:
    """Up to P regions of each of B images before any are drawn."""

    boxes: Tensor  # (B, P, 4) in the network frame
    owner: Tensor  # (B, P) int64 among the objects
    label: Tensor  # (B, P) int8: POSITIVE, NEGATIVE, or IGNORED (padding too)
    is_object: Tensor  # (B, P) bool
    origin: Tensor  # (B, P) int64: a number that a region keeps when others swap places

    def regions(self, rows: Rows, objects: Objects, num_classes: int, *, most_positives: int) -> Regions:
        """Those regions, with classes; no more than `most_positives` of an image have an object."""
        at = (rows.image, rows.place)
        owner = self.owner[at]
        labels = torch.full_like(owner, num_classes)
        if len(objects):
            has_object = rows.is_real & (self.label[at] == POSITIVE)
            labels = torch.where(has_object, objects.labels[owner], labels)
        boxes = _unit_boxes_at_padding(self.boxes[at], rows.is_real)
        most = min(len(self.label) * most_positives, len(labels)) if len(objects) else 0
        return Regions(boxes, rows.image, labels, owner, self.is_object[at], rows.is_real, most)


@dataclass(frozen=True, kw_only=True)
class RegionLabeller:
    """Ground truth joins the proposals, and each region gets its object; habits as in `Conventions`."""

    ground_truth: Literal["first", "last", "none"]
    crowds_claim: bool
    crowd_share: float | None
    in_original: bool
    offset: float

    def alone(self) -> "RegionLabeller":
        """The same without ground truth joining."""
        return replace(self, ground_truth="none")

    @torch.no_grad()
    def __call__(self, proposals: Proposals, objects: Objects, frames: Frames, matcher: Matcher) -> Labelled:
        boxes, is_valid, own, origin = self._with_ground_truth(proposals, objects)
        matched = objects if self.crowds_claim else objects.without_crowds()
        kept = torch.arange(len(objects))
        kept = send(kept if self.crowds_claim else kept[~objects.is_crowd], boxes.device)
        crowds = None if self.crowd_share is None else objects.crowds()
        labels, owners = [], []
        for i in range(len(frames)):
            regions, targets = self._in_frame(boxes[i], matched.boxes[matched.of_image(i)], i, frames)
            matches = matcher(targets, regions)
            label = torch.where(is_valid[i], matches.label, IGNORED)
            if self.crowd_share is not None and crowds is not None:
                _, crowd_boxes = self._in_frame(boxes[i], crowds.boxes[crowds.of_image(i)], i, frames)
                share = covered_share(regions, crowd_boxes, offset=self.offset)
                label = torch.where((share > self.crowd_share) & (own[i] < 0), IGNORED, label)
            labels.append(label)
            owners.append(_global_index(matches.index, kept[matched.of_image(i)]))
        label, owner = torch.stack(labels), torch.stack(owners)
        if self.ground_truth == "first":  # an object's own box is its own, even where two objects share a box
            label, owner = torch.where(own >= 0, POSITIVE, label), torch.where(own >= 0, own, owner)
        return Labelled(boxes, owner, label, own >= 0, origin)

    def _with_ground_truth(self, proposals: Proposals, objects: Objects) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """-> (B, P, 4) boxes, (B, P) bool which are real, (B, P) object of each ground-truth box, else -1, (B, P)
        origin."""
        none = torch.full_like(proposals.is_valid, -1, dtype=torch.int64)
        own_places = torch.arange(none.shape[1], device=none.device).expand_as(none)
        origin = own_places if proposals.origin is None else proposals.origin
        if self.ground_truth == "none":
            return proposals.boxes, proposals.is_valid, none, origin
        boxes, index, is_real = objects.padded()
        own = torch.where(is_real, index, -1)
        below_zero = -1 - torch.arange(own.shape[1], device=own.device).expand_as(own)
        parts = [(proposals.boxes, proposals.is_valid, none, origin), (boxes, is_real, own, below_zero)]
        if self.ground_truth == "first":
            parts.reverse()
        joined = [torch.cat(part, dim=1) for part in zip(*parts, strict=True)]
        return joined[0], joined[1], joined[2], joined[3]

    def _in_frame(self, regions: Tensor, targets: Tensor, image: int, frames: Frames) -> tuple[Tensor, Tensor]:
        if not self.in_original:
            return regions, targets
        return tuple(frames.to_original(b, torch.full((len(b),), image, device=b.device)) for b in (regions, targets))  # type: ignore[return-value]


def _unit_boxes_at_padding(boxes: Tensor, is_real: Tensor) -> Tensor:
    """(R, 4) boxes, (R,) bool -> the same with (0, 0, 1, 1) at the others, of which no step makes infinity."""
    is_padding = ~is_real[:, None]
    return torch.cat((boxes[:, :2].masked_fill(is_padding, 0), boxes[:, 2:].masked_fill(is_padding, 1)), dim=1)


def _global_index(index: Tensor, kept: Tensor) -> Tensor:
    return kept[index] if len(kept) else index
