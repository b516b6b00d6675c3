"""Masks between the frame of their box and that of the image."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from boxwright.errors import ShapeError
from boxwright.ops.checks import check_boxes
from boxwright.ops.dispatch import run
from boxwright.ops.registration import register_fake, register_op
from boxwright.ops.rules import PasteRule

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
    return run("paste_masks_rle", "cpu", masks, boxes, PasteRule((size[0], size[1]), threshold, method))  # type: ignore[no-any-return]


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
    rule = PasteRule((size[0], size[1]), threshold, method)
    return run("paste_masks", masks.device.type, masks, boxes, rule)  # type: ignore[no-any-return]


@register_fake("paste_masks")
def _(masks: Tensor, boxes: Tensor, size: Sequence[int], *rest: Any) -> Tensor:
    return masks.new_empty(masks.shape[0], *size, dtype=torch.bool)
