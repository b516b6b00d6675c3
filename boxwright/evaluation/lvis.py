"""LVIS v1: categories are annotated in some images only, and some of those not exhaustively.

As the official code: the 300 best detections of an image over all categories are looked at; those of a category the
image was neither searched for nor has are left out; unmatched ones of a category that is not exhaustively annotated
count neither way.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.errors import DatasetError
from boxwright.evaluation.coco import detection_area, is_outside, scores_of
from boxwright.evaluation.detections import DetectionTable, read_detections
from boxwright.evaluation.ground_truth import Federated, GroundTruth, read_ground_truth
from boxwright.evaluation.matching import Tally
from boxwright.evaluation.protocol import LVIS
from boxwright.evaluation.result import Figures, Scores, figures_of
from boxwright.evaluation.similarity import Similarity

_CHUNK = 20_000


def evaluate_lvis(
    annotations: str | Path | dict[str, Any] | GroundTruth,
    detections: str | Path | Sequence[dict[str, Any]] | DetectionTable,
    *,
    kinds: Sequence[str] = ("box",),
) -> Scores:
    """An LVIS annotation file and a results file, or their contents -> Scores with AP of rare, common, frequent."""
    ground_truth = read_ground_truth(annotations)
    federated = ground_truth.federated
    if federated is None:
        raise DatasetError("the annotations have no neg_category_ids, so they are not LVIS; evaluate them as COCO")
    table = detections if isinstance(detections, DetectionTable) else read_detections(detections, ground_truth)
    table = _considered(table, ground_truth, federated)
    figures: dict[str, Figures] = {}
    for kind in kinds:
        if kind not in ("box", "mask"):
            raise DatasetError(f"LVIS has no evaluation of {kind!r}; expected box or mask")
        tally = _tally(ground_truth, kind)
        for part in table.slices(_CHUNK):
            unsure = np.isin(_keys(part.image, part.category, ground_truth), federated.not_exhaustive)
            tally.add(part, is_outside(detection_area(part, kind), LVIS) | unsure[:, None])
        figures[kind] = figures_of(tally, LVIS, ground_truth)
    return scores_of(figures, notes=ground_truth.notes + table.notes)


def _tally(ground_truth: GroundTruth, kind: str) -> Tally:
    """LVIS has no crowds; an annotation may be marked to be ignored instead."""
    return Tally(
        ground_truth=ground_truth,
        similarity=Similarity(kind),
        thresholds=LVIS.thresholds,
        limit=LVIS.limits[-1],
        ignored=is_outside(ground_truth.area, LVIS) | (ground_truth.is_difficult != 0)[:, None],
        is_crowd=np.zeros_like(ground_truth.is_crowd),
    )


def _considered(table: DetectionTable, ground_truth: GroundTruth, federated: Federated) -> DetectionTable:
    """The best detections of each image, without those of categories that the image was not searched for."""
    is_best = np.zeros(len(table), dtype=bool)
    is_best[table.best_of_images(LVIS.limits[-1])] = True
    present = _keys(ground_truth.image, ground_truth.category, ground_truth)
    keys = _keys(table.image, table.category, ground_truth)
    kept = is_best & (np.isin(keys, present) | np.isin(keys, federated.searched))
    return table if kept.all() else table.take(kept)


def _keys(image: NDArray[np.int32], category: NDArray[np.int32], ground_truth: GroundTruth) -> NDArray[np.int64]:
    return image.astype(np.int64) * len(ground_truth.category_ids) + category
