"""Which category is taken for which."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.verdicts import Verdicts, judge_detections
from boxwright.ops.dispatch import on_host


@dataclass(frozen=True, eq=False)
class Confusion:
    """counts[i, j]: annotations of category i found as category j. Row K: detections of nothing that is annotated;
    column K: annotations nobody found.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]  # (K + 1, K + 1)
    score_threshold: float
    threshold: float  # IoU

    @property
    def shares(self) -> NDArray[np.float64]:
        """(K + 1, K + 1) each row divided by its sum."""
        total = self.counts.sum(axis=1, keepdims=True)
        shares: NDArray[np.float64] = self.counts / np.maximum(total, 1)
        return shares

    def most_confused(self, count: int = 10) -> list[tuple[str, str, int]]:
        """(annotated as, found as, how often), the most frequent first."""
        between = self.counts[:-1, :-1] * (1 - np.eye(len(self.names), dtype=np.int64))
        order = np.argsort(-between, axis=None, kind="stable")[:count]
        pairs = [divmod(int(i), len(self.names)) for i in order]
        return [(self.names[i], self.names[j], int(between[i, j])) for i, j in pairs if between[i, j]]

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {
            "names": list(self.names),
            "counts": self.counts.tolist(),
            "score_threshold": self.score_threshold,
            "threshold": self.threshold,
        }


def confusion_matrix(verdicts: Verdicts, *, score_threshold: float = 0.3) -> Confusion:
    """Of the detections with at least `score_threshold`: first those of the right category take their annotations, as
    in the COCO evaluation, then the others take what is left, by falling IoU.
    """
    truth = verdicts.ground_truth
    table = verdicts.table.take(verdicts.table.scores >= score_threshold)
    kept = judge_detections(
        truth,
        table,
        kind=verdicts.similarity.kind,
        threshold=verdicts.threshold,
        sigmas=verdicts.similarity.sigmas or None,
    )
    detection, annotation = _taken_for_others(kept)
    is_stray = kept.is_false.copy()
    is_stray[detection] = False
    is_missed = kept.is_wanted & (kept.finder < 0)
    is_missed[annotation] = False
    nothing = len(truth.category_ids)
    annotated, found = truth.category, table.category
    cells = (
        (annotated[kept.matched[kept.is_true]], found[kept.is_true]),
        (annotated[annotation], found[detection]),
        (np.full(is_stray.sum(), nothing), found[is_stray]),
        (annotated[is_missed], np.full(is_missed.sum(), nothing)),
    )
    counts = np.zeros((nothing + 1, nothing + 1), dtype=np.int64)
    for rows, columns in cells:
        counts += np.bincount(rows * np.int64(nothing + 1) + columns, minlength=counts.size).reshape(counts.shape)
    return Confusion(truth.names, counts, score_threshold, verdicts.threshold)


def _taken_for_others(kept: Verdicts) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Pairs of a false detection and an annotation of another category that nobody found."""
    rows = np.flatnonzero(kept.is_false)
    pairs = kept.similarity.pairs(
        kept.table, rows, kept.ground_truth, floor=min(kept.threshold, 1 - 1e-10), same_class=False
    )
    is_free = kept.is_wanted & (kept.finder < 0)
    detection = rows[pairs.detection()]
    order = np.lexsort((detection, -pairs.similarity))
    order = order[is_free[pairs.annotation[order]]]
    detection, annotation = detection[order], pairs.annotation[order]
    sizes = len(kept.table), len(kept.ground_truth)
    taken = on_host("coco_match").cover_annotations(detection, annotation, *sizes)
    return detection[taken], annotation[taken]
