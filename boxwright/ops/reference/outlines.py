"""Polygons drawn into the frame of a box by pycocotools: the definition the other backends must match."""

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

from boxwright.ops.rules import DrawingRule

# In pixels of the target. Farther points count as this far: pycocotools counts fifths of a pixel, and the differences
# between them, in 32 bits, and says nothing of what happens beyond.
MAX_PLACE = float(1 << 27)


def rasterize_outlines(
    points: Tensor,
    point_first: Tensor,
    ring_first: Tensor,
    owner: Tensor,
    boxes: Tensor,
    rule: DrawingRule,
) -> Tensor:
    """points (P, 2) float64 x, y, the first of each ring (rings + 1,), the first ring of each instance (N + 1,), owner
    (R,) among the instances, boxes (R, 4) -> (R, size, size) bool. See `ops.rasterize_outlines`.

    It runs on the host, wherever the tensors are.
    """
    out = torch.zeros(len(boxes), rule.size, rule.size, dtype=torch.bool)
    points, boxes, firsts, first_rings = points.cpu(), boxes.float().cpu(), point_first.tolist(), ring_first.tolist()
    place = _place_single if rule.single_precision else _place
    for i, (instance, box) in enumerate(zip(owner.tolist(), boxes, strict=True)):
        if not 0 <= instance < len(first_rings) - 1 or not box.isfinite().all():
            continue
        rings = range(first_rings[instance], first_rings[instance + 1])
        placed = [place(points[firsts[k] : firsts[k + 1]], box, rule) for k in rings]
        if placed:
            out[i] = _draw(placed, rule.size)
    return out.to(owner.device)


def _place(points: Tensor, box: Tensor, rule: DrawingRule) -> Tensor:
    """(n, 2) points in the frame of the box -> in pixels of the target. The ratio alone is rounded to float32."""
    ratio = box.new_tensor(rule.size) / (box[2:] - box[:2]).clamp(min=rule.min_side)
    return (points - box[:2].double()) * ratio.double()


def _place_single(points: Tensor, box: Tensor, rule: DrawingRule) -> Tensor:
    sides = (box[2:] - box[:2]).clamp(min=rule.min_side)
    return (points.float() - box[:2]) * box.new_tensor(rule.size) / sides


def _draw(placed: list[Tensor], size: int) -> Tensor:
    """(n, 2) points of each ring -> (size, size) bool, the union of the rings."""
    limited = [p.double().nan_to_num(nan=-MAX_PLACE).clamp(-MAX_PLACE, MAX_PLACE) for p in placed]
    runs = coco_mask.frPyObjects([p.flatten().numpy() for p in limited], size, size)
    bits: NDArray[np.uint8] = coco_mask.decode(coco_mask.merge(runs))
    return torch.from_numpy(bits).bool()
