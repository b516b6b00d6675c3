"""Runs a recorded model with our code and tells the worst difference of each stage."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from boxwright.config import Config
from boxwright.config.load import load_config
from boxwright.engine.detector import Detector
from boxwright.interop.weights import Weights, load_state, to_our_names
from boxwright.models.frames import make_frames
from boxwright.models.retinanet import RetinaNet
from boxwright.types import Detections, Masks, Target
from tests.golden.originals import (
    ORIGINALS,
    as_recorded,
    deltas_as_recorded,
    gradient_norms_of,
    losses_of,
    scores_as_recorded,
)
from tests.golden.recordings import DATA, Recording

CONFIGS = Path(__file__).parent / "configs"
IMAGES = [DATA / f"img{i}.png" for i in range(3)]

FEATURES = 1e-4  # relative to the largest value of the tensor; logits and deltas as well
BOX, SCORE, MATCHED = 0.02, 1e-4, 0.99  # pixels of the original image, and the share that must be within both
PROPOSALS = 0.99  # share of proposals, matched as sets, within BOX pixels of the network frame
MASKS = 0.995  # mean IoU
LOSSES = 1e-4  # relative
GRADIENTS = 1e-3  # relative norms
NOISE = 1e-6  # gradients below this share of the largest are rounding


@dataclass(frozen=True)
class Row:
    """One stage: `worst` must not pass `limit`."""

    stage: str
    worst: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.worst <= self.limit  # NaN does not pass


class Comparison:
    """One recording against our code."""

    def __init__(self, recording: Recording, config: Config | None = None) -> None:
        self.recording = recording
        self.original = ORIGINALS[recording.program]
        self.config = config or load_config(CONFIGS / f"{recording.file.stem}.yaml")

    def inference(self, images: int = 3) -> Iterator[Row]:
        """The stages of the first picture, then the detections of the first `images`."""
        recording, detector = self.recording, self.detector
        first = detector.trace(IMAGES[0], proposals=self._proposals(0))
        yield self._sampled("input", "input", first["image"])
        features = self.original.features
        if not self._names(features):
            features = self.original.features_without_neck
        yield self._levels("features", features, list(first["features"].values()))
        kind = "box" if isinstance(detector.model, RetinaNet) else "rpn"
        for part, pattern in (("logits", self.original.rpn_logits), ("deltas", self.original.rpn_deltas)):
            stage = {"box logits": "box scores"}.get(f"{kind} {part}", f"{kind} {part}")
            if values := first.get(stage):
                yield self._dense(stage, pattern, list(values.values()))
        if "img0/proposals/boxes" in recording.arrays or "img0/proposals/rois" in recording.arrays:
            if self._proposals(0) is None:
                found = first["proposals"][0]["boxes"]
                if detector.config.model.box_head is None:  # Detectron2 rescales what it recorded in place
                    found = first["detections"].boxes
                yield self._proposals_as_sets(found)
            if detector.config.model.kind == "rcnn" and detector.config.model.box_head is not None:
                yield from self._heads(first)
        found = [first["detections"]]
        found += [detector(str(image), proposals=self._given(i)) for i, image in enumerate(IMAGES[1:images], 1)]
        if "img0/det/boxes" in recording.arrays:
            yield from self._detections(found)
        else:
            yield from self._proposal_detections(found)

    def training(self) -> Iterator[Row]:
        """Losses and gradient norms of one batch of the first two pictures."""
        detector = self._detector_for_training()
        targets = [self._target(index) for index in (1, 2)]
        losses = detector.losses(
            [str(image) for image in IMAGES[:2]], targets, sampling="first", proposals=self._training_proposals()
        )
        recorded = losses_of(self.recording)
        for name in recorded:
            yield Row(name, _relative(losses[name].item(), recorded[name], floor=1e-6), LOSSES)
        unrecorded = [name for name in losses if name not in recorded and losses[name].item() != 0]
        yield Row("losses not recorded", float(len(unrecorded)), 0)
        sum(losses.values()).backward()  # type: ignore[union-attr]
        norms = gradient_norms_of(self.recording)
        floor = NOISE * max(norms.values())
        worst = 0.0
        for name, parameter in detector.model.named_parameters():
            ours = (
                0.0 if parameter.grad is None else parameter.grad.double().norm().item()
            )  # float32 loses 1e-3 over millions
            worst = max(worst, _relative(ours, norms.get(name, 0.0), floor=floor))
        yield Row("gradient norms", worst, GRADIENTS)

    @cached_property
    def detector(self) -> Detector:
        return self._loaded(self.config)

    @cached_property
    def _state(self) -> tuple[str, dict[str, Tensor]]:
        return to_our_names(self.recording.state(), where=self.recording.file.name)

    def _loaded(self, config: Config) -> Detector:
        detector = Detector(config=config)
        source, state = self._state
        report = load_state(detector.model, Weights(state, source))
        kept = [n for n in report.missing if "upsample" not in n]  # kernels that the original never changes
        if kept or report.unexpected or report.mismatched:
            raise AssertionError(str(report))
        return detector

    # --- stages

    def _sampled(self, stage: str, name: str, ours: Tensor) -> Row:
        positions, values = self.recording.samples(name)
        return Row(stage, _worst(ours.contiguous().flatten()[positions], values), FEATURES)

    def _levels(self, stage: str, pattern: str, ours: list[Tensor]) -> Row:
        """Levels are found by their shape; those of one shape stand in the same order on both sides."""
        left, worst = list(ours), 0.0
        for name in self._names(pattern):
            value = next(value for value in left if list(value.shape) == self._shape(name))
            left = [other for other in left if other is not value]
            worst = max(worst, self._sampled(stage, name, value).worst)
        return Row(stage, worst if not left else float("nan"), FEATURES)

    def _dense(self, stage: str, pattern: str, ours: list[Tensor]) -> Row:
        names = sorted(self._names(pattern), key=lambda name: -self._shape(name)[2])
        levels = sorted(ours, key=lambda value: -value.shape[1])
        rows = [
            self._sampled(stage, name, as_recorded(value, self._shape(name)))
            for name, value in zip(names, levels, strict=True)
        ]
        return Row(stage, max(row.worst for row in rows), FEATURES)

    def _proposals_as_sets(self, ours: Tensor) -> Row:
        recorded = self._recorded_proposals()
        distance = torch.cdist(recorded, ours.float(), p=float("inf")).amin(dim=1)
        return Row("proposals beyond", 1 - (distance <= BOX).float().mean().item(), 1 - PROPOSALS)

    def _heads(self, traced: dict) -> Iterator[Row]:
        """The box head on the recorded proposals, so that swaps of equals do not matter."""
        detector = self.detector
        with torch.no_grad():
            batch = detector.batch([detector.prepare(np.asarray(traced["detections"].image))])
            frames = make_frames(batch, pad_to=detector.config.model.input.pad_to)
            boxes = self._recorded_proposals()
            image = torch.zeros(len(boxes), dtype=torch.int64)
            result = detector.model.judge(traced["features"], boxes, image, frames)
        for name in self._names(self.original.pooled):
            yield self._sampled("pooled", name, result.stages[0].pooled)
        scores, deltas = 0.0, 0.0
        for name in self._names(self.original.scores):
            stage = result.stages[self._stage(self.original.scores, name)]
            ours = scores_as_recorded(stage.prediction.logits, self.original)
            scores = max(scores, self._sampled("", name, ours).worst)
        for name in self._names(self.original.deltas):
            stage = result.stages[self._stage(self.original.deltas, name)]
            ours, background = deltas_as_recorded(stage.prediction.deltas, self.original)
            positions, values = self.recording.samples(name)
            real = positions % ours.shape[1] >= background
            deltas = max(deltas, _worst(ours.flatten()[positions[real]], values[real]))
        yield Row("box scores", scores, FEATURES)
        yield Row("box deltas", deltas, FEATURES)

    def _detections(self, found: list[Detections]) -> Iterator[Row]:
        misses, total, pairs = 0, 0, []
        for index, ours in enumerate(found):
            boxes, scores, labels = self._recorded_detections(index)
            matches = _match(ours, boxes, scores, labels)
            misses += sum(match is None for match in matches) + abs(len(ours) - len(boxes))
            total += len(boxes)
            pairs.append(matches)
        yield Row("detections beyond", misses / max(total, 1), 1 - MATCHED)
        if "masks" in self.recording.meta:
            yield self._masks(found[0], pairs[0])
        if "img0/det/keypoints" in self.recording.arrays:
            yield from self._keypoints(found, pairs)

    def _masks(self, ours: Detections, matches: list[int | None]) -> Row:
        """Polygons are not needed: both sides are run lengths of the first picture."""
        size = ours.size
        recorded = [{"size": list(size), "counts": rle["counts"].encode()} for rle in self.recording.meta["masks"]]
        assert ours.segments is not None
        rles = ours.segments.rles()
        overlaps = [
            coco_mask.iou([rles[match]], [recorded[row]], [0])[0, 0] if _has_area(recorded[row]) else 1.0
            for row, match in enumerate(matches)
            if match is not None
        ]
        return Row("mask IoU lost", 1 - float(np.mean(overlaps)), 1 - MASKS)

    def _keypoints(self, found: list[Detections], pairs: list[list[int | None]]) -> Iterator[Row]:
        away, points, score_worst = 0, 0, 0.0
        for index, (ours, matches) in enumerate(zip(found, pairs, strict=True)):
            recorded = torch.from_numpy(self.recording.arrays[f"img{index}/det/keypoints"])
            scale = torch.ones(())
            if recorded.shape[1] == 4:  # Detectron.pytorch: x, y, logit, probability by rows
                # its heatmaps reach 40, which makes probabilities as uncertain as logits are: those are compared
                scale = 1 / (recorded[:, 3] * (1 - recorded[:, 3]) * recorded[:, 2].max()).clamp(min=0.01)
                recorded = recorded[:, [0, 1, 3]].transpose(1, 2)
            assert ours.keypoints is not None
            rows = [row for row, match in enumerate(matches) if match is not None]
            mine = ours.keypoints[[matches[row] for row in rows]]  # type: ignore[index]
            distance = (mine[..., :2] - recorded[rows][..., :2]).abs().amax(dim=-1)
            away += int((distance > BOX).sum())
            points += distance.numel()
            near = distance <= BOX
            if self.recording.program != "torchvision":  # its third number is a visibility of 1
                off = (mine[..., 2] - recorded[rows][..., 2]).abs() * (scale[rows] if scale.ndim else scale)
                score_worst = max(score_worst, float(off[near].max()))
        yield Row("keypoints beyond", away / max(points, 1), 1 - MATCHED)
        yield Row("keypoint scores", score_worst, SCORE)

    def _proposal_detections(self, found: list[Detections]) -> Iterator[Row]:
        misses, total, score_worst = 0, 0, 0.0
        for index, ours in enumerate(found):
            recorded = torch.from_numpy(self.recording.arrays[f"img{index}/det/proposal_boxes"])
            scores = torch.from_numpy(self.recording.arrays[f"img{index}/det/objectness_logits"]).sigmoid()
            distance, match = torch.cdist(recorded, ours.boxes, p=float("inf")).min(dim=1)
            near = distance <= BOX
            misses += int((~near).sum()) + abs(len(ours) - len(recorded))
            total += len(recorded)
            score_worst = max(score_worst, float((ours.scores[match] - scores).abs()[near].max()))
        yield Row("detections beyond", misses / total, 1 - MATCHED)
        yield Row("detection scores", score_worst, SCORE)

    # --- what was recorded

    def _names(self, pattern: str) -> list[str]:
        return [name for name in self.recording.sampled() if re.fullmatch(pattern, name)]

    def _shape(self, name: str) -> list[int]:
        shape: list[int] = self.recording.meta["shapes"][f"img0/{name}"]
        return shape

    def _stage(self, pattern: str, name: str) -> int:
        match = re.fullmatch(pattern, name)
        return int(match[1] or 0) if match else 0

    def _recorded_proposals(self) -> Tensor:
        arrays = self.recording.arrays
        if "img0/proposals/rois" in arrays:
            return torch.from_numpy(arrays["img0/proposals/rois"][:, 1:].astype(np.float32))
        return torch.from_numpy(arrays["img0/proposals/boxes"])

    def _recorded_detections(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        arrays = self.recording.arrays
        boxes, scores, labels = (
            torch.from_numpy(arrays[f"img{index}/det/{n}"]) for n in ("boxes", "scores", "classes")
        )
        return boxes.float(), scores.float(), labels.long() - self.original.label_offset

    def _proposals(self, index: int) -> Tensor | None:
        name = f"img{index}/proposals_in/boxes_orig"
        return torch.from_numpy(self.recording.arrays[name]) if name in self.recording.arrays else None

    def _given(self, index: int) -> list[Tensor] | None:
        boxes = self._proposals(index)
        return None if boxes is None else [boxes]

    # --- training

    def _detector_for_training(self) -> Detector:
        changes = ["model.input.resize.short_test=480", "model.input.resize.long_test=800"]
        if "128" in str(self.recording.meta["train"].get("overrides", "")):
            changes.append("model.box_head.sampling.size=128")
        return self._loaded(self.config.with_(*changes))

    def _training_proposals(self) -> list[Tensor] | None:
        given = [self._proposals(index) for index in (0, 1)]
        return None if given[0] is None else given  # type: ignore[return-value]

    def _target(self, image_id: int) -> Target:
        content = json.loads((DATA / self.recording.meta["train"]["gt"]).read_text())
        image = content["images"][image_id - 1]
        rows = [row for row in content["annotations"] if row["image_id"] == image_id]
        boxes = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64)
        ids = [category["id"] for category in content["categories"]]
        by_position = self.recording.program != "torchvision"
        labels = [ids.index(row["category_id"]) if by_position else row["category_id"] - 1 for row in rows]
        keypoints = None
        if self.config.model.kind == "rcnn" and self.config.model.keypoint_head is not None:
            keypoints = torch.tensor([row["keypoints"] for row in rows], dtype=torch.float32).reshape(len(rows), -1, 3)
        size = (image["height"], image["width"])
        segments = [[np.asarray(ring, dtype=np.float64) for ring in row["segmentation"]] for row in rows]
        return Target(
            boxes=torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), dim=1).float(),
            labels=torch.tensor(labels),
            size=size,
            masks=Masks(list(segments), size),
            keypoints=keypoints,
        )


def _match(ours: Detections, boxes: Tensor, scores: Tensor, labels: Tensor) -> list[int | None]:
    """For each recorded detection one of ours of its class, near enough in box and score, each taken once."""
    free = set(range(len(ours)))
    matches: list[int | None] = []
    for box, score, label in zip(boxes, scores, labels, strict=True):
        close = (ours.boxes - box).abs().amax(dim=1) <= BOX
        fits = close & ((ours.scores - score).abs() <= SCORE) & (ours.labels == label)
        candidates = [i for i in fits.nonzero()[:, 0].tolist() if i in free]
        best = min(candidates, key=lambda i: float((ours.scores[i] - score).abs()), default=None)
        free.discard(best)  # type: ignore[arg-type]
        matches.append(best)
    return matches


def _has_area(rle: dict) -> bool:
    return bool(coco_mask.area(rle) > 0)


def _worst(ours: Tensor, recorded: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    if ours.shape != recorded.shape or not len(recorded):
        return float("nan") if len(recorded) else 0.0
    return float((ours.double() - recorded.double()).abs().max() / recorded.double().abs().max().clamp(min=1e-12))


def _relative(ours: float, recorded: float, *, floor: float) -> float:
    return abs(ours - recorded) / max(abs(recorded), floor)
