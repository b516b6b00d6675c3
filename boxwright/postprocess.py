"""From the network frame to the original image: what a model found becomes Detections."""

from collections.abc import Sequence

import torch
from torch import Tensor

from boxwright import ops
from boxwright.config.conventions import Conventions
from boxwright.geometry.boxes import clip_boxes, non_empty_boxes, scale_boxes
from boxwright.geometry.heatmaps import decode_heatmaps
from boxwright.types import Batch, Detections, Masks, RawDetections, Rle, Size


def postprocess(
    results: Sequence[RawDetections],
    batch: Batch,
    *,
    conventions: Conventions,
    mask_threshold: float = 0.5,
    class_names: Sequence[str] = (),
) -> list[Detections]:
    """What `model(batch)` gave -> Detections of each image, on the CPU.

    Boxes are scaled back and clipped; those without area are dropped where the original program does. Masks are drawn
    as run lengths, keypoints read off their heatmaps.
    """
    return [
        _postprocess_one(
            result,
            batch.original_sizes[index],
            batch.scales[index],
            conventions=conventions,
            mask_threshold=mask_threshold,
            class_names=tuple(class_names),
        )
        for index, result in enumerate(results)
    ]


def _postprocess_one(
    result: RawDetections,
    size: Size,
    scale: tuple[float, float],
    *,
    conventions: Conventions,
    mask_threshold: float,
    class_names: tuple[str, ...],
) -> Detections:
    back = (1 / scale[0], 1 / scale[1])
    boxes = result.original_boxes
    if boxes is None:
        boxes = scale_boxes(result.boxes.float(), back)
    boxes = clip_boxes(boxes.detach().float().cpu(), size)
    kept = torch.arange(len(boxes))
    if conventions.empty_detections == "dropped":
        kept = non_empty_boxes(boxes).nonzero()[:, 0]
    there = kept.to(result.boxes.device)
    return Detections(
        boxes=boxes[kept],
        scores=result.scores[there].detach().float().cpu(),
        labels=result.labels[there].cpu(),
        size=size,
        class_names=class_names,
        segments=_segments(result, there, boxes[kept], size, conventions, mask_threshold),
        keypoints=_keypoints(result, there, boxes[kept], back, conventions),
    )


def _segments(
    result: RawDetections,
    kept: Tensor,
    boxes: Tensor,
    size: Size,
    conventions: Conventions,
    threshold: float,
) -> Masks | None:
    if result.masks is None:
        return None
    masks = result.masks[kept].detach().float().cpu()
    rles = ops.paste_masks_rle(masks, boxes, size, threshold=threshold, method=conventions.mask_paste)
    return Masks([Rle(size=rle["size"], counts=rle["counts"]) for rle in rles], size)


def _keypoints(
    result: RawDetections, kept: Tensor, boxes: Tensor, back: tuple[float, float], conventions: Conventions
) -> Tensor | None:
    """(N, K, 3) x, y, score in the original image; read in the frame in which the model selects its boxes."""
    if result.heatmaps is None:
        return None
    heatmaps = result.heatmaps[kept.to(result.heatmaps.device)].detach().float()
    if result.original_boxes is not None and conventions.region_frame == "original":
        return decode_heatmaps(heatmaps, boxes.to(heatmaps.device), score=conventions.keypoint_score).cpu()
    network_boxes = result.boxes[kept].detach().float()
    keypoints = decode_heatmaps(heatmaps, network_boxes.to(heatmaps.device), score=conventions.keypoint_score).cpu()
    return keypoints * keypoints.new_tensor([back[1], back[0], 1.0])
