"""What the mask of each training region should be."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boxwright import ops
from boxwright.errors import DatasetError
from boxwright.models.frames import Frames
from boxwright.models.objects import Objects
from boxwright.models.regions import Regions
from boxwright.transfer import send
from boxwright.types import Masks, Segment

MaskTargets = Literal["polygons", "detectron", "bitmaps", "soft_bitmaps"]
Rings = list[NDArray[np.float64]]
BITMAP_PIXELS = 2**26  # looked at together: 256 MiB as float32


def mask_targets(regions: Regions, objects: Objects, frames: Frames, *, size: int, rule: MaskTargets) -> Tensor:
    """R positive regions and the objects they belong to -> (R, size, size) float32 in 0..1."""
    segments, device = objects.segments, regions.boxes.device
    if segments is None:
        raise DatasetError("the model trains a mask head, but targets have no masks; annotate them or drop mask_head")
    if not len(regions.boxes):
        return torch.zeros(0, size, size, device=device)
    if rule in ("bitmaps", "soft_bitmaps"):
        return _from_bitmaps(range(len(segments)), regions, regions.owner, objects, frames, size=size, rule=rule)
    owner = _owners_by_outline(regions, objects, frames) if rule == "detectron" else regions.owner
    drawn = _from_outlines(regions, owner, objects, frames, size=size, detectron=rule == "detectron")
    others = [i for i, segment in enumerate(segments) if not isinstance(segment, list)]
    if not others:
        return drawn
    # Run lengths have no outline to draw.
    return drawn + _from_bitmaps(others, regions, owner, objects, frames, size=size, rule=rule)


def _from_outlines(
    regions: Regions, owner: Tensor, objects: Objects, frames: Frames, *, size: int, detectron: bool
) -> Tensor:
    """-> (R, size, size), zeros for objects without outlines."""
    assert objects.segments is not None
    rings = [segment if isinstance(segment, list) else [] for segment in objects.segments]
    boxes = regions.boxes
    if detectron:
        factors = [factors for factors, count in zip(frames.factors, objects.counts, strict=True) for _ in range(count)]
        rings = [_in_original(one, scale) for one, scale in zip(rings, factors, strict=True)]
        boxes = frames.to_original(boxes, regions.image)
    outlines = ops.Outlines.pack(rings).to(boxes.device)
    min_side = 1.0 if detectron else 0.1
    return ops.rasterize_outlines(
        outlines, owner, boxes, size=size, min_side=min_side, single_precision=detectron
    ).float()


def _owners_by_outline(regions: Regions, objects: Objects, frames: Frames) -> Tensor:
    """Detectron assigns anew: to the object whose outline's box overlaps the region most, crowds left out."""
    assert objects.segments is not None
    outlines = send(torch.from_numpy(_outline_boxes(objects.segments)), regions.boxes.device)
    outlines = frames.to_original(outlines, objects.image)
    boxes = frames.to_original(regions.boxes, regions.image)
    iou = ops.box_iou(boxes, outlines, offset=1.0)
    is_candidate = (regions.image[:, None] == objects.image) & ~send(objects.is_crowd, boxes.device)
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


def _from_bitmaps(
    wanted: Sequence[int],
    regions: Regions,
    owner: Tensor,
    objects: Objects,
    frames: Frames,
    *,
    size: int,
    rule: MaskTargets,
) -> Tensor:
    """Each region's part of its object's bitmap by RoIAlign: half-pixel and cut at 0.5, or legacy and soft.

    Zeros for the regions of other objects than the `wanted` ones.
    """
    soft, device = rule == "soft_bitmaps", owner.device
    targets = torch.zeros(len(owner), size, size, device=device)
    no_level = torch.zeros_like(owner)
    step = max(BITMAP_PIXELS // math.prod(frames.batch_size), 1)
    for chunk in (wanted[i : i + step] for i in range(0, len(wanted), step)):
        place = torch.full((len(objects),), -1)
        place[list(chunk)] = torch.arange(len(chunk))
        bitmap = send(place, device)[owner]
        cropped = ops.roi_align(
            [send(_bitmaps(chunk, objects, frames, echoes=rule != "bitmaps"), device)[:, None].float()],
            regions.boxes.float(),
            bitmap.clamp(min=0),
            no_level,
            scales=[1.0],
            output_size=(size, size),
            sampling_ratio=0,
            aligned=not soft,
        )
        targets = torch.where((bitmap >= 0)[:, None, None], cropped[:, 0], targets)
    return targets if soft else (targets >= 0.5).float()


def _bitmaps(wanted: Sequence[int], objects: Objects, frames: Frames, *, echoes: bool) -> Tensor:
    """-> (W, height, width of the batch) uint8. What lies past the border of an image is 0, or the border's `echo`."""
    assert objects.segments is not None
    found = np.zeros((len(wanted), *frames.batch_size), dtype=np.uint8)
    image = objects.image_on_host.tolist()
    for canvas, i in zip(found, wanted, strict=True):
        height, width = frames.sizes[image[i]]
        canvas[:height, :width] = _decode(objects.segments[i], (height, width))
        if echoes:
            canvas[height : height + 1] = canvas[height - 1]
            canvas[:, width : width + 1] = canvas[:, width - 1, None]
    return torch.from_numpy(found)


def _decode(segment: Segment, size: tuple[int, int]) -> Tensor:
    """-> (H, W) bool."""
    return Masks([segment], size).bitmaps()[0]


def _in_original(rings: Rings, scale: Sequence[float]) -> Rings:
    factors = np.array([scale[1], scale[0]])
    return [(ring.reshape(-1, 2) / factors).reshape(-1) for ring in rings]
