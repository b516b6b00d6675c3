"""Anchors, and boxes as differences to anchors. Plain torch on every device: a few passes over small tensors."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from boxwright.errors import ShapeError
from boxwright.ops.checks import check_boxes

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
CLIP = math.log(1000.0 / 16)


def anchor_grid(
    cell_anchors: Tensor, *, size: tuple[int, int], stride: float | tuple[float, float], centre: float = 0.0
) -> Tensor:
    """(A, 4) anchors about the origin, (H, W) of the map -> (H * W * A, 4) in the network frame, ordered h, w, a.

    Those of cell (y, x) are moved by (centre + y, centre + x) * stride; `stride` may be (y, x).
    """
    check_boxes("cell_anchors", cell_anchors)
    strides = stride if isinstance(stride, tuple) else (stride, stride)
    kind, device = cell_anchors.dtype, cell_anchors.device
    y, x = ((torch.arange(n, dtype=kind, device=device) + centre) * s for n, s in zip(size, strides, strict=True))
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack((grid_x, grid_y, grid_x, grid_y), dim=-1)
    return (shifts[:, :, None] + cell_anchors).reshape(-1, 4)


def encode_boxes(
    boxes: Tensor, anchors: Tensor, *, weights: tuple[float, float, float, float] = WEIGHTS, offset: float = 0.0
) -> Tensor:
    """(N, 4) boxes and (N, 4) anchors in one frame -> (N, 4) deltas: shifts by the anchor's size, logs of size ratios.

    `offset` is added to every width and height (1.0 in Detectron). An anchor without area gives infinite deltas.
    """
    check_boxes("boxes", boxes)
    check_boxes("anchors", anchors)
    centre, box_size = _centre_and_size(boxes, offset)
    anchor_centre, anchor_size = _centre_and_size(anchors, offset)
    scale = _on_device(weights, boxes.dtype, boxes.device)
    shift = scale[:2] * (centre - anchor_centre) / anchor_size
    return torch.cat((shift, scale[2:] * torch.log(box_size / anchor_size)), dim=1)


def decode_boxes(
    deltas: Tensor,
    anchors: Tensor,
    *,
    weights: tuple[float, float, float, float] = WEIGHTS,
    offset: float = 0.0,
    clip: float = CLIP,
    symmetric_clip: bool = False,
) -> Tensor:
    """(N, 4 * k) deltas and (N, 4) anchors -> (N, 4 * k) boxes in the frame of the anchors, at least float32.

    Log ratios above `clip` are cut to it, and with `symmetric_clip` (mmdetection) those below -clip too. With `offset`
    1.0 (Detectron) the far corner is the last pixel of the box: x2 = centre + width / 2 - 1. Differentiable.
    """
    check_boxes("anchors", anchors)
    if deltas.ndim != 2 or deltas.shape[0] != anchors.shape[0] or deltas.shape[1] % 4:
        raise ShapeError(
            f"deltas must be ({anchors.shape[0]}, 4 * k), one row for each anchor; got {tuple(deltas.shape)}"
        )
    kind = torch.promote_types(torch.promote_types(deltas.dtype, anchors.dtype), torch.float32)
    split = deltas.to(kind).reshape(len(deltas), deltas.shape[1] // 4, 4) / _on_device(weights, kind, deltas.device)
    anchor_centre, anchor_size = _centre_and_size(anchors.to(kind), offset)
    centre = split[..., :2] * anchor_size[:, None] + anchor_centre[:, None]
    log_ratio = split[..., 2:].clamp(min=-clip if symmetric_clip else None, max=clip)
    half = 0.5 * (torch.exp(log_ratio) * anchor_size[:, None])
    return torch.cat((centre - half, centre + half - offset), dim=-1).flatten(1)


def _on_device(values: Sequence[float], kind: torch.dtype, device: torch.device) -> Tensor:
    """What is copied to a GPU makes the host wait; what is made there does not."""
    return torch.stack([torch.full((), value, dtype=kind, device=device) for value in values])


def _centre_and_size(boxes: Tensor, offset: float) -> tuple[Tensor, Tensor]:
    size = boxes[:, 2:] - boxes[:, :2] + offset
    return boxes[:, :2] + 0.5 * size, size
