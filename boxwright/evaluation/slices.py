"""AP of the small and the large, the narrow and the wide, and of images with few and with many objects."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.coco import coco_tally, detection_area
from boxwright.evaluation.detections import DetectionTable
from boxwright.evaluation.ground_truth import GroundTruth
from boxwright.evaluation.matching import Tally
from boxwright.evaluation.protocol import coco_protocol

# Borders belong to the bucket above. Sizes are the root of the area, in pixels; shapes width divided by height.
SIZES = (("under 16", 16), ("16 to 32", 32), ("32 to 96", 96), ("96 to 288", 288), ("over 288", np.inf))
SHAPES = (("under 1:3", 1 / 3), ("1:3 to 2:3", 2 / 3), ("2:3 to 3:2", 3 / 2), ("3:2 to 3:1", 3), ("over 3:1", np.inf))
CROWDS = (("1 to 4", 5), ("5 to 9", 10), ("10 to 19", 20), ("20 and more", np.inf))


@dataclass(frozen=True)
class Slice:
    """The figures of one bucket; -1 without annotations in it. AP asks for COCO's ten thresholds."""

    by: str  # size, shape or crowdedness
    name: str
    num_annotations: int
    ap: float
    ap50: float
    recall: float  # mean over thresholds and categories of the highest recall

    def to_dict(self) -> dict[str, Any]:
        """The fields by their names."""
        return asdict(self)


def slice_ap(
    ground_truth: GroundTruth,
    table: DetectionTable,
    *,
    kind: str = "box",
    sigmas: Sequence[float] | None = None,
) -> list[Slice]:
    """As with COCO's areas, annotations outside a bucket are neither asked for nor wrong to find, and a detection that
    matches nothing counts only in the bucket it lies in itself. Crowdedness is the number of annotated objects of the
    image.
    """
    in_image = np.bincount(ground_truth.image[ground_truth.is_crowd == 0], minlength=len(ground_truth.image_ids))
    measures = {
        "size": (SIZES, np.sqrt(ground_truth.area), np.sqrt(detection_area(table, kind))),
        "shape": (SHAPES, _shape(ground_truth.boxes_xywh), _shape(table.boxes_xywh)),
        "crowdedness": (CROWDS, in_image[ground_truth.image], in_image[table.image]),
    }
    return [
        part
        for by, (buckets, annotated, found) in measures.items()
        for part in _slices(ground_truth, table, kind, sigmas, by, buckets, annotated, found)
    ]


def _shape(boxes_xywh: NDArray[np.float64]) -> NDArray[np.float64]:
    return boxes_xywh[:, 2] / np.maximum(boxes_xywh[:, 3], 1e-9)


def _slices(
    ground_truth: GroundTruth,
    table: DetectionTable,
    kind: str,
    sigmas: Sequence[float] | None,
    by: str,
    buckets: Sequence[tuple[str, float]],
    annotated: NDArray[Any],
    found: NDArray[Any],
) -> list[Slice]:
    edges, places = [edge for _, edge in buckets[:-1]], np.arange(len(buckets))
    outside = np.digitize(annotated, edges)[:, None] != places
    base = coco_tally(ground_truth, kind, sigmas=sigmas)
    protocol = coco_protocol(kind)
    tally = Tally(
        ground_truth=ground_truth,
        similarity=base.similarity,
        thresholds=protocol.thresholds,
        limit=protocol.limits[-1],
        ignored=outside | (base.ignored[:, :1] != 0),
    )
    tally.add(table, np.digitize(found, edges)[:, None] != places)
    curves = tally.curves(protocol.recalls, np.array(protocol.limits[-1:], dtype=np.int64))
    numbers = tally.num_wanted().sum(axis=0).tolist()
    return [
        Slice(
            by=by,
            name=name,
            num_annotations=numbers[a],
            ap=_mean(curves.precision[:, :, :, a]),
            ap50=_mean(curves.precision[:1, :, :, a]),
            recall=_mean(curves.recall[:, :, a]),
        )
        for a, (name, _) in enumerate(buckets)
    ]


def _mean(cells: NDArray[np.float64]) -> float:
    counted = cells[cells > -1]
    return float(counted.mean()) if counted.size else -1.0
