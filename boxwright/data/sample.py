"""A picture and what is known of it, changed together. All coordinates are in the frame of the sample's image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from boxwright.data.image import RgbImage
from boxwright.geometry.boxes import clip_boxes, non_empty_boxes, shift_boxes
from boxwright.geometry.keypoints import drop_outside_keypoints, shift_keypoints
from boxwright.geometry.masks import crop_masks, mask_boxes, place_masks
from boxwright.types import Masks, Size, Target

FILL = (124, 116, 104)  # the mean of ImageNet: after normalising it is close to the zeros that batches are padded with
MIN_SIDE = 1e-5  # boxes below this many pixels are gone, as in Detectron2


@dataclass(frozen=True)
class Sample:
    """A picture and its target, in one frame; steps make new ones and leave it as it is."""

    image: RgbImage  # (H, W, 3) uint8
    target: Target

    @property
    def size(self) -> Size:
        """(height, width) of the image."""
        return self.image.shape[0], self.image.shape[1]


Step = Callable[[Sample, Generator], Sample]


def has_mask(target: Target) -> Tensor:
    """(N,) bool: which objects have one at all."""
    segments = [[]] * len(target) if target.masks is None else target.masks.segments
    return torch.tensor([bool(segment) for segment in segments], dtype=torch.bool)


def settle_target(target: Target, *, had_mask: Tensor | None = None, min_side: float = MIN_SIDE) -> Target:
    """After a change: boxes clipped to the image, objects without extent dropped, keypoints outside unlabelled.

    `had_mask` names the objects whose box is drawn anew around the mask, a part of which may have been cut off; where
    nothing is left of it the object is dropped.
    """
    boxes = clip_boxes(target.boxes, target.size)
    if had_mask is not None and target.masks is not None:
        tight = clip_boxes(torch.from_numpy(mask_boxes(target.masks)), target.size)
        boxes = torch.where(had_mask[:, None], tight, boxes)
    keypoints = None if target.keypoints is None else drop_outside_keypoints(target.keypoints, target.size)
    settled = replace(target, boxes=boxes, keypoints=keypoints)
    keep = non_empty_boxes(boxes, min_side=min_side)
    return settled if bool(keep.all()) else settled[keep]


def crop_target(target: Target, window: tuple[int, int, int, int], *, min_side: float = MIN_SIDE) -> Target:
    """What lies inside the window x1, y1, x2, y2, in its frame."""
    x1, y1, x2, y2 = window
    moved = replace(
        target,
        boxes=shift_boxes(target.boxes, x=-x1, y=-y1),
        masks=None if target.masks is None else crop_masks(target.masks, window),
        keypoints=None if target.keypoints is None else shift_keypoints(target.keypoints, x=-x1, y=-y1),
        size=(y2 - y1, x2 - x1),
    )
    return settle_target(moved, had_mask=has_mask(target), min_side=min_side)


def crop_sample(sample: Sample, window: tuple[int, int, int, int]) -> Sample:
    """What lies inside the integer window x1, y1, x2, y2, which is inside the image; the pixels are a copy."""
    x1, y1, x2, y2 = window
    return Sample(np.ascontiguousarray(sample.image[y1:y2, x1:x2]), crop_target(sample.target, window))


def place_target(target: Target, size: Size, *, x: int, y: int) -> Target:
    """Moved onto a canvas of `size`."""
    moved = replace(
        target,
        boxes=shift_boxes(target.boxes, x=x, y=y),
        masks=None if target.masks is None else place_masks(target.masks, size, x=x, y=y),
        keypoints=None if target.keypoints is None else shift_keypoints(target.keypoints, x=x, y=y),
        size=size,
    )
    return settle_target(moved)


def join_targets(targets: Sequence[Target]) -> Target:
    """Objects of several targets in the same frame as one; the first gives the id."""
    first = targets[0]
    masks = [target.masks for target in targets if target.masks is not None]
    points = [target.keypoints for target in targets if target.keypoints is not None]
    crowds = [target.is_crowd for target in targets if target.is_crowd is not None]
    return replace(
        first,
        boxes=torch.cat([target.boxes for target in targets]),
        labels=torch.cat([target.labels for target in targets]),
        is_crowd=torch.cat(crowds),
        masks=Masks([segment for part in masks for segment in part.segments], first.size) if masks else None,
        keypoints=torch.cat(points) if points else None,
    )
