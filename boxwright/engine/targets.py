"""Targets from the frame of the original image to the network's, as the weights' source does it."""

from dataclasses import replace

from boxwright.config import parts
from boxwright.config.conventions import Conventions
from boxwright.data.network_input import Prepared
from boxwright.data.transforms.geometry import scale_target
from boxwright.geometry.masks import to_run_lengths
from boxwright.types import Target

RASTERISED_FIRST = ("bitmaps", "soft_bitmaps")  # these conventions draw polygons in the original image, then resize


def to_network_frame(target: Target, prepared: Prepared, *, resize: parts.Resize, conventions: Conventions) -> Target:
    """The same objects in the frame of the resized image."""
    if target.masks is not None and conventions.mask_targets in RASTERISED_FIRST:
        target = replace(target, masks=to_run_lengths(target.masks))
    return scale_target(target, prepared.size, scale=prepared.scale, method=resize.method)
