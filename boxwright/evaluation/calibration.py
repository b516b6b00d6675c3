"""Whether a score says how often a detection is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.errors import DatasetError
from boxwright.evaluation.verdicts import Verdicts


@dataclass(frozen=True, eq=False)
class Calibration:
    """Detections in B bins of equal width of score: how sure they were and how often they were right.

    `error` is the expected calibration error, the mean over detections of |score - precision| of their bins; `highest`
    the largest of a bin. `position_error` is D-ECE: the same over bins of score, place and size of the box.
    """

    edges: NDArray[np.float64]  # (B + 1,)
    counts: NDArray[np.int64]  # (B,)
    scores: NDArray[np.float64]  # (B,) mean score; NaN in empty bins
    precision: NDArray[np.float64]  # (B,) share of right ones; NaN in empty bins
    error: float
    highest: float
    position_error: float | None  # None where the images' sizes are not known

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values; None in empty bins."""
        return {
            "edges": self.edges.tolist(),
            "counts": self.counts.tolist(),
            "scores": [None if np.isnan(v) else v for v in self.scores.tolist()],
            "precision": [None if np.isnan(v) else v for v in self.precision.tolist()],
            "error": self.error,
            "highest": self.highest,
            "position_error": self.position_error,
        }


def measure_calibration(
    verdicts: Verdicts, *, num_bins: int = 10, position_bins: Sequence[int] = (5, 5, 5, 5), least: int = 8
) -> Calibration:
    """Over all detections that are right or wrong. position_bins: numbers of bins of the box's centre x, y, width and
    height, as parts of the image. Of those bins only the ones with at least `least` detections count.
    """
    rows = np.flatnonzero(verdicts.is_true | verdicts.is_false)
    scores, is_right = verdicts.table.scores[rows], verdicts.is_true[rows]
    if len(scores) and not 0 <= scores.min() <= scores.max() <= 1:
        raise DatasetError(
            f"the scores run from {scores.min():g} to {scores.max():g}; calibration needs probabilities from 0 to 1"
        )
    bins = _bin(scores, num_bins)
    counts = np.bincount(bins, minlength=num_bins)
    sums = np.bincount(bins, weights=scores, minlength=num_bins)
    right = np.bincount(bins, weights=is_right, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        mean, precision = sums / counts, right / counts
    gap = np.abs(mean - precision)
    return Calibration(
        edges=np.linspace(0, 1, num_bins + 1),
        counts=counts,
        scores=mean,
        precision=precision,
        error=_weighted_gap(gap, counts),
        highest=float(np.nanmax(gap, initial=0.0)),
        position_error=_position_error(verdicts, rows, bins, num_bins, position_bins, least),
    )


def _bin(values: NDArray[np.float64], number: int) -> NDArray[np.int64]:
    """Values in 0..1 -> bins [0, 1/number), ..., the last with its end."""
    return np.clip((values * number).astype(np.int64), 0, number - 1)


def _weighted_gap(gap: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    filled = counts > 0
    return float((gap[filled] * counts[filled]).sum() / counts.sum()) if filled.any() else 0.0


def _position_error(
    verdicts: Verdicts,
    rows: NDArray[np.int64],
    score_bins: NDArray[np.int64],
    num_bins: int,
    position_bins: Sequence[int],
    least: int,
) -> float | None:
    sizes = verdicts.ground_truth.image_sizes[verdicts.table.image[rows]]
    if not len(rows) or (sizes <= 0).any():
        return None
    boxes = verdicts.table.boxes_xywh[rows]
    scale = np.concatenate([sizes[:, ::-1], sizes[:, ::-1]], axis=1)
    places = np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], axis=1) / scale
    shape = (num_bins, *position_bins)
    bins = [_bin(places[:, d], number) for d, number in enumerate(position_bins)]
    cells = np.ravel_multi_index((score_bins, *bins), shape)
    counts = np.bincount(cells)
    scores = np.bincount(cells, weights=verdicts.table.scores[rows])
    right = np.bincount(cells, weights=verdicts.is_true[rows])
    enough = counts >= least
    gap = np.abs(scores - right)[enough]
    return float(gap.sum() / counts[enough].sum()) if enough.any() else 0.0
