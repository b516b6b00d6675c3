"""Everything that can be said about a set of detections, in one object for a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from boxwright.evaluation.calibration import Calibration, measure_calibration
from boxwright.evaluation.coco import evaluate_coco
from boxwright.evaluation.confusion import Confusion, confusion_matrix
from boxwright.evaluation.detections import DetectionTable
from boxwright.evaluation.errors import ErrorReport, find_errors
from boxwright.evaluation.ground_truth import GroundTruth
from boxwright.evaluation.intervals import Intervals, bootstrap_intervals
from boxwright.evaluation.result import Figures
from boxwright.evaluation.slices import Slice, slice_ap
from boxwright.evaluation.thresholds import ThresholdCurve, best_thresholds, threshold_curves
from boxwright.evaluation.verdicts import Verdicts, judge_detections
from boxwright.evaluation.worst_images import ImageReport, rank_images


@dataclass(frozen=True, eq=False)
class Analysis:
    """One kind (box, mask or keypoint). `verdicts` says what became of each detection at IoU 0.5.

    Kinds of errors and confusions between categories are not defined for keypoints, and None there; calibration is
    None where scores are not probabilities.
    """

    kind: str
    figures: Figures
    intervals: Intervals
    curves: list[ThresholdCurve]
    errors: ErrorReport | None
    confusion: Confusion | None
    calibration: Calibration | None
    slices: list[Slice]
    images: list[ImageReport]
    verdicts: Verdicts

    def to_dict(self, num_images: int = 100) -> dict[str, Any]:
        """Plain values; of the images the `num_images` worst."""
        return {
            "kind": self.kind,
            "figures": self.figures.to_dict(),
            "intervals": self.intervals.to_dict(),
            "curves": [curve.to_dict() for curve in self.curves],
            "errors": self.errors and self.errors.to_dict(),
            "confusion": self.confusion and self.confusion.to_dict(),
            "calibration": self.calibration and self.calibration.to_dict(),
            "slices": [part.to_dict() for part in self.slices],
            "images": [report.to_dict() for report in self.images[:num_images]],
        }


def analyse(
    ground_truth: GroundTruth,
    table: DetectionTable,
    *,
    kind: str = "box",
    num_resamples: int = 1000,
    seed: int = 0,
    sigmas: Sequence[float] | None = None,
) -> Analysis:
    """Figures, intervals, curves, kinds of errors, confusion, calibration, slices and images for one kind."""
    figures = next(iter(evaluate_coco(ground_truth, table, kinds=[kind], sigmas=sigmas)))
    verdicts = judge_detections(ground_truth, table, kind=kind, sigmas=sigmas)
    curves = threshold_curves(verdicts)
    thresholds = best_thresholds(curves)
    known = thresholds[np.isfinite(thresholds)]
    has_classes = kind != "keypoint"
    working = float(np.median(known)) if len(known) else 0.5
    return Analysis(
        kind=kind,
        figures=figures,
        intervals=bootstrap_intervals(
            ground_truth, table, kind=kind, num_resamples=num_resamples, seed=seed, sigmas=sigmas
        ),
        curves=curves,
        errors=find_errors(ground_truth, table, kind=kind) if has_classes else None,
        confusion=confusion_matrix(verdicts, score_threshold=working) if has_classes else None,
        calibration=measure_calibration(verdicts) if _are_probabilities(table) else None,
        slices=slice_ap(ground_truth, table, kind=kind, sigmas=sigmas),
        images=rank_images(verdicts, score_thresholds=thresholds),
        verdicts=verdicts,
    )


def _are_probabilities(table: DetectionTable) -> bool:
    return not len(table) or bool(0 <= table.scores.min() <= table.scores.max() <= 1)
