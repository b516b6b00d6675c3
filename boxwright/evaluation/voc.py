"""The Pascal VOC figures: AP at one IoU threshold, from 11 points (2007) or the whole area under the curve (2012).

VOC counts pixels with both ends, xmin..xmax from 1. Annotations here are boxes of the plane, x1 = xmin - 1, x2 = xmax,
so that the widths VOC writes as xmax - xmin + 1 are x2 - x1, and its overlaps are plain IoU.

The rules differ from COCO's: a detection is compared only with the annotation it overlaps most, which must exceed the
threshold; a second one on the same annotation is wrong even if another one would be free; one on a difficult
annotation counts neither way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.detections import DetectionTable, read_detections
from boxwright.evaluation.ground_truth import GroundTruth, read_ground_truth
from boxwright.evaluation.result import Timing
from boxwright.evaluation.similarity import Pairs, Similarity
from boxwright.evaluation.text import category_table, figures_to_csv, format_table, format_timing, percent

Year = Literal[2007, 2012]
_TOUCHING = 1e-12  # any overlap makes a pair


@dataclass(frozen=True, eq=False)
class VocClass:
    """One category: AP, and the curve in order of falling score. NaN where nothing is annotated."""

    ap: float
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VocScores:
    """Mean AP over the categories that have annotations, as a fraction of 1, or -1 without any."""

    year: Year
    threshold: float
    classes: dict[str, VocClass]
    notes: tuple[str, ...] = ()
    timing: Timing | None = None
    kinds = ("box",)

    @property
    def ap(self) -> float:
        """The mean over the categories with annotations."""
        known = [c.ap for c in self.classes.values() if not np.isnan(c.ap)]
        return float(np.mean(known)) if known else -1.0

    @property
    def per_class(self) -> dict[str, float]:
        """AP by category; -1 without annotations."""
        return {name: -1.0 if np.isnan(c.ap) else c.ap for name, c in self.classes.items()}

    def to_dict(self) -> dict[str, Any]:
        """{"box": {"ap": ..., "year": ..., "threshold": ..., "per_class": {...}}, "notes": [...]}."""
        settings = {"year": self.year, "threshold": self.threshold}
        result = {"box": {"ap": self.ap, **settings, "per_class": self.per_class}, "notes": list(self.notes)}
        return result if self.timing is None else result | {"timing": self.timing.to_dict()}

    def to_csv(self) -> str:
        """kind, category, figure, value, as of COCO's figures."""
        return figures_to_csv([("box", "", "ap", self.ap), *(("box", k, "ap", ap) for k, ap in self.per_class.items())])

    def __str__(self) -> str:
        title = f"bbox, VOC {self.year} at IoU {self.threshold:g}, in percent"
        parts = [title, format_table(["AP"], [[percent(self.ap)]]), category_table(self.per_class), ""]
        parts += [] if self.timing is None else [format_timing(self.timing)]
        parts += ["copypaste: Task: bbox", "copypaste: AP", f"copypaste: {100 * self.ap:.4f}"]
        return "\n".join([*parts, *(f"note: {note}" for note in self.notes)])


def evaluate_voc(
    annotations: str | Path | dict[str, Any] | GroundTruth,
    detections: str | Path | Sequence[dict[str, Any]] | DetectionTable,
    *,
    year: Year = 2012,
    threshold: float = 0.5,
) -> VocScores:
    """VOC annotations in COCO form (with `difficult`) and detections, as files or contents -> VocScores."""
    ground_truth = read_ground_truth(annotations)
    table = detections if isinstance(detections, DetectionTable) else read_detections(detections, ground_truth)
    order = np.lexsort((-table.scores, table.category))  # stable: equal scores in order of image
    by_image = np.lexsort((table.category, table.image))
    best, overlap = _most_overlapping(table, by_image, ground_truth)
    is_true, is_false = _verdicts(best[order], overlap[order], ground_truth, threshold)
    first = np.searchsorted(table.category[order], np.arange(len(ground_truth.category_ids) + 1))
    wanted = np.bincount(ground_truth.category[ground_truth.is_difficult == 0], minlength=len(first) - 1)
    classes = {}
    for k, name in enumerate(ground_truth.names):
        rows = slice(int(first[k]), int(first[k + 1]))
        classes[name] = _curve(is_true[rows], is_false[rows], int(wanted[k]), year)
    return VocScores(year, threshold, classes, ground_truth.notes + table.notes)


def _most_overlapping(
    table: DetectionTable, order: NDArray[np.int64], ground_truth: GroundTruth
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """(n,) the annotation of its category a detection overlaps most, of equal ones the first; (n,) the IoU."""
    no_crowd = np.zeros_like(ground_truth.is_crowd)
    pairs: Pairs = Similarity("box").pairs(table, order, ground_truth, floor=_TOUCHING, is_crowd=no_crowd)
    best = np.full(len(table), -1, dtype=np.int32)
    overlap = np.zeros(len(table))
    detection = order[pairs.detection()]
    falling = np.lexsort((pairs.annotation, -pairs.similarity, detection))
    _, firsts = np.unique(detection[falling], return_index=True)
    chosen = falling[firsts]
    best[detection[chosen]] = pairs.annotation[chosen]
    overlap[detection[chosen]] = pairs.similarity[chosen]
    return best, overlap


def _verdicts(
    best: NDArray[np.int32], overlap: NDArray[np.float64], ground_truth: GroundTruth, threshold: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Detections in order of score -> which are true, which are false; those on difficult annotations are neither."""
    is_on = (overlap > threshold) & (best >= 0)
    is_difficult = is_on & (ground_truth.is_difficult[best] != 0) if len(ground_truth) else is_on
    is_true = np.zeros(len(best), dtype=bool)
    claims = np.flatnonzero(is_on & ~is_difficult)
    _, firsts = np.unique(best[claims], return_index=True)  # the best score takes the annotation
    is_true[claims[firsts]] = True
    return is_true, ~is_true & ~is_difficult


def _curve(is_true: NDArray[np.bool_], is_false: NDArray[np.bool_], wanted: int, year: Year) -> VocClass:
    if not wanted:
        return VocClass(float("nan"), np.zeros(0), np.zeros(0))
    hits, misses = np.cumsum(is_true), np.cumsum(is_false)
    recall = hits / wanted
    precision = hits / np.maximum(hits + misses, np.finfo(np.float64).eps)
    measure = _eleven_point if year == 2007 else _area_under
    return VocClass(measure(recall, precision), precision, recall)


def _eleven_point(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """The mean of the highest precision at recalls of at least 0, 0.1, ... 1."""
    at = np.arange(0.0, 1.1, 0.1)
    return float(sum(precision[recall >= r].max(initial=0.0) / 11 for r in at))


def _area_under(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """The area under the curve after precision is raised to the highest at any higher recall."""
    steps = np.diff(recall, prepend=0.0)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float((steps * highest).sum())
