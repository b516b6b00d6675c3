"""What became of each detection and each annotation at one IoU threshold: the base of every analysis."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.detections import DetectionTable
from boxwright.evaluation.ground_truth import GroundTruth
from boxwright.evaluation.protocol import coco_protocol
from boxwright.evaluation.similarity import Similarity, similarity_for
from boxwright.ops.dispatch import on_host

_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Verdicts:
    """COCO's matching over all areas. A detection that is neither true nor false is on a crowd or beyond the limit.

    The n detections are those of `table`, the G annotations those of `ground_truth`.
    """

    ground_truth: GroundTruth
    table: DetectionTable
    similarity: Similarity
    threshold: float
    is_true: NDArray[np.bool_]  # (n,)
    is_false: NDArray[np.bool_]  # (n,)
    matched: NDArray[np.int32]  # (n,) the annotation, also an ignored one, or -1
    is_wanted: NDArray[np.bool_]  # (G,) annotations that count: no crowds, nothing without keypoints for keypoints

    @cached_property
    def finder(self) -> NDArray[np.int64]:
        """(G,) the detection that is true on each annotation, or -1."""
        finder = np.full(len(self.ground_truth), -1, dtype=np.int64)
        rows = np.flatnonzero(self.is_true)
        finder[self.matched[rows]] = rows
        return finder

    @cached_property
    def num_wanted(self) -> NDArray[np.int64]:
        """(K,) annotations that count."""
        return self.count_by_category(self.ground_truth.category[self.is_wanted])

    def count_by_category(self, category: NDArray[np.int32]) -> NDArray[np.int64]:
        """Positions of categories -> (K,) how often each comes."""
        return np.bincount(category, minlength=len(self.ground_truth.category_ids))

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Rows by category, then falling score, equal scores by image."""
        return np.lexsort((-self.table.scores, self.table.category))

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """(K + 1,): category k has the rows order[first[k]:first[k + 1]]."""
        bounds = np.arange(len(self.ground_truth.category_ids) + 1)
        return np.searchsorted(self.table.category[self.order], bounds).astype(np.int64)


def judge_detections(
    ground_truth: GroundTruth,
    table: DetectionTable,
    *,
    kind: str = "box",
    threshold: float = 0.5,
    limit: int | None = None,
    sigmas: Sequence[float] | None = None,
) -> Verdicts:
    """Matches as the COCO evaluation does. `limit`: detections looked at of an image and category; default COCO's."""
    similarity = similarity_for(kind, ground_truth, sigmas)
    limit = coco_protocol(kind).limits[-1] if limit is None else limit
    is_wanted = ground_truth.is_crowd == 0
    if kind == "keypoint" and ground_truth.num_keypoints is not None:
        is_wanted &= ground_truth.num_keypoints > 0
    num_categories = len(ground_truth.category_ids)
    rows, _ = on_host("coco_match").group_detections(table.image, table.category, table.scores, limit, num_categories)
    pairs = similarity.pairs(table, rows, ground_truth, floor=min(threshold, 1 - 1e-10))
    ignored = np.ascontiguousarray(~is_wanted[:, None], dtype=np.uint8)
    true, false, matched = on_host("coco_match").match_detections(
        pairs.first,
        pairs.annotation,
        pairs.similarity,
        np.array([threshold]),
        np.zeros(ignored.shape, dtype=np.int32),
        ground_truth.is_crowd,
        ignored,
        np.zeros(len(ground_truth), dtype=np.uint8),
        np.zeros((len(rows), 1), dtype=np.uint8),
    )
    return Verdicts(
        ground_truth=ground_truth,
        table=table,
        similarity=similarity,
        threshold=threshold,
        is_true=_scattered(rows, true[:, 0] != 0, np.zeros(len(table), dtype=bool)),
        is_false=_scattered(rows, false[:, 0] != 0, np.zeros(len(table), dtype=bool)),
        matched=_scattered(rows, matched, np.full(len(table), -1, dtype=np.int32)),
        is_wanted=is_wanted,
    )


def _scattered(rows: NDArray[np.int64], values: NDArray[_T], into: NDArray[_T]) -> NDArray[_T]:
    into[rows] = values
    return into
