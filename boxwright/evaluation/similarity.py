"""How alike a detection and an annotation are: IoU of boxes, IoU of masks, similarity of keypoints (OKS)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwright.errors import DatasetError
from boxwright.evaluation.detections import DetectionTable
from boxwright.evaluation.ground_truth import GroundTruth
from boxwright.ops.dispatch import on_host

# How far people stray when they mark each of the 17 points of a person, as the COCO challenge published it.
COCO_SIGMAS = tuple(
    sigma / 10
    for sigma in (0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89)
)


@dataclass(frozen=True)
class Pairs:
    """Detections and annotations of one image that are at least `floor` alike: i has first[i]:first[i + 1]."""

    first: NDArray[np.int64]  # (n + 1,)
    annotation: NDArray[np.int32]  # (P,)
    similarity: NDArray[np.float64]  # (P,)

    def detection(self) -> NDArray[np.int64]:
        """(P,): the detection of each pair."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))


@dataclass(frozen=True)
class Similarity:
    """What is compared, and for keypoints the sigmas: one per keypoint."""

    kind: str
    sigmas: tuple[float, ...] = ()

    def pairs(
        self,
        table: DetectionTable,
        rows: NDArray[np.int64],
        ground_truth: GroundTruth,
        *,
        floor: float,
        same_class: bool = True,
        is_crowd: NDArray[np.uint8] | None = None,
    ) -> Pairs:
        """Pairs of the detections table[rows], which are grouped by image (and category, with `same_class`)."""
        image, category = table.image[rows], table.category[rows]
        crowd = ground_truth.is_crowd if is_crowd is None else is_crowd
        annotations = ground_truth.first, ground_truth.category
        match self.kind:
            case "box":
                boxes = table.boxes_xywh[rows]
                found = on_host("coco_match").box_pairs(
                    image, category, boxes, *annotations, ground_truth.boxes_xywh, crowd, floor, same_class
                )
            case "mask":
                if table.runs is None:
                    raise DatasetError("the detections have no masks; evaluate boxes, or keep the masks")
                annotated = ground_truth.runs
                masks = table.runs.arrays(), *annotations, annotated.arrays(), annotated.lengths
                found = on_host("coco_runs").mask_pairs(image, category, rows, *masks, crowd, floor, same_class)
            case _:
                found = self._keypoint_pairs(table, rows, ground_truth, floor)
        return Pairs(*found)

    def _keypoint_pairs(
        self, table: DetectionTable, rows: NDArray[np.int64], ground_truth: GroundTruth, floor: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        if table.keypoints is None:
            raise DatasetError("the detections have no keypoints; evaluate boxes, or keep the keypoints")
        points = table.keypoints[rows]
        if len(table) and points.shape[1] != len(self.sigmas):
            raise DatasetError(
                f"the detections have {points.shape[1]} keypoints, but there are {len(self.sigmas)} sigmas; "
                "give one sigma per keypoint"
            )
        points = points.reshape(len(rows), len(self.sigmas), 2)
        annotated = ground_truth.keypoints
        assert annotated is not None  # checked by `similarity_for`
        first, annotation, part, distance = on_host("coco_runs").keypoint_distances(
            table.image[rows],
            table.category[rows],
            points,
            ground_truth.first,
            ground_truth.category,
            annotated,
            ground_truth.boxes_xywh,
            ground_truth.area,
            (np.array(self.sigmas) * 2) ** 2,
        )
        # The exponential is NumPy's, on contiguous values: other libraries round some of them differently.
        return on_host("coco_runs").keep_similar(first, annotation, part, np.exp(-distance), floor)  # type: ignore[no-any-return]


def similarity_for(kind: str, ground_truth: GroundTruth, sigmas: Sequence[float] | None = None) -> Similarity:
    """Similarity for a kind, after checking that the ground truth can be compared so."""
    if kind != "keypoint":
        return Similarity(kind)
    if ground_truth.keypoints is None:
        raise DatasetError("the annotations have no keypoints; evaluate boxes or masks")
    wanted = ground_truth.keypoints.shape[1]
    if sigmas is None and wanted != len(COCO_SIGMAS):
        raise DatasetError(
            f"the annotations have {wanted} keypoints and COCO's sigmas are for {len(COCO_SIGMAS)}; "
            f"give {wanted} sigmas of your own"
        )
    chosen = tuple(float(sigma) for sigma in (COCO_SIGMAS if sigmas is None else sigmas))
    if len(chosen) != wanted:
        raise DatasetError(f"there are {len(chosen)} sigmas for {wanted} annotated keypoints; give one per keypoint")
    return Similarity(kind, chosen)
