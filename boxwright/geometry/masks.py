"""Masks through the changes an image goes through: polygons stay polygons, run lengths go by way of bitmaps.

A ring is a flat float64 array x, y, x, y, ... in continuous coordinates: pixel (column 3, row 5) covers 3..4, 5..6.
A segment is what `boxwright.types.Masks` keeps per object: a list of rings, or run lengths.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from boxwright.types import Masks, Polygons, Rle, Segment, Size

Ring = NDArray[np.float64]
Bitmap = NDArray[np.bool_]


def encode_bitmap(bitmap: NDArray[Any]) -> Rle:
    """(H, W) bool -> run lengths."""
    rle: Rle = coco_mask.encode(np.asfortranarray(bitmap, dtype=np.uint8))
    return rle


def _segment_to_rle(segment: Segment, size: Size) -> Rle:
    return Masks([segment], size).rles()[0]


def segment_to_bitmap(segment: Segment, size: Size) -> Bitmap:
    """-> (H, W) bool."""
    decoded: NDArray[np.uint8] = coco_mask.decode(_segment_to_rle(segment, size))
    return decoded.astype(bool, order="C")


def segment_area(segment: Segment, size: Size) -> float:
    """Pixels covered, counted once where rings overlap."""
    return float(coco_mask.area(_segment_to_rle(segment, size)))


def segment_box(segment: Segment, size: Size) -> tuple[float, float, float, float]:
    """The tight x1, y1, x2, y2 around a segment; zeros around an empty one."""
    if isinstance(segment, list):
        points = np.concatenate(segment).reshape(-1, 2) if segment else np.zeros((1, 2))
        (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
        return float(x1), float(y1), float(x2), float(y2)
    x, y, width, height = coco_mask.toBbox(_segment_to_rle(segment, size))
    return float(x), float(y), float(x + width), float(y + height)


def mask_boxes(masks: Masks) -> NDArray[np.float32]:
    """-> (N, 4) float32."""
    boxes = [segment_box(segment, masks.size) for segment in masks.segments]
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def to_run_lengths(masks: Masks) -> Masks:
    """The same masks, all as run lengths: what a source that trains on bitmaps rasterises before it resizes."""
    return Masks(list(masks.rles()), masks.size)


def scale_masks(masks: Masks, size: Size, *, scale: tuple[float, float], nearest: Callable[[Rle, Size], Rle]) -> Masks:
    """Into an image of `size`; polygons by the (y, x) factors, run lengths by `nearest(rle, size)`."""
    factors = np.array([scale[1], scale[0]])
    segments: list[Segment] = [
        [(ring.reshape(-1, 2) * factors).reshape(-1) for ring in segment]
        if isinstance(segment, list)
        else nearest(_segment_to_rle(segment, masks.size), size)
        for segment in masks.segments
    ]
    return Masks(segments, size)


def flip_masks(masks: Masks) -> Masks:
    """Mirrored left to right inside their image."""
    width = masks.size[1]
    return _map_masks(masks, masks.size, lambda points: points * (-1, 1) + (width, 0), lambda bitmap: bitmap[:, ::-1])


def flip_masks_vertically(masks: Masks) -> Masks:
    """Mirrored top to bottom inside their image."""
    height = masks.size[0]
    return _map_masks(masks, masks.size, lambda points: points * (1, -1) + (0, height), lambda bitmap: bitmap[::-1])


def map_masks(masks: Masks, size: Size, matrix: NDArray[np.float64]) -> Masks:
    """Through a (2, 3) affine map of continuous coordinates into an image of `size`."""

    def warp(bitmap: Bitmap) -> NDArray[Any]:
        centred = to_pixel_centres(matrix)
        warped: NDArray[Any] = cv2.warpAffine(bitmap.view(np.uint8), centred, size[::-1], flags=cv2.INTER_NEAREST)
        return warped

    mapped = _map_masks(masks, size, lambda points: points @ matrix[:, :2].T + matrix[:, 2], warp)
    return _clip_masks(mapped)


def to_pixel_centres(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """A (2, 3) map of continuous coordinates -> the same for OpenCV, where the centre of the first pixel is 0, 0."""
    centred = matrix.astype(np.float64).copy()
    centred[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    return centred


def crop_masks(masks: Masks, window: tuple[int, int, int, int]) -> Masks:
    """The part inside the integer window x1, y1, x2, y2, in its frame. An object outside keeps an empty segment."""
    x1, y1, x2, y2 = window
    cropped = _map_masks(
        masks, (y2 - y1, x2 - x1), lambda points: points - (x1, y1), lambda bitmap: bitmap[y1:y2, x1:x2]
    )
    return _clip_masks(cropped)


def place_masks(masks: Masks, size: Size, *, x: int, y: int) -> Masks:
    """Moved by x, y onto a larger canvas of `size`; what falls outside is cut."""

    def paste(bitmap: Bitmap) -> Bitmap:
        canvas = np.zeros(size, dtype=bool)
        top, left = max(y, 0), max(x, 0)
        part = bitmap[top - y : size[0] - y, left - x : size[1] - x]
        canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
        return canvas

    return _clip_masks(_map_masks(masks, size, lambda points: points + (x, y), paste))


def _clip_masks(masks: Masks) -> Masks:
    """Polygons cut at the borders of the image; run lengths never pass them."""
    height, width = masks.size
    segments: list[Segment] = [
        clip_rings(segment, (0.0, 0.0, float(width), float(height))) if isinstance(segment, list) else segment
        for segment in masks.segments
    ]
    return Masks(segments, masks.size)


def clip_rings(rings: Polygons, window: tuple[float, float, float, float]) -> Polygons:
    """The parts of rings inside x1, y1, x2, y2; a ring of which fewer than three points are left is dropped."""
    clipped = (_clip_ring(ring, window) for ring in rings)
    return [ring for ring in clipped if len(ring) >= 6]


def _clip_ring(ring: Ring, window: tuple[float, float, float, float]) -> Ring:
    """The part of a ring inside x1, y1, x2, y2. A part cut in two stays one ring, joined along the border."""
    points = ring.reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    for axis, sign, limit in ((0, 1, window[0]), (1, 1, window[1]), (0, -1, window[2]), (1, -1, window[3])):
        if len(points) and (low[axis] < limit if sign > 0 else high[axis] > limit):
            points = _cut(points, axis, sign, limit)
    return points.reshape(-1)


def _cut(points: NDArray[np.float64], axis: int, sign: int, limit: float) -> NDArray[np.float64]:
    """One side of the Sutherland-Hodgman clip: keeps sign * (coordinate - limit) >= 0."""
    distance = sign * (points[:, axis] - limit)
    inside = distance >= 0
    following, next_inside, next_distance = np.roll(points, -1, 0), np.roll(inside, -1), np.roll(distance, -1)
    crosses = inside != next_inside
    share = distance / np.where(crosses, distance - next_distance, 1.0)
    crossing = points + share[:, None] * (following - points)
    crossing[:, axis] = limit
    both = np.stack((points, crossing), axis=1).reshape(-1, 2)
    kept: NDArray[np.float64] = both[np.stack((inside, crosses), axis=1).reshape(-1)]
    return kept


def _map_masks(
    masks: Masks, size: Size, points: Callable[[NDArray[Any]], NDArray[Any]], bitmap: Callable[[Bitmap], NDArray[Any]]
) -> Masks:
    segments: list[Segment] = []
    for segment in masks.segments:
        if isinstance(segment, list):
            segments.append([points(ring.reshape(-1, 2)).reshape(-1) for ring in segment])
        else:
            segments.append(encode_bitmap(bitmap(segment_to_bitmap(segment, masks.size))))
    return Masks(segments, size)
