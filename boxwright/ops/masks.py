"""Masks between the frame of their box and that of the image, and polygons drawn into the frame of a box."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

from boxwright.errors import ShapeError

from .checks import check_boxes
from .dispatch import run
from .registration import register_fake, register_op

PasteMethod = Literal["sampled", "resized"]
PASTE_METHODS = ("sampled", "resized")


def paste_masks(
    masks: Tensor, boxes: Tensor, size: tuple[int, int], *, threshold: float = 0.5, method: PasteMethod = "sampled"
) -> Tensor:
    """(N, h, w) probabilities, (N, 4) boxes in the original image, its (H, W) -> (N, H, W) bool.

    "sampled" (Detectron2, mmdetection): the mask is read at the centre of each pixel of the box and of one pixel
    around, and set where the value is >= threshold. "resized" (Detectron, torchvision): the mask gets a border of one
    zero, the box grows by as much and is cut to whole pixels, both ends inclusive, the mask is resized to it and set
    where the value is > threshold. A box that is not finite, or for "sampled" without area, gives an empty mask.
    """
    _check_paste(masks, boxes, size, method)
    masks, boxes = masks.detach().float(), boxes.detach().float()
    return torch.ops.boxwright.paste_masks(masks, boxes, list(size), threshold, method)  # type: ignore[no-any-return]


def paste_masks_rle(
    masks: Tensor, boxes: Tensor, size: tuple[int, int], *, threshold: float = 0.5, method: PasteMethod = "sampled"
) -> list[dict[str, Any]]:
    """As `paste_masks` -> N COCO encodings {"size": [H, W], "counts": bytes}, without holding N bitmaps.

    Run lengths live on the host: on a GPU the small masks are fetched, and the CPU draws them.
    """
    _check_paste(masks, boxes, size, method)
    masks, boxes = masks.detach().float().cpu(), boxes.detach().float().cpu()
    return run("paste_masks_rle", "cpu", masks, boxes, size=tuple(size), threshold=threshold, method=method)  # type: ignore[no-any-return]


def rasterize_polygons(
    polygons: Sequence[Sequence[NDArray[Any] | Sequence[float]]],
    boxes: Tensor,
    *,
    size: int,
    min_side: float = 0.1,
    single_precision: bool = False,
) -> Tensor:
    """For N instances their polygons (each flat x, y, x, y, ... in the frame of the boxes), (N, 4) boxes
    -> (N, size, size) bool, on the device of the boxes: each instance as seen through its box.

    A side of a box counts as at least `min_side` pixels: 0.1 in Detectron2, 1.0 in Detectron and mmdetection.
    `single_precision` computes the points in float32, multiplying before dividing, as Detectron does. The drawing is
    pycocotools' own, so the bits are those of the originals. An instance without polygons gives an empty mask.
    """
    check_boxes("boxes", boxes)
    if len(polygons) != len(boxes):
        raise ShapeError(f"there are {len(polygons)} instances of polygons but {len(boxes)} boxes; give one box each")
    place = _place_single if single_precision else _place
    out = np.zeros((len(boxes), size, size), dtype=bool)
    for i, box in enumerate(boxes.detach().float().cpu().numpy()):
        placed = [place(np.asarray(p), box, size, min_side) for p in polygons[i]]
        if placed and np.isfinite(box).all():
            out[i] = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(placed, size, size)))
    return torch.from_numpy(out).to(boxes.device)


def _place(points: NDArray[Any], box: NDArray[np.float32], size: int, min_side: float) -> NDArray[np.float64]:
    """Points in the frame of the box -> in pixels of the target."""
    _check_polygon(points)
    ratio_x, ratio_y = (size / max(side, np.float32(min_side)) for side in box[2:] - box[:2])
    placed = points.astype(np.float64)
    placed[0::2] = (placed[0::2] - box[0]) * ratio_x
    placed[1::2] = (placed[1::2] - box[1]) * ratio_y
    return placed


def _place_single(points: NDArray[Any], box: NDArray[np.float32], size: int, min_side: float) -> NDArray[np.float32]:
    _check_polygon(points)
    width, height = np.maximum(box[2:] - box[:2], np.float32(min_side))
    placed = points.astype(np.float32)
    placed[0::2] = (placed[0::2] - box[0]) * np.float32(size) / width
    placed[1::2] = (placed[1::2] - box[1]) * np.float32(size) / height
    return placed


def _check_polygon(points: NDArray[Any]) -> None:
    if points.ndim != 1 or len(points) < 6 or len(points) % 2:
        raise ShapeError(f"a polygon must be flat x, y, x, y, ... of at least 3 points; got shape {points.shape}")


def _check_paste(masks: Tensor, boxes: Tensor, size: tuple[int, int], method: str) -> None:
    check_boxes("boxes", boxes)
    if masks.ndim != 3 or masks.shape[0] != boxes.shape[0] or 0 in masks.shape[1:]:
        raise ShapeError(f"masks must be ({boxes.shape[0]}, h, w), one for each box; got {tuple(masks.shape)}")
    if len(size) != 2 or min(size) < 0:
        raise ShapeError(f"size must be (height, width) of the image; got {tuple(size)}")
    if method not in PASTE_METHODS:
        raise ShapeError(f"paste_masks has no method {method!r}; expected one of {', '.join(PASTE_METHODS)}")


@register_op("paste_masks")
def _paste_masks(masks: Tensor, boxes: Tensor, size: Sequence[int], threshold: float, method: str) -> Tensor:
    settings = {"size": tuple(size), "threshold": threshold, "method": method}
    return run("paste_masks", masks.device.type, masks, boxes, **settings)  # type: ignore[no-any-return]


@register_fake("paste_masks")
def _(masks: Tensor, boxes: Tensor, size: Sequence[int], threshold: float, method: str) -> Tensor:
    return masks.new_empty(masks.shape[0], *size, dtype=torch.bool)
