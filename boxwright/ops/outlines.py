"""Polygons drawn into the frame of a box, on the device of the boxes: what a mask head learns from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boxwright.errors import ShapeError
from boxwright.ops.checks import check_boxes, check_per_box
from boxwright.ops.dispatch import run
from boxwright.ops.registration import register_fake, register_op
from boxwright.ops.rules import DrawingRule
from boxwright.transfer import send

Ring = NDArray[Any] | Sequence[float]  # one closed polygon: flat x, y, x, y, ...


@dataclass(frozen=True)
class Outlines:
    """The polygons of N instances end to end."""

    points: Tensor  # (P, 2) float64 x, y
    point_first: Tensor  # (rings + 1,) int64: the first point of each ring, and P
    ring_first: Tensor  # (N + 1,) int64: the first ring of each instance, and the number of rings

    @classmethod
    def pack(cls, polygons: Sequence[Sequence[Ring]]) -> "Outlines":
        """For N instances their polygons, each flat x, y, x, y, ... -> on the CPU."""
        rings = [[np.asarray(ring) for ring in instance] for instance in polygons]
        for i, instance in enumerate(rings):
            for k, ring in enumerate(instance):
                _check_ring(ring, i, k)
        flat = [ring for instance in rings for ring in instance]
        points = np.concatenate(flat, dtype=np.float64) if flat else np.zeros(0)
        return cls(
            points=torch.from_numpy(points).view(-1, 2),
            point_first=_firsts([len(ring) // 2 for ring in flat]),
            ring_first=_firsts([len(instance) for instance in rings]),
        )

    def to(self, device: torch.device | str) -> "Outlines":
        """The same on another device; nothing waits for it."""
        return Outlines(*(send(t, torch.device(device)) for t in (self.points, self.point_first, self.ring_first)))

    def __len__(self) -> int:
        return len(self.ring_first) - 1


def rasterize_polygons(
    polygons: Sequence[Sequence[Ring]],
    boxes: Tensor,
    *,
    size: int,
    min_side: float = 0.1,
    single_precision: bool = False,
) -> Tensor:
    """For N instances their polygons (each flat x, y, x, y, ... in the frame of the boxes), (N, 4) boxes
    -> (N, size, size) bool: as `rasterize_outlines`, each instance seen through its own box.
    """
    check_boxes("boxes", boxes)
    if len(polygons) != len(boxes):
        raise ShapeError(f"there are {len(polygons)} instances of polygons but {len(boxes)} boxes; give one box each")
    outlines, owner = Outlines.pack(polygons).to(boxes.device), torch.arange(len(boxes), device=boxes.device)
    return rasterize_outlines(outlines, owner, boxes, size=size, min_side=min_side, single_precision=single_precision)


def rasterize_outlines(
    outlines: Outlines,
    owner: Tensor,
    boxes: Tensor,
    *,
    size: int,
    min_side: float = 0.1,
    single_precision: bool = False,
) -> Tensor:
    """(R,) int64 instance of each region, (R, 4) boxes in the frame of the outlines -> (R, size, size) bool.

    Each region's instance as seen through its box: the union of its polygons. A side of a box counts as at least
    `min_side` pixels: 0.1 in Detectron2, 1.0 in Detectron and mmdetection. `single_precision` computes the points in
    float32, multiplying before dividing, as Detectron does. The bits are those that pycocotools draws, and so the
    originals'. An instance without polygons or that does not exist (-1 marks padding), and a box that is not finite,
    give an empty mask.
    """
    check_boxes("boxes", boxes)
    check_per_box("owner", owner, boxes)
    if outlines.points.device != boxes.device:
        at = outlines.points.device
        raise ShapeError(f"the outlines are on {at}, but the boxes are on {boxes.device}; move them with .to()")
    return torch.ops.boxwright.rasterize_outlines(  # type: ignore[no-any-return]
        outlines.points,
        outlines.point_first,
        outlines.ring_first,
        owner,
        boxes.detach().float(),
        size,
        min_side,
        single_precision,
    )


def _check_ring(ring: NDArray[Any], instance: int, number: int) -> None:
    if ring.ndim != 1 or len(ring) < 6 or len(ring) % 2:
        raise ShapeError(
            f"a polygon must be flat x, y, x, y, ... of at least 3 points; "
            f"got shape {ring.shape} for polygon {number} of instance {instance}"
        )


def _firsts(lengths: list[int]) -> Tensor:
    """Where each of the parts that lie end to end begins, and where the last one ends."""
    return torch.tensor([0, *lengths]).cumsum(0)


@register_op("rasterize_outlines")
def _rasterize_outlines(
    points: Tensor,
    point_first: Tensor,
    ring_first: Tensor,
    owner: Tensor,
    boxes: Tensor,
    size: int,
    min_side: float,
    single_precision: bool,
) -> Tensor:
    given = (points, point_first, ring_first, owner, boxes, DrawingRule(size, min_side, single_precision))
    return run("rasterize_outlines", boxes.device.type, *given)  # type: ignore[no-any-return]


@register_fake("rasterize_outlines")
def _(
    points: Tensor,
    point_first: Tensor,
    ring_first: Tensor,
    owner: Tensor,
    boxes: Tensor,
    size: int,
    *rest: Any,
) -> Tensor:
    return boxes.new_empty(boxes.shape[0], size, size, dtype=torch.bool)
