"""Detections as mmdetection 2 gives them: a list of arrays by class, and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask

from boxwright.errors import ShapeError
from boxwright.types import Detections, Masks, Rle, Segment, Size

Boxes = list[np.ndarray]  # of each class (n, 5) float32: x1, y1, x2, y2, score
Segments = list[list[Any]]  # of each class one (H, W) bool array, or one run length, per row of its boxes
Result = Boxes | tuple[Boxes, Segments]


def to_result(found: Detections, num_classes: int) -> Result:
    """(boxes, masks) by class for a model with masks, else the boxes alone; best first within a class."""
    labels = found.labels.numpy()
    rows = np.concatenate((found.boxes.numpy(), found.scores.numpy()[:, None]), axis=1).astype(np.float32)
    boxes = [rows[labels == label] for label in range(num_classes)]
    if found.segments is None:
        return boxes
    bitmaps = found.segments.bitmaps().numpy()
    return boxes, [list(bitmaps[labels == label]) for label in range(num_classes)]


def from_result(result: Result, *, size: Size, class_names: Sequence[str]) -> Detections:
    """The inverse; `size` is the picture's height and width."""
    boxes, segments = result if isinstance(result, tuple) else (result, None)
    if any(rows.ndim != 2 or rows.shape[1] != 5 for rows in boxes):
        raise ShapeError("a result has one (n, 5) array per class: x1, y1, x2, y2, score")
    rows = np.concatenate([*boxes, np.zeros((0, 5))]).astype(np.float32)
    labels = np.repeat(np.arange(len(boxes)), [len(rows) for rows in boxes])
    masks = None if segments is None else [_rle(mask) for by_class in segments for mask in by_class]
    found = Detections(
        boxes=torch.from_numpy(rows[:, :4].copy()),
        scores=torch.from_numpy(rows[:, 4].copy()),
        labels=torch.from_numpy(labels.astype(np.int64)),
        size=size,
        class_names=tuple(class_names),
        segments=None if masks is None else Masks(list[Segment](masks), size),
    )
    return found[found.scores.argsort(descending=True, stable=True)]


def encode_mask_results(segments: Segments) -> list[list[Rle]]:
    """Bitmaps as COCO run lengths."""
    return [[_rle(mask) for mask in by_class] for by_class in segments]


def _rle(mask: Any) -> Rle:
    if isinstance(mask, dict):
        return Rle(size=mask["size"], counts=mask["counts"])
    encoded: Rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return encoded
