"""Targets from the frame of the original image to the network's, as the weights' source does it."""

from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from boxwright.config.conventions import Conventions
from boxwright.config.parts import Resize
from boxwright.data.network_input import Prepared
from boxwright.geometry.boxes import scale_boxes
from boxwright.geometry.keypoints import scale_keypoints
from boxwright.geometry.masks import scale_masks, to_run_lengths
from boxwright.types import Size, Target

Bitmap = NDArray[np.bool_]

RASTERISED_FIRST = ("bitmaps", "soft_bitmaps")  # these conventions draw polygons in the original image, then resize


def to_network_frame(target: Target, prepared: Prepared, *, resize: Resize, conventions: Conventions) -> Target:
    """The same objects in the frame of the resized image."""
    masks = target.masks
    if masks is not None:
        masks = to_run_lengths(masks) if conventions.mask_targets in RASTERISED_FIRST else masks
        masks = scale_masks(
            masks, prepared.size, scale=prepared.scale, nearest=lambda bitmap, size: resize_bitmap(bitmap, size, resize)
        )
    return replace(
        target,
        boxes=scale_boxes(target.boxes, prepared.scale),
        size=prepared.size,
        masks=masks,
        keypoints=None if target.keypoints is None else scale_keypoints(target.keypoints, prepared.scale),
    )


def resize_bitmap(bitmap: Bitmap, size: Size, resize: Resize) -> Bitmap:
    """(H, W) bool -> `size` by the nearest pixel as each library rounds it."""
    levels = bitmap.view(np.uint8)
    match resize.method:
        case "pillow":
            picture = Image.fromarray(levels).resize((size[1], size[0]), Image.Resampling.NEAREST)
            return np.asarray(picture, dtype=bool)
        case "torch":
            pixels = torch.from_numpy(np.ascontiguousarray(levels))[None, None].float()
            return F.interpolate(pixels, size=size)[0, 0].numpy().astype(bool)
        case "opencv" | "opencv_scaled":
            resized: NDArray[np.uint8] = cv2.resize(levels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
            return resized.astype(bool)
