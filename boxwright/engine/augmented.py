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

from boxwright.config import testing
from boxwright.data.image import RgbImage
from boxwright.errors import ConfigError
from boxwright.geometry.boxes import clip_boxes, flip_boxes, scale_boxes
from boxwright.geometry.keypoints import FlipPairs, flip_order
from boxwright.models.detected import Detected
from boxwright.models.frames import make_frames
from boxwright.models.rcnn import RCNN
from boxwright.models.retinanet import RetinaNet
from boxwright.models.select import Candidates, gather_candidates
from boxwright.types import Batch, Detections, RawDetections, Size

if TYPE_CHECKING:
    from boxwright.engine.detector import Detector

COCO_PAIRS = tuple((left, left + 1) for left in range(1, 17, 2))  # of the 17 keypoints of a person


class _Chosen(NamedTuple):
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
        """The inverse of `to_original`."""
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
        raw = _describe(detector.model, views, chosen, flip_pairs)
    return detector.to_original([raw], views[0].batch)[0]


def make_views(detector: "Detector", picture: RgbImage, settings: testing.AugmentedTest) -> list[View]:
    """A view of each of `settings.short_sides`, in their order; with `flip`, the mirrored one after each."""
    offset = int(detector.model.box_offset)
    views = []
    for short in settings.short_sides:
        prepared = detector.prepare(picture, short=short, long=settings.long)
        views.append(View(detector.batch([prepared]), False, offset))
        if settings.flip:
            mirrored = replace(prepared, pixels=prepared.pixels.flip(2))
            views.append(View(detector.batch([mirrored]), True, offset))
    return views


# --- boxes --------------------------------------------------------------------------------------------------------


def _union(detector: "Detector", views: Sequence[View], proposals: Tensor | None) -> _Chosen:
    parts = []
    for view in views:
        found = _found_in(view, detector.model, proposals)
        boxes = view.to_original(found.boxes) if found.original_boxes is None else view.unflipped(found.original_boxes)
        parts.append((clip_boxes(boxes.float(), view.size), found.scores.float(), found.labels))
    boxes, scores, labels = (torch.cat(part)[None] for part in zip(*parts, strict=True))
    every = torch.ones_like(labels, dtype=torch.bool)
    source = torch.arange(len(labels[0]), device=labels.device)[None]
    return _selected(detector.model, Candidates(boxes, scores, labels, source, every, every.all()))


def _found_in(view: View, model: RCNN | RetinaNet, proposals: Tensor | None) -> Detected:
    frames = make_frames(view.batch, pad_to=model.pad_to)
    if isinstance(model, RCNN):
        given = None if proposals is None else [view.to_network(proposals)]
        return model.find(view.batch.images, frames, proposals=given, counts=True).detected
    return model.run(view.batch.images, frames, counts=True).detected


def _average(detector: "Detector", views: Sequence[View], proposals: Tensor | None) -> _Chosen:
    model = detector.model
    if not isinstance(model, RCNN) or model.boxes is None:
        raise ConfigError("test.augment.combine is average: that needs a box head to judge regions again; set union")
    regions = _regions(model, views) if proposals is None else proposals.to(detector.device)
    scores: list[Tensor] = []
    boxes: list[Tensor] = []
    for view in views:
        features = model.features(view.batch.images)
        frames = make_frames(view.batch, pad_to=model.pad_to)
        result = model.judge(features, view.to_network(regions), view.image_of(regions), frames)
        scores.append(result.probabilities.float())
        boxes.append(view.unflipped(result.boxes) if model.in_original else view.to_original(result.boxes))
    mean_scores, mean_boxes = torch.stack(scores).mean(dim=0)[None], torch.stack(boxes).mean(dim=0)[None]
    is_likely = mean_scores > model.select.score_threshold
    return _selected(
        model, gather_candidates(clip_boxes(mean_boxes, views[0].size), mean_scores, is_likely, limit=None)
    )


def _regions(model: RCNN, views: Sequence[View]) -> Tensor:
    """(R, 4) in the original image: the proposals of all views, suppressed together by the rule of the RPN."""
    found = []
    for view in views:
        frames = make_frames(view.batch, pad_to=model.pad_to)
        _, regions = model.propose(model.features(view.batch.images), frames, None, training=False)
        boxes, logits = regions.of_image(0)
        found.append((view.to_original(boxes), logits))
    assert model.rpn is not None
    boxes, logits = (torch.cat(part) for part in zip(*found, strict=True))
    return model.rpn.select.merged(boxes, logits)


def _selected(model: RCNN | RetinaNet, candidates: Candidates) -> _Chosen:
    """Of one image."""
    found = model.select(candidates, counts=True)
    return _Chosen(found.boxes[0], found.scores[0], found.labels[0])


# --- masks and keypoints ------------------------------------------------------------------------------------------


def _describe(
    model: RCNN | RetinaNet, views: Sequence[View], chosen: _Chosen, flip_pairs: FlipPairs | None
) -> RawDetections:
    """With the means over the views of the masks' probabilities and of the keypoints' heatmaps."""
    masks: list[Tensor] = []
    heatmaps: list[Tensor] = []
    if isinstance(model, RCNN) and model.describes:
        for view in views:
            seen = model.describe(model.features(view.batch.images), _rows(chosen, view))
            if seen.mask_probabilities is not None:
                masks.append(seen.mask_probabilities.flip(2) if view.is_flipped else seen.mask_probabilities)
            if seen.heatmaps is not None:
                heatmaps += _upright(seen.heatmaps, view.is_flipped, flip_pairs)
    return RawDetections(
        boxes=views[0].to_network(chosen.boxes),
        scores=chosen.scores,
        labels=chosen.labels,
        original_boxes=chosen.boxes,
        masks=torch.stack(masks).mean(dim=0) if masks else None,
        heatmaps=torch.stack(heatmaps).mean(dim=0) if heatmaps else None,
    )


def _rows(chosen: _Chosen, view: View) -> Detected:
    """The chosen boxes as a view has them."""
    every = torch.ones_like(chosen.labels, dtype=torch.bool)
    boxes = view.to_network(chosen.boxes)
    return Detected(boxes, None, chosen.scores, chosen.labels, view.image_of(boxes), every, every.all())


def _upright(maps: Tensor, is_flipped: bool, flip_pairs: FlipPairs | None) -> list[Tensor]:
    """(D, K, S, S) heatmaps of a view -> those of the picture, or none where it is not known which keypoints swap."""
    if not is_flipped:
        return [maps]
    count = maps.shape[1]
    pairs = COCO_PAIRS if flip_pairs is None and count == 2 * len(COCO_PAIRS) + 1 else flip_pairs
    return [] if pairs is None else [maps.flip(3)[:, flip_order(count, pairs)]]
