"""Matches detections with annotations as they come and keeps a few numbers of each: the base of every figure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwright.errors import DatasetError
from boxwright.evaluation.detections import DetectionTable
from boxwright.evaluation.ground_truth import GroundTruth
from boxwright.evaluation.similarity import Similarity
from boxwright.ops.dispatch import on_host


@dataclass(frozen=True)
class Curves:
    """The arrays of the official evaluation; -1 where a category has no annotation that counts."""

    precision: NDArray[np.float64]  # (T, R, K, A, M) at each recall
    recall: NDArray[np.float64]  # (T, K, A, M) the highest
    scores: NDArray[np.float64]  # (T, R, K, A, M) at each recall


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What became of every detection, by category, then falling score, equal scores by image and rank in it.

    The flags of T thresholds are the bits of one integer, bit t for threshold t. A detection with neither flag is
    ignored there: matched to a crowd or to an annotation outside the range, or itself outside.
    """

    first: NDArray[np.int64]  # (K + 1,): category k has first[k]:first[k + 1]
    image: NDArray[np.int32]  # (n,)
    category: NDArray[np.int32]  # (n,)
    scores: NDArray[np.float64]  # (n,)
    rank: NDArray[np.int32]  # (n,) place among the detections of its image and category
    true_positive: NDArray[np.int32]  # (n, A) bits
    false_positive: NDArray[np.int32]  # (n, A) bits
    matched: NDArray[np.int32]  # (n,) annotation at the loosest threshold and first range, or -1

    def __len__(self) -> int:
        return len(self.image)

    def is_true(self, threshold: int, area: int = 0) -> NDArray[np.bool_]:
        """(n,) whether each detection is a true positive at a threshold, by position."""
        return (self.true_positive[:, area] >> threshold & 1).astype(bool)

    def is_false(self, threshold: int, area: int = 0) -> NDArray[np.bool_]:
        """(n,) whether each is a false positive there; some are neither."""
        return (self.false_positive[:, area] >> threshold & 1).astype(bool)


_COLUMNS = ("image", "category", "scores", "rank", "true_positive", "false_positive", "matched")


class Tally:
    """Takes detections image by image, in any order; memory grows by some 60 bytes a detection, whatever it carries."""

    def __init__(
        self,
        *,
        ground_truth: GroundTruth,
        similarity: Similarity,
        thresholds: NDArray[np.float64],  # (T,) ascending
        limit: int,  # detections of an image and category beyond it are dropped
        ignored: NDArray[np.bool_],  # (G, A) annotations that count neither way
        is_crowd: NDArray[np.uint8] | None = None,  # (G,) in place of the ground truth's
    ) -> None:
        if not 0 < len(thresholds) <= 31 or bool((np.diff(thresholds) < 0).any()) or thresholds[0] <= 0:
            raise DatasetError(
                f"the IoU thresholds are {thresholds.tolist()}; expected 1 to 31 in ascending order, above 0"
            )
        crowd = ground_truth.is_crowd if is_crowd is None else is_crowd
        self.ground_truth = ground_truth
        self.similarity = similarity
        self.thresholds = np.ascontiguousarray(thresholds, dtype=np.float64)
        self.limit = limit
        self.is_crowd = crowd
        self.ignored = np.ascontiguousarray(ignored | (crowd[:, None] != 0), dtype=np.uint8)
        self._nameless = (ground_truth.ids == 0).astype(np.uint8)
        self._taken = np.zeros(self.ignored.shape, dtype=np.int32)
        self._parts: list[tuple[NDArray[np.generic], ...]] = []
        self._outcomes: Outcomes | None = None

    def add(self, table: DetectionTable, outside: NDArray[np.bool_]) -> None:
        """Whole images, each once. outside (n, A): where an unmatched detection counts neither way."""
        self._outcomes = None
        order, rank = on_host("coco_match").group_detections(
            table.image, table.category, table.scores, self.limit, len(self.ground_truth.category_ids)
        )
        floor = min(float(self.thresholds[0]), 1 - 1e-10)
        pairs = self.similarity.pairs(table, order, self.ground_truth, floor=floor, is_crowd=self.is_crowd)
        flags = on_host("coco_match").match_detections(
            pairs.first,
            pairs.annotation,
            pairs.similarity,
            self.thresholds,
            self._taken,
            self.is_crowd,
            self.ignored,
            self._nameless,
            np.ascontiguousarray(outside[order], dtype=np.uint8),
        )
        self._parts.append((table.image[order], table.category[order], table.scores[order], rank, *flags))

    def outcomes(self) -> Outcomes:
        """What became of all detections that were added so far."""
        if self._outcomes is None:
            self._outcomes = self._ordered()
        return self._outcomes

    def columns(self) -> tuple[NDArray[np.generic], ...]:
        """What was matched so far, for the tally of another process to `absorb`."""
        outcomes = self.outcomes()
        return tuple(getattr(outcomes, name) for name in _COLUMNS)

    def absorb(self, columns: tuple[NDArray[np.generic], ...]) -> None:
        """Adds what a tally of other images of the same ground truth has matched."""
        self._outcomes = None
        self._parts.append(columns)

    def _ordered(self) -> Outcomes:
        num_ranges = self.ignored.shape[1]
        integers = np.zeros(0, np.int32)
        flags = np.zeros((0, num_ranges), np.int32)
        empty = integers, integers, np.zeros(0), integers, flags, flags, integers
        columns = [np.concatenate(column) for column in zip(empty, *self._parts, strict=True)]
        num_images, num_categories = len(self.ground_truth.image_ids), len(self.ground_truth.category_ids)
        order, first = on_host("coco_match").order_by_category(*columns[:3], num_images, num_categories)
        columns = [column[order] for column in columns]
        self._parts = [tuple(columns)]
        return Outcomes(first, *columns)

    def num_wanted(self) -> NDArray[np.int64]:
        """(K, A): annotations that count."""
        num_categories = len(self.ground_truth.category_ids)
        category = self.ground_truth.category
        counts = [np.bincount(category[column == 0], minlength=num_categories) for column in self.ignored.T]
        return np.ascontiguousarray(np.stack(counts, axis=1), dtype=np.int64)

    def curves(self, recalls: NDArray[np.float64], limits: NDArray[np.int64]) -> Curves:
        """Precision at (R,) recalls, of the best detections up to each of (M,) limits."""
        outcomes = self.outcomes()
        arrays = on_host("coco_match").accumulate_curves(
            outcomes.first,
            outcomes.scores,
            outcomes.rank,
            outcomes.true_positive,
            outcomes.false_positive,
            self.num_wanted(),
            len(self.thresholds),
            recalls,
            limits,
        )
        return Curves(*arrays)
