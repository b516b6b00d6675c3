"""How many annotations the best proposals of an image cover, at growing numbers of proposals and by area.

The greedy assignment of Detectron and Detectron2: of all pairs the one with the highest IoU is taken, its proposal
and annotation are out, and so on. Classes do not matter and crowds are not asked for. As in Detectron, the annotations
of an image without proposals count as missed; Detectron2 leaves such images out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boxwright.errors import DatasetError
from boxwright.evaluation.detections import DetectionTable, image_position
from boxwright.evaluation.ground_truth import GroundTruth, Identity
from boxwright.evaluation.result import Timing
from boxwright.evaluation.text import figures_to_csv, format_table, format_timing, percent
from boxwright.ops.dispatch import on_host
from boxwright.types import Detections

AREAS = {
    "all": (0.0, 1e5**2),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e5**2),
    "96-128": (96.0**2, 128.0**2),
    "128-256": (128.0**2, 256.0**2),
    "256-512": (256.0**2, 512.0**2),
    "512-inf": (512.0**2, 1e5**2),
}
_THRESHOLDS = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True, eq=False)
class ProposalScores:
    """Recall of the `limits[l]` best proposals for annotations of areas[a] at thresholds[t]; -1 without annotations."""

    limits: tuple[int, ...]
    areas: tuple[str, ...]
    thresholds: NDArray[np.float64]
    recall: NDArray[np.float64]  # (L, A, T)
    timing: Timing | None = None
    kinds = ()  # nothing that has classes, masks or keypoints

    def average(self, limit: int, area: str = "all") -> float:
        """AR: the mean recall over the thresholds."""
        return float(self.recall[self.limits.index(limit), self.areas.index(area)].mean())

    def to_dict(self) -> dict[str, Any]:
        """{"proposals": {"ar100": ..., "ar100_small": ..., ...}}, fractions of 1."""
        result: dict[str, Any] = {"proposals": self.values}
        return result if self.timing is None else result | {"timing": self.timing.to_dict()}

    @property
    def values(self) -> dict[str, float]:
        """AR by name: ar100, ar100_small, ..."""
        names = [(limit, area) for limit in self.limits for area in self.areas]
        return {
            f"ar{limit}" + ("" if area == "all" else f"_{area}"): self.average(limit, area) for limit, area in names
        }

    def to_csv(self) -> str:
        """kind, category, figure, value, as of COCO's figures."""
        return figures_to_csv(("proposals", "", name, value) for name, value in self.values.items())

    def __str__(self) -> str:
        header = ["proposals", *self.areas]
        rows = [[f"AR{limit}", *(percent(self.average(limit, area)) for area in self.areas)] for limit in self.limits]
        title = "recall of proposals by area, the mean over IoU 0.5 to 0.95, in percent"
        parts = [title, format_table(header, rows)]
        return "\n\n".join(parts if self.timing is None else [*parts, format_timing(self.timing)])


class ProposalEvaluator:
    """Takes the proposals of one image after the other and keeps only those that cover something."""

    def __init__(self, ground_truth: GroundTruth, *, limits: Sequence[int] = (100, 300, 1000)) -> None:
        self.ground_truth = ground_truth
        self.limits = tuple(sorted(limits))
        self._pairs: list[tuple[NDArray[Any], ...]] = []
        self._seen: set[int] = set()

    def add(self, image_id: Identity, *, boxes: NDArray[Any], scores: ArrayLike) -> None:
        """(n, 4) x1, y1, x2, y2 in the original image, (n,) scores or logits."""
        position = image_position(self.ground_truth, image_id)
        if position in self._seen:
            raise DatasetError(f"image {image_id!r} was added before; add all proposals of an image at once")
        self._seen.add(position)
        order = np.argsort(-np.asarray(scores), kind="stable")[: self.limits[-1]]
        corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)[order]
        first, annotation, iou = on_host("coco_match").box_pairs(
            np.full(len(order), position, dtype=np.int32),
            np.zeros(len(order), dtype=np.int32),
            np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
            self.ground_truth.first,
            self.ground_truth.category,
            self.ground_truth.boxes_xywh,
            np.zeros_like(self.ground_truth.is_crowd),
            # A pair below the lowest threshold is taken after all that matter, so it need not be known.
            float(_THRESHOLDS[0]),
            False,
        )
        rank = np.repeat(np.arange(len(order)), np.diff(first))
        self._pairs.append((np.full(len(rank), position), rank, annotation, iou))

    def add_detections(self, image_id: Identity, detections: Detections) -> None:
        """What a model that finds proposals alone finds in one image."""
        self.add(image_id, boxes=detections.boxes.numpy(), scores=detections.scores.numpy())

    def state(self) -> tuple[set[int], list[tuple[NDArray[Any], ...]]]:
        """What this evaluator has seen, for another process to `absorb`."""
        return self._seen, self._pairs

    def absorb(self, state: tuple[set[int], list[tuple[NDArray[Any], ...]]]) -> None:
        """Adds what an evaluator of other images of the same ground truth has seen."""
        self._seen |= state[0]
        self._pairs += state[1]

    def result(self) -> ProposalScores:
        """The recall of what was added so far; images that were not count as images without proposals."""
        columns = [np.concatenate(column) for column in zip(*self._pairs, strict=True)] if self._pairs else _no_pairs()
        image, rank, annotation, iou = columns
        order = np.lexsort((rank, annotation, -iou))
        proposal = (image.astype(np.int64) * self.limits[-1] + rank)[order]
        annotation, rank, iou = annotation[order], rank[order], iou[order]
        recall = np.full((len(self.limits), len(AREAS), len(_THRESHOLDS)), -1.0)
        truth = self.ground_truth
        for a, (low, high) in enumerate(AREAS.values()):
            is_wanted = (truth.is_crowd == 0) & (truth.area >= low) & (truth.area <= high)
            if not is_wanted.any():
                continue
            for index, limit in enumerate(self.limits):
                offered = is_wanted[annotation] & (rank < limit)
                sizes = len(truth.image_ids) * self.limits[-1], len(truth)
                taken = on_host("coco_match").cover_annotations(proposal[offered], annotation[offered], *sizes)
                covered = iou[offered][taken]
                recall[index, a] = (covered[:, None] >= _THRESHOLDS).sum(axis=0) / is_wanted.sum()
        return ProposalScores(self.limits, tuple(AREAS), _THRESHOLDS, recall)


def evaluate_proposals(
    ground_truth: GroundTruth, proposals: DetectionTable, *, limits: Sequence[int] = (100, 300, 1000)
) -> ProposalScores:
    """Boxes with scores, as of a results file; their categories do not matter."""
    evaluator = ProposalEvaluator(ground_truth, limits=limits)
    for part in np.split(np.arange(len(proposals)), np.flatnonzero(np.diff(proposals.image)) + 1):
        if len(part):
            boxes = proposals.boxes_xywh[part]
            corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
            image_id = ground_truth.image_ids[int(proposals.image[part[0]])]
            evaluator.add(image_id, boxes=corners, scores=proposals.scores[part])
    return evaluator.result()


def _no_pairs() -> list[NDArray[Any]]:
    integers = np.zeros(0, dtype=np.int64)
    return [integers, integers, integers, np.zeros(0)]
