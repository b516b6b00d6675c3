"""Precision, recall and F1 of each category at every score threshold, and the threshold with the best F1."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.verdicts import Verdicts


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """One category. Point i keeps the detections with a score >= scores[i]; scores fall and are all different."""

    name: str
    num_annotations: int
    num_detections: int
    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    @property
    def f1(self) -> NDArray[np.float64]:
        """At each point; 0 where precision and recall are."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / np.where(total > 0, total, 1.0)

    @property
    def best(self) -> int | None:
        """The point with the highest F1, of equal ones that with the highest score; None without points."""
        return int(np.argmax(self.f1)) if len(self.scores) and self.num_annotations else None

    @property
    def best_threshold(self) -> float | None:
        """The score at `best`."""
        return None if self.best is None else float(self.scores[self.best])

    @property
    def best_f1(self) -> float:
        """F1 at `best`; 0 without points."""
        return 0.0 if self.best is None else float(self.f1[self.best])

    def to_dict(self, num_points: int = 200) -> dict[str, Any]:
        """At most `num_points` points, the best among them."""
        points = np.unique(np.linspace(0, max(len(self.scores) - 1, 0), num_points).astype(int))
        if self.best is not None:
            points = np.union1d(points, [self.best])
        points = points[points < len(self.scores)]
        return {
            "name": self.name,
            "num_annotations": self.num_annotations,
            "num_detections": self.num_detections,
            "best_threshold": self.best_threshold,
            "best_f1": self.best_f1,
            "scores": self.scores[points].tolist(),
            "precision": self.precision[points].tolist(),
            "recall": self.recall[points].tolist(),
            "f1": self.f1[points].tolist(),
        }


def threshold_curves(verdicts: Verdicts) -> list[ThresholdCurve]:
    """(K,) one curve a category. Precision is that at the threshold itself, without COCO's raising."""
    counted = verdicts.order[(verdicts.is_true | verdicts.is_false)[verdicts.order]]
    category = verdicts.table.category[counted]
    first = np.searchsorted(category, np.arange(len(verdicts.num_wanted) + 1))
    names, wanted = verdicts.ground_truth.names, verdicts.num_wanted.tolist()
    curves = []
    for k, name in enumerate(names):
        rows = counted[first[k] : first[k + 1]]
        curves.append(_curve(name, wanted[k], verdicts.table.scores[rows], verdicts.is_true[rows]))
    return curves


def _curve(name: str, wanted: int, scores: NDArray[np.float64], is_true: NDArray[np.bool_]) -> ThresholdCurve:
    lasts = np.flatnonzero(np.diff(scores, append=-np.inf))  # a threshold keeps all equal scores or none
    hits = np.cumsum(is_true)[lasts]
    recall = hits / wanted if wanted else np.zeros(len(lasts))
    return ThresholdCurve(name, wanted, len(scores), scores[lasts], hits / (lasts + 1), recall)


def best_thresholds(curves: list[ThresholdCurve]) -> NDArray[np.float64]:
    """(K,) the score to keep of each category; infinite where nothing is annotated or found."""
    return np.array([np.inf if c.best_threshold is None else c.best_threshold for c in curves])
