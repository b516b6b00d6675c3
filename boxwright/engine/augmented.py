"""Test-time augmentation: a picture seen at several sizes and mirrored, and what is found in all views put together.

`union`, as Detectron2: the detections of every view compete in one suppression. `average`, as mmdetection: the
proposals of every view compete, those that stay are judged in each view, and the means of their scores and boxes are
what is suppressed. Either way the masks and heatmaps of the boxes that are kept are the means over all views.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from boxwright import ops
from boxwright.config import parts, testing
from boxwright.data.image import RgbImage
from boxwright.errors import ConfigError
from boxwright.geometry.boxes import clip_boxes, flip_boxes, scale_boxes
from boxwright.geometry.keypoints import FlipPairs, flip_order
from boxwright.models.frames import make_frames
from boxwright.models.rcnn import RCNN
from boxwright.models.select import Candidates
from boxwright.types import Batch, Detections, RawDetections, Size

if TYPE_CHECKING:
    from boxwright.engine.detector import Detector

COCO_PAIRS = tuple((left, left + 1) for left in range(1, 17, 2))  # of the 17 keypoints of a person


class Chosen(NamedTuple):
    boxes: Tensor  # (D, 4) in the original image
    scores: Tensor  # (D,)
    labels: Tensor  # (D,) int64


@dataclass(frozen=True)
class View:
    """One picture at one size, mirrored or not. `offset` 1: the last corner of a box is a pixel."""

    batch: Batch  # of this one image
    is_flipped: bool
    offset: int

    @property
    def size(self) -> Size:
        """Of the original image."""
        return self.batch.original_sizes[0]

    def to_original(self, boxes: Tensor) -> Tensor:
        """(..., 4) in the network frame -> in the original image."""
        y, x = self.batch.scales[0]
        return self.unflipped(scale_boxes(boxes, (1 / y, 1 / x)))

    def unflipped(self, boxes: Tensor) -> Tensor:
        """(..., 4) in the original size; mirroring is its own inverse."""
        return flip_boxes(boxes, self.size[1] - self.offset) if self.is_flipped else boxes

    def to_network(self, boxes: Tensor) -> Tensor:
        return scale_boxes(self.unflipped(boxes), self.batch.scales[0])

    def image_of(self, boxes: Tensor) -> Tensor:
        """(D,) of zeros: the only image of the batch."""
        return torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)


@torch.no_grad()
def detect_augmented(
    detector: "Detector",
    picture: RgbImage,
    settings: testing.AugmentedTest,
    *,
    proposals: Tensor | None = None,
    flip_pairs: FlipPairs | None = None,
) -> Detections:
    """(H, W, 3) uint8 RGB -> detections in its frame.

    `flip_pairs` are the keypoints that change places in a mirrored image; without them those of COCO where there are
    17, else keypoints are read from the views that are not mirrored.
    """
    detector.model.eval()
    views = make_views(detector, picture, settings)
    with detector.autocast():
        if settings.combine == "average":
            chosen = _average(detector, views, proposals)
        else:
            chosen = _union(detector, views, proposals)
        raw = _look_closer(detector.model, views, chosen, flip_pairs)
    return detector.to_original([raw], views[0].batch)[0]


def make_views(detector: "Detector", picture: RgbImage, settings: testing.AugmentedTest) -> list[View]:
    offset = detector.config.model.conventions.box_offset
    views = []
    for short in settings.short_sides:
        prepared = detector.prepare(picture, short=short, long=settings.long)
        views.append(View(detector.batch([prepared]), False, offset))
        if settings.flip:
            mirrored = replace(prepared, pixels=prepared.pixels.flip(2))
            views.append(View(detector.batch([mirrored]), True, offset))
    return views


def _given(view: View, proposals: Tensor | None) -> dict[str, list[Tensor]]:
    return {} if proposals is None else {"proposals": [view.to_network(proposals)]}


# --- boxes --------------------------------------------------------------------------------------------------------


def _union(detector: "Detector", views: Sequence[View], proposals: Tensor | None) -> Chosen:
    parts = []
    for view in views:
        raw = _boxes_of(detector.model, view, proposals)
        boxes = view.to_original(raw.boxes) if raw.original_boxes is None else view.unflipped(raw.original_boxes)
        parts.append((clip_boxes(boxes.float(), view.size), raw.scores.float(), raw.labels))
    boxes, scores, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    return _select(detector.model, boxes, scores, labels)


def _boxes_of(model: torch.nn.Module, view: View, proposals: Tensor | None) -> RawDetections:
    if isinstance(model, RCNN):
        return model.find(view.batch, **_given(view, proposals)).detected.per_image(1)[0]
    raw: RawDetections = model(view.batch)[0]
    return raw


def _average(detector: "Detector", views: Sequence[View], proposals: Tensor | None) -> Chosen:
    model = detector.model
    if not isinstance(model, RCNN) or model.boxes is None:
        raise ConfigError("test.augment.combine is average: that needs a box head to judge regions again; set union")
    regions = _regions(detector, model, views) if proposals is None else proposals.to(detector.device)
    scores: list[Tensor] = []
    boxes: list[Tensor] = []
    for view in views:
        image = view.image_of(regions)
        frames = make_frames(view.batch, pad_to=model.pad_to)
        result = model.boxes.predict(model.features(view.batch.images), view.to_network(regions), image, frames)
        in_original = model.boxes.frame != "network"
        scores.append(result.probabilities.float())
        boxes.append(view.unflipped(result.boxes) if in_original else view.to_original(result.boxes))
    mean_scores, mean_boxes = torch.stack(scores).mean(dim=0), torch.stack(boxes).mean(dim=0)
    region, label = (mean_scores > model.score_threshold).nonzero(as_tuple=True)
    chosen = mean_boxes[region, label if mean_boxes.shape[1] > 1 else torch.zeros_like(label)]
    return _select(model, clip_boxes(chosen, views[0].size), mean_scores[region, label], label)


def _regions(detector: "Detector", model: RCNN, views: Sequence[View]) -> Tensor:
    """(R, 4) in the original image: the proposals of all views, suppressed together by the rule of the RPN."""
    settings = detector.config.model
    assert settings.kind == "rcnn"
    found = [(view, model.find(view.batch).proposals.of_image(0)) for view in views]
    boxes = torch.cat([view.to_original(boxes) for view, (boxes, _) in found])
    logits = torch.cat([logits for _, (_, logits) in found])
    if not isinstance(settings.proposals, parts.RPN):
        return boxes
    kept = ops.nms(
        boxes,
        logits,
        torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device),
        iou_threshold=settings.proposals.nms_iou,
        offset=float(settings.conventions.box_offset),
        inclusive=settings.conventions.nms_inclusive,
    )
    order = kept[logits[kept].argsort(descending=True, stable=True)]
    return boxes[order[: settings.proposals.post_nms_top_k.test]]


def _select(model: torch.nn.Module, boxes: Tensor, scores: Tensor, labels: Tensor) -> Chosen:
    image = torch.zeros_like(labels)
    source = torch.arange(len(boxes), device=boxes.device)
    found = model.select(Candidates(boxes, scores, labels, image, source), num_classes=model.num_classes)  # type: ignore[operator]
    return Chosen(found.boxes, found.scores, found.labels)


# --- masks and keypoints ------------------------------------------------------------------------------------------


def _look_closer(
    model: torch.nn.Module, views: Sequence[View], chosen: Chosen, flip_pairs: FlipPairs | None
) -> RawDetections:
    """The means over the views of the masks' probabilities and of the keypoints' heatmaps."""
    masks: list[Tensor] = []
    heatmaps: list[Tensor] = []
    if isinstance(model, RCNN) and (model.masks is not None or model.keypoints is not None):
        for view in views:
            features, boxes = model.features(view.batch.images), view.to_network(chosen.boxes)
            image = view.image_of(boxes)
            if model.masks is not None:
                _, probabilities = model.masks.predict(features, boxes, image, chosen.labels)
                masks.append(probabilities.flip(2) if view.is_flipped else probabilities)
            if model.keypoints is not None:
                maps = model.keypoints.predict(features, boxes, image)
                heatmaps += _upright(maps, view.is_flipped, flip_pairs)
    return RawDetections(
        boxes=views[0].to_network(chosen.boxes),
        scores=chosen.scores,
        labels=chosen.labels,
        original_boxes=chosen.boxes,
        masks=torch.stack(masks).mean(dim=0) if masks else None,
        heatmaps=torch.stack(heatmaps).mean(dim=0) if heatmaps else None,
    )


def _upright(maps: Tensor, is_flipped: bool, flip_pairs: FlipPairs | None) -> list[Tensor]:
    """(D, K, S, S) heatmaps of a view -> those of the picture, or none where nobody knows which keypoints swap."""
    if not is_flipped:
        return [maps]
    count = maps.shape[1]
    pairs = COCO_PAIRS if flip_pairs is None and count == 2 * len(COCO_PAIRS) + 1 else flip_pairs
    return [] if pairs is None else [maps.flip(3)[:, flip_order(count, pairs)]]
