"""What kinds of errors cost AP, in the manner of TIDE (Bolya et al., "TIDE: A General Toolbox for Identifying Object
Detection Errors", ECCV 2020): every false detection and every missed annotation has one kind, and the worth of a kind
is the AP50 that mending all errors of it would give back.

False detections, tried in this order, with IoU thresholds t_b = 0.1 and t_f = 0.5:

    localisation    right category, t_b <= IoU <= t_f
    classification  wrong category, IoU >= t_f
    duplicate       right category, IoU >= t_f, but a better detection has the annotation
    background      IoU <= t_b with everything
    both            wrong category and IoU between t_b and t_f

A missed annotation is one that was not found and that no localisation or classification error points to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.detections import DetectionTable
from boxwright.evaluation.ground_truth import GroundTruth
from boxwright.evaluation.verdicts import Verdicts, judge_detections

KINDS_OF_ERROR = ("classification", "localisation", "both", "duplicate", "background", "missed")
_CLS, _LOC, _BOTH, _DUPE, _BKG, _MISS = range(6)
_NONE = -1


@dataclass(frozen=True, eq=False)
class ErrorReport:
    """AP50 and, by kind of error, how many there are and what mending them gives back, as fractions of 1."""

    ap50: float
    gain: dict[str, float]
    counts: dict[str, int]
    gain_without_false_positives: float  # every false detection last
    gain_without_false_negatives: float  # every annotation that was not found struck off
    per_class: dict[str, dict[str, int]]  # category name -> counts by kind
    kind_of_detection: NDArray[np.int8]  # (n,) position in KINDS_OF_ERROR, -1 for none
    missed: NDArray[np.int64]  # annotations with the error "missed"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without those of single detections and annotations."""
        return {
            "ap50": self.ap50,
            "gain": self.gain,
            "counts": self.counts,
            "gain_without_false_positives": self.gain_without_false_positives,
            "gain_without_false_negatives": self.gain_without_false_negatives,
            "per_class": self.per_class,
        }


@dataclass(frozen=True, eq=False)
class _Ranking:
    """Detections with the category and score they are ranked by, which of them are true, annotations by category."""

    category: NDArray[np.int32]
    scores: NDArray[np.float64]
    is_true: NDArray[np.bool_]
    wanted: NDArray[np.int64]  # (K,)


def find_errors(
    ground_truth: GroundTruth,
    detections: DetectionTable,
    *,
    kind: str = "box",
    foreground: float = 0.5,
    background: float = 0.1,
    limit: int = 100,
) -> ErrorReport:
    """Of the `limit` best detections of each image; those on crowds are no errors."""
    looked_at = detections.best_of_images(limit)
    table = detections.take(looked_at)
    verdicts = judge_detections(ground_truth, table, kind=kind, threshold=foreground, limit=limit)
    errors, target = _classify(verdicts, foreground, background)
    points = np.isin(errors, (_CLS, _LOC))
    is_missed = verdicts.is_wanted & (verdicts.finder < 0)
    is_missed[target[points]] = False
    ranking = _Ranking(table.category, table.scores, verdicts.is_true, verdicts.num_wanted)
    counted = verdicts.is_true | verdicts.is_false
    ap50 = _mean_ap(ranking, counted, verdicts.num_wanted)
    mended = {name: _mend(verdicts, ranking, errors, target, is_missed, e) for e, name in enumerate(KINDS_OF_ERROR)}
    gain = {name: max(_mean_ap(*state, verdicts.num_wanted) - ap50, 0.0) for name, state in mended.items()}
    last = _Ranking(ranking.category, np.where(ranking.is_true, 1.0, 0.0), ranking.is_true, ranking.wanted)
    unfound = verdicts.count_by_category(ground_truth.category[verdicts.is_wanted & (verdicts.finder < 0)])
    found = _Ranking(ranking.category, ranking.scores, ranking.is_true, ranking.wanted - unfound)
    per_class = _count_by_class(verdicts, errors, is_missed)
    kind_of_detection = np.full(len(detections), _NONE, dtype=np.int8)
    kind_of_detection[looked_at] = errors
    return ErrorReport(
        ap50=ap50,
        gain=gain,
        counts={name: sum(row[name] for row in per_class.values()) for name in KINDS_OF_ERROR},
        gain_without_false_positives=_mean_ap(last, counted, verdicts.num_wanted) - ap50,
        gain_without_false_negatives=_mean_ap(found, counted, verdicts.num_wanted) - ap50,
        per_class=per_class,
        kind_of_detection=kind_of_detection,
        missed=np.flatnonzero(is_missed),
    )


def _classify(verdicts: Verdicts, foreground: float, background: float) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """(n,) the kind of error of each detection, (n,) the annotation that a wrong place or category points to."""
    truth, table = verdicts.ground_truth, verdicts.table
    rows = np.flatnonzero(verdicts.is_false)
    pairs = verdicts.similarity.pairs(table, rows, truth, floor=background * (1 - 1e-9), same_class=False)
    detection = rows[pairs.detection()]
    keep = verdicts.is_wanted[pairs.annotation]
    detection, annotation, iou = detection[keep], pairs.annotation[keep], pairs.similarity[keep]
    is_same = truth.category[annotation] == table.category[detection]
    same, same_at = _highest(detection[is_same], annotation[is_same], iou[is_same], len(table))
    other, other_at = _highest(detection[~is_same], annotation[~is_same], iou[~is_same], len(table))
    any_iou = np.maximum(same, other)
    errors = np.full(len(table), _NONE, dtype=np.int8)
    errors[rows] = _BOTH
    errors[verdicts.is_false & (any_iou <= background)] = _BKG
    errors[verdicts.is_false & (same >= foreground)] = _DUPE  # a free annotation would have made it true
    errors[verdicts.is_false & (other >= foreground)] = _CLS
    errors[verdicts.is_false & (background <= same) & (same <= foreground)] = _LOC
    return errors, np.where(errors == _LOC, same_at, other_at)


def _highest(
    detection: NDArray[np.int64], annotation: NDArray[np.int32], iou: NDArray[np.float64], n: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(n,) the highest IoU of each detection, 0 without any, and (n,) its annotation, of equal ones the first."""
    highest, at = np.zeros(n), np.full(n, -1, dtype=np.int64)
    order = np.lexsort((annotation, -iou, detection))
    _, firsts = np.unique(detection[order], return_index=True)
    chosen = order[firsts]
    highest[detection[chosen]] = iou[chosen]
    at[detection[chosen]] = annotation[chosen]
    return highest, at


def _mend(
    verdicts: Verdicts,
    ranking: _Ranking,
    errors: NDArray[np.int8],
    target: NDArray[np.int64],
    is_missed: NDArray[np.bool_],
    kind: int,
) -> tuple[_Ranking, NDArray[np.bool_]]:
    """The ranking with one kind of error mended, and which detections stay in it."""
    counted = verdicts.is_true | verdicts.is_false
    if kind == _MISS:
        struck = verdicts.count_by_category(verdicts.ground_truth.category[is_missed])
        return _Ranking(ranking.category, ranking.scores, ranking.is_true, ranking.wanted - struck), counted
    is_mended = errors == kind
    stays = counted & ~is_mended
    is_true, category = ranking.is_true.copy(), ranking.category.copy()
    if kind in (_CLS, _LOC):
        rows = _best_claims(verdicts, errors, target)
        rows = rows[errors[rows] == kind]
        stays[rows] = is_true[rows] = True
        category[rows] = verdicts.ground_truth.category[target[rows]]
    return _Ranking(category, ranking.scores, is_true, ranking.wanted), stays


def _best_claims(verdicts: Verdicts, errors: NDArray[np.int8], target: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of the errors that point to an annotation without a match, the one with the best score on each."""
    rows = np.flatnonzero(np.isin(errors, (_CLS, _LOC)))
    rows = rows[verdicts.finder[target[rows]] < 0]
    rows = rows[np.lexsort((rows, -verdicts.table.scores[rows]))]
    _, firsts = np.unique(target[rows], return_index=True)
    return rows[firsts]


def _mean_ap(ranking: _Ranking, counted: NDArray[np.bool_], annotated: NDArray[np.int64]) -> float:
    """Mean AP over the categories with annotations, from 101 recalls as COCO's; a category with none left has AP 0."""
    rows = np.flatnonzero(counted)
    rows = rows[np.lexsort((-ranking.scores[rows], ranking.category[rows]))]
    first = np.searchsorted(ranking.category[rows], np.arange(len(annotated) + 1))
    wanted = ranking.wanted.tolist()
    is_true = ranking.is_true[rows]
    values = [
        average_precision(is_true[first[k] : first[k + 1]], wanted[k]) for k in np.flatnonzero(annotated).tolist()
    ]
    return float(np.mean(values)) if values else 0.0


def average_precision(is_true: NDArray[np.bool_], wanted: int) -> float:
    """Detections in order of falling score -> mean of the precision at recall 0, 0.01, ... 1, raised as COCO does."""
    if not wanted or not len(is_true):
        return 0.0
    hits = np.cumsum(is_true)
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / wanted, np.linspace(0.0, 1.0, 101), side="left")
    return float(precision[at[at < len(precision)]].sum() / 101)


def _count_by_class(
    verdicts: Verdicts, errors: NDArray[np.int8], is_missed: NDArray[np.bool_]
) -> dict[str, dict[str, int]]:
    """False detections count for the category they were given, missed annotations for their own."""
    categories = [verdicts.table.category[errors == e] for e in range(_MISS)]
    categories.append(verdicts.ground_truth.category[is_missed])
    counts = np.stack([verdicts.count_by_category(category) for category in categories], axis=1)
    rows: Sequence[Sequence[int]] = counts.tolist()
    names = verdicts.ground_truth.names
    return {name: dict(zip(KINDS_OF_ERROR, row, strict=True)) for name, row in zip(names, rows, strict=True)}
