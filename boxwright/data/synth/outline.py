"""Exact segmentations: what is written decodes through pycocotools to the very pixels that were painted.

Coordinates are continuous: pixel (row r, column c) covers x in [c, c + 1) and y in [r, r + 1), and COCO polygons are in
the same frame. Polygons here are quantised to 1/8 pixel, so that moving one by whole pixels moves its pixels and
changes none of them.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]


def quantise(points: Points) -> Points:
    """(N, 2) -> (N, 2), each coordinate the nearest multiple of 1/8."""
    return np.floor(points * 8 + 0.5) / 8


def fill_polygon(points: Points, height: int, width: int) -> Mask:
    """(N, 2) x, y not below 0 -> the (height, width) pixels that pycocotools gives the polygon."""
    rles = coco_mask.frPyObjects([points.ravel().tolist()], height, width)
    return np.asarray(coco_mask.decode(rles)[:, :, 0], dtype=bool)


def trace_mask(mask: Mask) -> list[Points] | None:
    """Polygons along the pixels' edges, one per connected part, that fill to `mask`; None where it has a hole.

    findContours walks through pixel centres. On the mask drawn twice as large, the centres on either side of an edge
    fall on the same corner of the original grid when halved upwards, which also squares the corners it cuts.
    """
    doubled = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, links = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if contours and np.any(links[0, :, 3] >= 0):  # a contour with a parent is a hole
        return None
    return [_drop_straight((contour[:, 0, :].astype(np.int64) + 1) >> 1) for contour in contours]


def _drop_straight(corners: NDArray[np.int64]) -> Points:
    """Drops repeated corners, then those in the middle of a straight run."""
    corners = corners[np.any(corners != np.roll(corners, 1, axis=0), axis=1)]
    before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return np.asarray(corners[turns], np.float64)


def encode_mask(mask: Mask, *, compress: bool) -> dict[str, Any]:
    """A whole-image mask -> COCO RLE; uncompressed (a list of counts) as COCO writes its crowds."""
    if compress:
        rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        return {"size": list(map(int, rle["size"])), "counts": rle["counts"].decode("ascii")}
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1]))
    return {"size": list(mask.shape), "counts": np.diff(changes, prepend=0).tolist()}
