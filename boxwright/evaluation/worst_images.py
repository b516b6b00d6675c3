"""Which images go wrong, the worst first."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.ground_truth import Identity
from boxwright.evaluation.thresholds import best_thresholds, threshold_curves
from boxwright.evaluation.verdicts import Verdicts


@dataclass(frozen=True, eq=False)
class ImageReport:
    """One image at a working threshold of scores: what is right, what is wrong, what is missing."""

    image_id: Identity
    file_name: str
    num_right: int
    wrong: NDArray[np.int64]  # rows of the detection table, best score first
    missed: NDArray[np.int64]  # positions of annotations

    @property
    def num_errors(self) -> int:
        """Wrong detections and missed annotations."""
        return len(self.wrong) + len(self.missed)

    @property
    def f1(self) -> float:
        """1 for an image with nothing to find and nothing found."""
        total = 2 * self.num_right + self.num_errors
        return 2 * self.num_right / total if total else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Numbers in place of the rows."""
        return {
            "image_id": self.image_id,
            "file_name": self.file_name,
            "num_right": self.num_right,
            "num_wrong": len(self.wrong),
            "num_missed": len(self.missed),
            "f1": self.f1,
        }


def rank_images(verdicts: Verdicts, *, score_thresholds: NDArray[np.float64] | None = None) -> list[ImageReport]:
    """All images with annotations or detections, by falling number of errors, then rising F1.

    score_thresholds (K,): the score to keep of each category; the ones with the best F1 by default.
    """
    if score_thresholds is None:
        score_thresholds = best_thresholds(threshold_curves(verdicts))
    truth, table = verdicts.ground_truth, verdicts.table
    is_kept = table.scores >= score_thresholds[table.category]
    is_right = verdicts.is_true & is_kept
    is_found = np.zeros(len(truth), dtype=bool)
    is_found[verdicts.matched[is_right]] = True
    is_missed = verdicts.is_wanted & ~is_found
    wrong = _by_image(np.flatnonzero(verdicts.is_false & is_kept), table.image, len(truth.image_ids))
    missed = _by_image(np.flatnonzero(is_missed), truth.image, len(truth.image_ids))
    right = np.bincount(table.image[is_right], minlength=len(truth.image_ids)).tolist()
    reports = [
        ImageReport(
            image_id=truth.image_ids[i],
            file_name=truth.image_files[i],
            num_right=right[i],
            wrong=wrong[i][np.argsort(-table.scores[wrong[i]], kind="stable")],
            missed=missed[i],
        )
        for i in range(len(truth.image_ids))
        if right[i] or len(wrong[i]) or len(missed[i])
    ]
    return sorted(reports, key=lambda report: (-report.num_errors, report.f1))


def _by_image(rows: NDArray[np.int64], image: NDArray[np.int32], num_images: int) -> list[NDArray[np.int64]]:
    """Rows sorted by image -> those of each image."""
    return np.split(rows, np.searchsorted(image[rows], np.arange(1, num_images)))
