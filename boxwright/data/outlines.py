"""Outlines of objects: which of them can be drawn, and objects as one ring for formats that have nothing else."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from boxwright.data.annotations import ObjectInfo
from boxwright.data.problems import Losses
from boxwright.geometry.masks import segment_to_bitmap
from boxwright.geometry.rings import bitmap_to_rings, join_rings, one_way
from boxwright.types import Segment, Size

FAR = 10  # times the longer side of the image


def reaches_far(ring: Sequence[float] | NDArray[np.float64], size: Size) -> bool:
    """Points so far outside that drawing them, which goes along every edge, would take all memory."""
    return bool(max(max(ring), -min(ring)) > FAR * max(size))


def object_ring(info: ObjectInfo, size: Size, losses: Losses) -> NDArray[np.float64]:
    """The object's mask as one ring, or the outline of its box."""
    if info.segment:
        return _single_ring(info.segment, size, losses)
    losses["objects without a mask, written as the outline of their box"] += 1
    x, y, width, height = info.box_xywh
    return np.array([x, y, x + width, y, x + width, y + height, x, y + height])


def _single_ring(segment: Segment, size: Size, losses: Losses) -> NDArray[np.float64]:
    """Any mask as one ring: parts and holes are joined by double lines, which leave its area as it is."""
    if isinstance(segment, list) and len(segment) == 1:
        return segment[0]
    losses["parts and holes of masks, joined into one ring"] += 1
    rings = one_way(segment) if isinstance(segment, list) else bitmap_to_rings(segment_to_bitmap(segment, size))
    return join_rings(rings or [np.zeros(6)])
