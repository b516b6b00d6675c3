"""Detections as columns: from COCO results files, from arrays image by image, and back to files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.errors import DatasetError
from boxwright.evaluation.ground_truth import GroundTruth, Identity
from boxwright.evaluation.runs import Runs, join_runs, pack_rles, rles_of
from boxwright.json_file import collector_paused, read_json

KINDS = ("box", "mask", "keypoint")
_FIELD = {"box": "bbox", "mask": "segmentation", "keypoint": "keypoints"}


@dataclass(frozen=True, eq=False)
class DetectionTable:
    """n detections, sorted by image; those of one image in the order they came.

    `image` and `category` are positions in the ground truth's `image_ids` and `category_ids`. `area` is that of the
    box; where a file gives only masks or only keypoints, that of the mask or of the keypoints' extent.
    """

    image: NDArray[np.int32]  # (n,)
    category: NDArray[np.int32]  # (n,)
    scores: NDArray[np.float64]  # (n,)
    boxes_xywh: NDArray[np.float64]  # (n, 4)
    area: NDArray[np.float64]  # (n,)
    runs: Runs | None = None
    keypoints: NDArray[np.float64] | None = None  # (n, P, 2)
    kinds: tuple[str, ...] = ("box",)  # what the detections can be evaluated as
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.image)

    def take(self, rows: NDArray[Any] | slice) -> "DetectionTable":
        """Some rows by mask or position; a slice copies nothing."""
        return replace(
            self,
            image=self.image[rows],
            category=self.category[rows],
            scores=self.scores[rows],
            boxes_xywh=self.boxes_xywh[rows],
            area=self.area[rows],
            runs=None if self.runs is None else self.runs.take(rows),
            keypoints=None if self.keypoints is None else self.keypoints[rows],
        )

    def best_of_images(self, limit: int) -> NDArray[np.int64]:
        """Rows of the `limit` best detections of each image, in the table's order; of equal ones the first."""
        order = np.lexsort((-self.scores, self.image))
        begins = np.searchsorted(self.image[order], self.image[order])
        return np.sort(order[np.arange(len(self)) - begins < limit])

    def slices(self, size: int) -> Iterable["DetectionTable"]:
        """In parts of about `size` detections that never split an image."""
        ends = np.flatnonzero(np.diff(self.image)) + 1
        begin = 0
        while begin < len(self):
            after = int(np.searchsorted(ends, begin + size))
            end = int(ends[after]) if after < len(ends) else len(self)
            yield self.take(slice(begin, end))
            begin = end


def join_tables(parts: Sequence[DetectionTable]) -> DetectionTable:
    """Tables of different images -> one, sorted by image."""
    if not parts:
        integers, numbers = np.zeros(0, dtype=np.int32), np.zeros(0)
        return DetectionTable(integers, integers, numbers, np.zeros((0, 4)), area=numbers)
    masks = [part.runs for part in parts if part.runs is not None]
    points = [part.keypoints for part in parts if part.keypoints is not None]
    joined = replace(
        parts[0],
        image=np.concatenate([part.image for part in parts]),
        category=np.concatenate([part.category for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        boxes_xywh=np.concatenate([part.boxes_xywh for part in parts]),
        area=np.concatenate([part.area for part in parts]),
        runs=join_runs(masks) if len(masks) == len(parts) else None,
        keypoints=np.concatenate(points) if len(points) == len(parts) else None,
    )
    return _sorted_by_image(joined)


def checked_table(table: DetectionTable) -> DetectionTable:
    """A table in any order of images, whose numbers must be finite -> the same, sorted by image."""
    _check_finite("score", table.scores)
    _check_finite("bbox", table.boxes_xywh)
    if table.keypoints is not None:
        _check_finite("keypoints", table.keypoints)
    return _sorted_by_image(table)


def box_area(boxes_xywh: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 4) -> (n,). Boxes that are not finite are refused by `checked_table`."""
    with np.errstate(invalid="ignore"):
        area: NDArray[np.float64] = boxes_xywh[:, 2] * boxes_xywh[:, 3]
    return area


def _check_finite(name: str, values: NDArray[np.float64]) -> None:
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise DatasetError(f"detection number {row} has the {name} {values[row].tolist()}; expected finite numbers")


def _sorted_by_image(table: DetectionTable) -> DetectionTable:
    if len(table) < 2 or bool((np.diff(table.image) >= 0).all()):
        return table
    return table.take(np.argsort(table.image, kind="stable"))


def read_detections(source: str | Path | Sequence[dict[str, Any]], ground_truth: GroundTruth) -> DetectionTable:
    """A COCO results file, or its content, -> DetectionTable.

    The fields of the first record decide what the detections are, as in the official code. Detections in images or
    categories the ground truth does not list are left out and counted in `notes`.
    """
    is_file = isinstance(source, str | Path)
    name = str(source) if is_file else "the detections"
    records = read_json(source) if isinstance(source, str | Path) else source
    if isinstance(records, dict) and isinstance(records.get("annotations"), list):
        raise DatasetError(f"{name}: these are annotations, not results; results are a list of records with a score")
    if not isinstance(records, list | tuple):
        raise DatasetError(f"{name}: expected COCO results: a list of records with image_id, category_id and score")
    try:
        with collector_paused():
            return _read_records(records, ground_truth)
    except DatasetError as error:
        raise DatasetError(f"{name}: {error}") from error
    except KeyError as error:
        at = next((i for i, r in enumerate(records) if error.args[0] not in r), 0)
        raise DatasetError(f"{name}: record {at} has no {error.args[0]!r}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{name}: a record holds something else than it should: {error}") from error


def _read_records(records: Sequence[dict[str, Any]], ground_truth: GroundTruth) -> DetectionTable:
    image_index, category_index = ground_truth.image_index, ground_truth.category_index
    kinds = _kinds_of(records)
    image = np.array([image_index.get(r["image_id"], -1) for r in records], dtype=np.int32)
    category = np.array([category_index.get(r["category_id"], -1) for r in records], dtype=np.int32)
    known = (image >= 0) & (category >= 0)
    notes = _notes_on_unlisted(records, image, category)
    if not known.all():
        records = [record for record, is_known in zip(records, known.tolist(), strict=True) if is_known]
        image, category = image[known], category[known]
    runs = _runs(records, image, ground_truth) if "mask" in kinds else None
    keypoints = _keypoints(records) if "keypoint" in kinds else None
    boxes, area = _boxes_and_area(records, kinds, runs, keypoints)
    scores = np.array([r["score"] for r in records], dtype=np.float64)
    table = DetectionTable(image, category, scores, boxes, area, runs, keypoints, kinds, notes)
    return checked_table(table)


def _kinds_of(records: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    if not records:
        return KINDS
    kinds = tuple(kind for kind in KINDS if records[0].get(_FIELD[kind]))
    if not kinds:
        raise DatasetError("the first record has no bbox, segmentation or keypoints")
    return kinds


def _notes_on_unlisted(
    records: Sequence[dict[str, Any]], image: NDArray[np.int32], category: NDArray[np.int32]
) -> tuple[str, ...]:
    notes = []
    for name, index in (("image", image), ("category", category)):
        missing = int((index < 0).sum())
        if not missing:
            continue
        example = records[int(np.flatnonzero(index < 0)[0])][f"{name}_id"]
        if missing == len(records):
            raise DatasetError(
                f"no detection has a {name}_id of the annotations (the first is {example!r}); "
                "are these results of another data set, or the ids text in one file and numbers in the other?"
            )
        notes.append(f"{missing} detections have an unlisted {name}_id (like {example!r}): left out")
    return tuple(notes)


def _runs(records: Sequence[dict[str, Any]], image: NDArray[np.int32], ground_truth: GroundTruth) -> Runs:
    segmentations = [r["segmentation"] for r in records]
    if not all(isinstance(s, dict) and not isinstance(s["counts"], list) for s in segmentations):
        sizes = [(int(height), int(width)) for height, width in ground_truth.image_sizes[image]]
        segmentations = rles_of(segmentations, sizes, what="detection")
    return pack_rles(segmentations, what="detection")


def _keypoints(records: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    rows = [r["keypoints"] for r in records]
    lengths = {len(row) for row in rows}
    if len(lengths) > 1 or any(length % 3 for length in lengths):
        raise DatasetError("the detections have different numbers of keypoints; expected x, y, score for each keypoint")
    points = np.array(rows, dtype=np.float64).reshape(len(rows), -1, 3) if rows else np.zeros((0, 0, 3))
    return np.ascontiguousarray(points[:, :, :2])


def _boxes_and_area(
    records: Sequence[dict[str, Any]],
    kinds: tuple[str, ...],
    runs: Runs | None,
    keypoints: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As the official code takes them: the boxes given, else around the masks, else around the keypoints."""
    if "box" in kinds:
        boxes = [r["bbox"] for r in records]
        if not set(map(len, boxes)) <= {4}:
            index = [len(box) == 4 for box in boxes].index(False)
            raise DatasetError(f"record {index} has the bbox {boxes[index]}; expected x, y, width, height")
        flat = np.fromiter(chain.from_iterable(boxes), dtype=np.float64, count=4 * len(boxes))
        return flat.reshape(-1, 4), box_area(flat.reshape(-1, 4))
    if runs is not None:
        return runs.boxes_xywh, runs.area.astype(np.float64)
    assert keypoints is not None
    low, high = keypoints.min(axis=1), keypoints.max(axis=1)
    extents = np.concatenate([low, high - low], axis=1)
    return extents, box_area(extents)


def image_position(ground_truth: GroundTruth, image_id: Identity) -> int:
    """Where an image stands in `ground_truth.image_ids`; one that is not annotated is an error."""
    try:
        return ground_truth.image_index[image_id]
    except KeyError:
        raise DatasetError(
            f"image {image_id!r} is not among the {len(ground_truth.image_ids)} annotated images"
        ) from None
