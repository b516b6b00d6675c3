"""What the mask of each training region should be."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from boxwright import ops
from boxwright.errors import DatasetError
from boxwright.models.frames import Frames
from boxwright.models.objects import Objects
from boxwright.models.regions import Regions
from boxwright.types import Masks, Segment

MaskTargets = Literal["polygons", "detectron", "bitmaps", "soft_bitmaps"]
Rings = list[NDArray[np.float64]]


def mask_targets(regions: Regions, objects: Objects, frames: Frames, *, size: int, rule: MaskTargets) -> Tensor:
    """R positive regions and the objects they belong to -> (R, size, size) float32 in 0..1."""
    if objects.segments is None:
        raise DatasetError("the model trains a mask head, but targets have no masks; annotate them or drop mask_head")
    device = regions.boxes.device
    if not len(regions.boxes):
        return torch.zeros(0, size, size, device=device)
    if rule in ("bitmaps", "soft_bitmaps"):
        return _from_bitmaps(regions, objects, frames, size=size, rule=rule).to(device)
    detectron = rule == "detectron"
    owner = _owners_by_outline(regions, objects, frames) if detectron else regions.owner
    segments = [objects.segments[i] for i in owner.tolist()]
    if any(not isinstance(segment, list) for segment in segments):  # run lengths have no outline to draw
        moved = Regions(regions.boxes, regions.image, regions.labels, owner, regions.is_object)
        return _from_bitmaps(moved, objects, frames, size=size, rule=rule).to(device)
    if detectron:
        return _from_polygons_in_original(segments, regions, frames, size).to(device)
    return ops.rasterize_polygons(segments, regions.boxes, size=size).float()


def _from_polygons_in_original(segments: Sequence[Segment], regions: Regions, frames: Frames, size: int) -> Tensor:
    boxes = frames.to_original(regions.boxes, regions.image)
    scales = frames.scales.tolist()
    rings = [_in_original(segment, scales[i]) for segment, i in zip(segments, regions.image.tolist(), strict=True)]
    return ops.rasterize_polygons(rings, boxes, size=size, min_side=1.0, single_precision=True).float()


def _owners_by_outline(regions: Regions, objects: Objects, frames: Frames) -> Tensor:
    """Detectron assigns anew: to the object whose outline's box overlaps the region most, crowds left out."""
    assert objects.segments is not None
    outlines = torch.from_numpy(_outline_boxes(objects.segments)).to(regions.boxes)
    outlines = frames.to_original(outlines, objects.image)
    boxes = frames.to_original(regions.boxes, regions.image)
    iou = ops.box_iou(boxes, outlines, offset=1.0)
    is_candidate = (regions.image[:, None] == objects.image) & ~objects.is_crowd
    return iou.masked_fill(~is_candidate, -1).argmax(dim=1)


def _outline_boxes(segments: Sequence[Segment]) -> NDArray[np.float32]:
    boxes = np.zeros((len(segments), 4), dtype=np.float32)
    for i, segment in enumerate(segments):
        if isinstance(segment, list) and segment:
            points = np.concatenate(segment).reshape(-1, 2)
            boxes[i] = [*points.min(axis=0), *points.max(axis=0)]
        elif isinstance(segment, dict):
            rows, columns = _decode(segment, (int(segment["size"][0]), int(segment["size"][1]))).nonzero(as_tuple=True)
            if len(rows):
                boxes[i] = [int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())]
    return boxes


def _from_bitmaps(regions: Regions, objects: Objects, frames: Frames, *, size: int, rule: MaskTargets) -> Tensor:
    """Each region's part of its object's bitmap by RoIAlign: half-pixel and cut at 0.5, or legacy and soft."""
    soft = rule == "soft_bitmaps"
    targets = torch.zeros(len(regions.boxes), size, size)
    owner, boxes = regions.owner.cpu(), regions.boxes.float().cpu()
    for wanted, bitmap in _bitmaps(owner, objects, frames, padded=rule == "bitmaps"):
        index = (owner == wanted).nonzero()[:, 0]
        zeros = torch.zeros(len(index), dtype=torch.int64)
        cropped = ops.roi_align(
            [bitmap[None, None]],
            boxes[index],
            zeros,
            zeros,
            scales=[1.0],
            output_size=(size, size),
            sampling_ratio=0,
            aligned=not soft,
        )
        targets[index] = cropped[:, 0] if soft else (cropped[:, 0] >= 0.5).float()
    return targets


def _bitmaps(owner: Tensor, objects: Objects, frames: Frames, *, padded: bool) -> list[tuple[int, Tensor]]:
    """Object and bitmap, (H, W) float. `padded` like the batch: what lies past the border is then 0, not its echo."""
    assert objects.segments is not None
    image = objects.image.tolist()
    sizes = frames.network.int().tolist()
    found = []
    for i in sorted(set(owner.tolist())):
        height, width = (int(side) for side in sizes[image[i]])
        bitmap = _decode(objects.segments[i], (height, width)).float()
        if padded:
            bitmap = F.pad(bitmap, (0, int(frames.batch_size[1] > width), 0, int(frames.batch_size[0] > height)))
        found.append((i, bitmap))
    return found


def _decode(segment: Segment, size: tuple[int, int]) -> Tensor:
    """-> (H, W) bool."""
    return Masks([segment], size).bitmaps()[0]


def _in_original(segment: Segment, scale: Sequence[float]) -> Rings:
    assert isinstance(segment, list)
    factors = np.array([scale[1], scale[0]])
    return [(ring.reshape(-1, 2) / factors).reshape(-1) for ring in segment]
