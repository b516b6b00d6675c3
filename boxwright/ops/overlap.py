"""How much boxes, or masks, overlap: pairwise tables that assign targets and measure results."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

from boxwright.errors import ShapeError
from boxwright.ops.checks import check_boxes
from boxwright.ops.dispatch import run
from boxwright.ops.registration import register_fake, register_op


def box_iou(a: Tensor, b: Tensor, *, offset: float = 0.0) -> Tensor:
    """(N, 4) and (M, 4) boxes, both in the same frame -> (N, M) intersection over union.

    `offset` is added to every width and height: 1.0 where both corners are pixels of the box (Detectron). A pair
    without union gives 0, one with a NaN gives NaN. At least float32. No gradient: it only assigns.
    """
    a, b = _same_type(a, b)
    return torch.ops.boxwright.box_iou(a, b, offset)  # type: ignore[no-any-return]


def generalized_box_iou(a: Tensor, b: Tensor) -> Tensor:
    """(N, 4) and (M, 4) boxes, both in the same frame -> (N, M) IoU less the part of the hull outside both, -1..1."""
    a, b = _same_type(a, b)
    return torch.ops.boxwright.generalized_box_iou(a, b)  # type: ignore[no-any-return]


def mask_iou(
    rles_a: Sequence[dict[str, Any]], rles_b: Sequence[dict[str, Any]], is_crowd: Sequence[bool] | None = None
) -> NDArray[np.float64]:
    """N and M COCO run-length encodings of one image -> (N, M) float64; a crowd in b counts the area of a alone.

    pycocotools itself: it works on the runs, in C, and is what the official metric uses.
    """
    crowd = [False] * len(rles_b) if is_crowd is None else [bool(c) for c in is_crowd]
    if len(crowd) != len(rles_b):
        raise ShapeError(
            f"is_crowd has {len(crowd)} entries, but there are {len(rles_b)} masks in rles_b; give one each"
        )
    if not len(rles_a) or not len(rles_b):
        return np.zeros((len(rles_a), len(rles_b)))
    sizes = {tuple(rle["size"]) for rle in (*rles_a, *rles_b)}
    if len(sizes) > 1:
        raise ShapeError(f"masks of different images cannot be compared: sizes {sorted(sizes)}")
    return np.asarray(coco_mask.iou(list(rles_a), list(rles_b), crowd), dtype=np.float64)


def _same_type(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    check_boxes("a", a)
    check_boxes("b", b)
    kind = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.detach().to(kind), b.detach().to(kind)


@register_op("box_iou")
def _box_iou(a: Tensor, b: Tensor, offset: float) -> Tensor:
    return run("box_iou", a.device.type, a, b, offset=offset)  # type: ignore[no-any-return]


@register_op("generalized_box_iou")
def _generalized_box_iou(a: Tensor, b: Tensor) -> Tensor:
    return run("generalized_box_iou", a.device.type, a, b)  # type: ignore[no-any-return]


@register_fake("box_iou")
def _(a: Tensor, b: Tensor, offset: float) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[0])


@register_fake("generalized_box_iou")
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[0])
