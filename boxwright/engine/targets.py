"""Targets from the frame of the original image to the network's, as the weights' source does it."""

from dataclasses import replace
from functools import partial

from boxwright.config.conventions import Conventions
from boxwright.config.parts import Resize
from boxwright.data.network_input import Prepared
from boxwright.data.resize import resize_rle
from boxwright.geometry.boxes import scale_boxes
from boxwright.geometry.keypoints import scale_keypoints
from boxwright.geometry.masks import scale_masks, to_run_lengths
from boxwright.types import Target

RASTERISED_FIRST = ("bitmaps", "soft_bitmaps")  # these conventions draw polygons in the original image, then resize


def to_network_frame(target: Target, prepared: Prepared, *, resize: Resize, conventions: Conventions) -> Target:
    """The same objects in the frame of the resized image."""
    masks = target.masks
    if masks is not None:
        masks = to_run_lengths(masks) if conventions.mask_targets in RASTERISED_FIRST else masks
        nearest = partial(resize_rle, method=resize.method)
        masks = scale_masks(masks, prepared.size, scale=prepared.scale, nearest=nearest)
    return replace(
        target,
        boxes=scale_boxes(target.boxes, prepared.scale),
        size=prepared.size,
        masks=masks,
        keypoints=None if target.keypoints is None else scale_keypoints(target.keypoints, prepared.scale),
    )
