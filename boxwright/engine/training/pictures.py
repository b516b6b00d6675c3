"""What a model learns from and finds, as one picture: truth, proposals, matched anchors, detections."""

import numpy as np
import torch
from PIL.Image import Image, fromarray
from torch import Tensor

from boxwright.data.annotations import Annotations
from boxwright.data.image import RgbImage, load_image
from boxwright.engine.detector import Detector
from boxwright.geometry.boxes import scale_boxes
from boxwright.models.matching import POSITIVE
from boxwright.models.rcnn import RCNN
from boxwright.types import Detections, Target

MOST_PROPOSALS = 50


def training_picture(detector: Detector, annotations: Annotations, image: int, *, threshold: float = 0.3) -> Image:
    """Two by two: the objects; the best proposals; the anchors that learn boxes; what is found."""
    picture = load_image(annotations.path(image))
    target = annotations.target(image, with_masks=True, with_keypoints=True)
    stages = detector.trace(picture)
    found = stages["detections"]
    panels = [_truth(picture, target, detector.class_names)]
    if "anchors" in stages and "proposals" in stages:
        scale = detector.prepare(picture).scale
        back = (1 / scale[0], 1 / scale[1])
        anchors = _matched_anchors(detector, stages, scale_boxes(target.boxes, scale))
        best = stages["proposals"][0]["boxes"][:MOST_PROPOSALS]
        panels += [_boxes(picture, scale_boxes(boxes.float().cpu(), back)) for boxes in (best, anchors)]
    panels.append(found[found.scores >= threshold].draw(image=picture))
    return _montage(panels)


def _truth(picture: RgbImage, target: Target, names: tuple[str, ...]) -> Image:
    detections = Detections(
        boxes=target.boxes,
        scores=torch.ones(len(target)),
        labels=target.labels,
        size=target.size,
        class_names=names,
        segments=target.masks,
        keypoints=target.keypoints,
    )
    drawn: Image = detections.draw(image=picture)
    return drawn


def _boxes(picture: RgbImage, boxes: Tensor) -> Image:
    count = len(boxes)
    size = (picture.shape[0], picture.shape[1])
    detections = Detections(
        boxes=boxes, scores=torch.ones(count), labels=torch.zeros(count, dtype=torch.int64), size=size
    )
    drawn: Image = detections.draw(image=picture, labels=False)
    return drawn


def _matched_anchors(detector: Detector, stages: dict[str, object], objects: Tensor) -> Tensor:
    """(N, 4) in the network frame."""
    by_level = stages["anchors"]
    assert isinstance(by_level, dict)
    anchors = torch.cat(list(by_level.values()))
    model = detector.model
    assert isinstance(model, RCNN)
    assert model.rpn is not None
    return anchors[model.rpn.training_loss.assigner.matcher(objects.to(anchors.device), anchors).label == POSITIVE]


def _montage(panels: list[Image]) -> Image:
    rows = [
        np.concatenate([np.asarray(panel) for panel in panels[i : i + 2]], axis=1) for i in range(0, len(panels), 2)
    ]
    widest = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0))) for row in rows]
    return fromarray(np.concatenate(padded, axis=0))
