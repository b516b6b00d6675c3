"""The COCO evaluation: streamed image by image, or of a whole results file. Equal to the official code's numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boxwright.errors import DatasetError, ShapeError
from boxwright.evaluation.detections import (
    KINDS,
    DetectionTable,
    box_area,
    checked_table,
    image_position,
    join_tables,
    read_detections,
)
from boxwright.evaluation.ground_truth import GroundTruth, Identity, read_ground_truth
from boxwright.evaluation.matching import Tally
from boxwright.evaluation.protocol import Protocol, coco_protocol
from boxwright.evaluation.result import Figures, Scores, Timing, figures_of
from boxwright.evaluation.runs import pack_rles
from boxwright.evaluation.similarity import similarity_for
from boxwright.types import Detections

_CHUNK = 20_000  # detections matched at once: large enough that calls cost nothing, small enough to stay in cache
_CHUNK_BYTES = 2**24  # or so much text of masks, so that memory does not depend on how ragged they are


def coco_tally(
    ground_truth: GroundTruth, kind: str, *, sigmas: Sequence[float] | None = None, protocol: Protocol | None = None
) -> Tally:
    """An empty tally with COCO's areas, thresholds and limits for a kind: box, mask or keypoint."""
    protocol = protocol or coco_protocol(kind)
    ignored = is_outside(ground_truth.area, protocol)
    if kind == "keypoint" and ground_truth.num_keypoints is not None:
        ignored |= (ground_truth.num_keypoints == 0)[:, None]
    if kind == "mask":
        _ = ground_truth.runs  # a missing or damaged mask is told before the work, not in the middle
    return Tally(
        ground_truth=ground_truth,
        similarity=similarity_for(kind, ground_truth, sigmas),
        thresholds=protocol.thresholds,
        limit=protocol.limits[-1],
        ignored=ignored,
    )


def is_outside(area: NDArray[np.float64], protocol: Protocol) -> NDArray[np.bool_]:
    """(N,) areas -> (N, A)."""
    low, high = protocol.area_bounds().T
    outside: NDArray[np.bool_] = (area[:, None] < low) | (area[:, None] > high)
    return outside


def add_to_tally(tally: Tally, table: DetectionTable, protocol: Protocol) -> None:
    """Whole images of detections; those outside an area range that match nothing do not count in it."""
    for part in table.slices(_CHUNK):
        tally.add(part, is_outside(detection_area(part, tally.similarity.kind), protocol))


def detection_area(table: DetectionTable, kind: str) -> NDArray[np.float64]:
    """(n,) the area that decides which range a detection belongs to: of its mask for masks, else `table.area`."""
    if kind == "mask" and table.runs is not None:
        return table.runs.area.astype(np.float64)
    return table.area


def evaluate_coco(
    annotations: str | Path | dict[str, Any] | GroundTruth,
    detections: str | Path | Sequence[dict[str, Any]] | DetectionTable,
    *,
    kinds: Sequence[str] | None = None,
    sigmas: Sequence[float] | None = None,
) -> Scores:
    """A COCO annotation file and a results file, or their contents -> Scores.

    Without `kinds` the detections are evaluated as all that they and the annotations hold.
    """
    ground_truth = read_ground_truth(annotations)
    table = detections if isinstance(detections, DetectionTable) else read_detections(detections, ground_truth)
    figures: dict[str, Figures] = {}
    for kind in kinds_to_evaluate(ground_truth, table, kinds):
        protocol = coco_protocol(kind)
        tally = coco_tally(ground_truth, kind, sigmas=sigmas)
        add_to_tally(tally, table, protocol)
        figures[kind] = figures_of(tally, protocol, ground_truth)
    return scores_of(figures, notes=ground_truth.notes + table.notes)


def scores_of(figures: dict[str, Figures], *, timing: Timing | None = None, notes: tuple[str, ...] = ()) -> Scores:
    """Figures by kind -> Scores."""
    box, mask, keypoint = (figures.get(kind) for kind in KINDS)
    return Scores(box=box, mask=mask, keypoint=keypoint, timing=timing, notes=notes)


def kinds_to_evaluate(
    ground_truth: GroundTruth, table: DetectionTable, asked: Sequence[str] | None = None
) -> tuple[str, ...]:
    """What can be compared, in the order box, mask, keypoint; what is asked for and cannot be is an error."""
    if asked is None:
        return tuple(kind for kind in table.kinds if _is_annotated(ground_truth, kind)) or ("box",)
    for kind in asked:
        if kind not in KINDS:
            raise DatasetError(f"there is no evaluation of {kind!r}; expected {', '.join(KINDS)}")
        if kind not in table.kinds and kind != "box":
            raise DatasetError(f"the detections have no {kind}s; they have {', '.join(table.kinds)}")
    return tuple(kind for kind in KINDS if kind in asked)


def _is_annotated(ground_truth: GroundTruth, kind: str) -> bool:
    if kind == "mask":
        segmentations = ground_truth.segmentations
        return segmentations is not None and all(segmentation is not None for segmentation in segmentations)
    return kind == "box" or ground_truth.keypoints is not None


class Evaluator:
    """Takes detections image by image and gives the figures at the end, holding a few numbers a detection.

        evaluator = Evaluator(read_ground_truth("val.json"), kinds=("box", "mask"))
        for image_id, detections in stream:
            evaluator.add_detections(image_id, detections)
        print(evaluator.result())

    Images that are never added count as images without detections. `keep` holds the detections too, for `table()`
    and the analyses that need their boxes. `category_ids[label]` names the category of a model's label; without it
    label i is the i-th category in order of ids.
    """

    def __init__(
        self,
        ground_truth: GroundTruth,
        *,
        kinds: Sequence[str] = ("box",),
        category_ids: Sequence[int] | None = None,
        sigmas: Sequence[float] | None = None,
        keep: bool = False,
    ) -> None:
        self.ground_truth = ground_truth
        self.tallies = {kind: coco_tally(ground_truth, kind, sigmas=sigmas) for kind in KINDS if kind in kinds}
        if len(self.tallies) != len(set(kinds)):
            raise DatasetError(f"the kinds are {', '.join(kinds)}; expected some of {', '.join(KINDS)}")
        self._categories = _category_positions(ground_truth, category_ids)
        self._buffer: list[tuple[int, NDArray[Any], NDArray[Any], NDArray[Any], Any, Any]] = []
        self._buffered = self._buffered_bytes = 0
        self._seen: set[int] = set()
        self._kept: list[DetectionTable] | None = [] if keep else None

    def add(
        self,
        image_id: Identity,
        *,
        boxes_xywh: NDArray[Any],
        scores: ArrayLike,
        labels: ArrayLike,
        rles: Sequence[Any] | None = None,
        keypoints: NDArray[Any] | None = None,
    ) -> None:
        """One image: (n, 4), (n,), (n,) 0-based, n COCO RLEs, (n, P, 2 or 3), in the original image."""
        position = image_position(self.ground_truth, image_id)
        if position in self._seen:
            raise DatasetError(f"image {image_id!r} was added before; add all detections of an image at once")
        values, classes = np.asarray(scores), np.asarray(labels)
        _check_lengths(image_id, len(boxes_xywh), scores=values, labels=classes, rles=rles, keypoints=keypoints)
        for kind, name, column in (("mask", "rles", rles), ("keypoint", "keypoints", keypoints)):
            if kind in self.tallies and column is None and len(values):
                raise ShapeError(f"image {image_id!r} has no {name}, but {kind}s are evaluated; give one per box")
        if classes.size and not 0 <= int(classes.min()) <= int(classes.max()) < len(self._categories):
            raise ShapeError(
                f"image {image_id!r} has labels up to {classes.max()}; there are {len(self._categories)} classes"
            )
        self._seen.add(position)
        self._buffer.append((position, boxes_xywh, values, classes, rles, keypoints))
        self._buffered += len(values)
        if "mask" in self.tallies and rles is not None:
            self._buffered_bytes += sum(len(rle["counts"]) for rle in rles)
        if self._buffered >= _CHUNK or self._buffered_bytes >= _CHUNK_BYTES:
            self._flush()

    def add_detections(self, image_id: Identity, detections: Detections, *, keypoint_offset: float = 0.0) -> None:
        """One image's Detections. keypoint_offset is added to x and y: -0.5 where a model's keypoints are points of
        the plane and the annotations are pixel numbers.
        """
        boxes = detections.boxes.numpy(force=True).astype(np.float64)
        segments = detections.segments if "mask" in self.tallies else None
        points = None
        if detections.keypoints is not None and "keypoint" in self.tallies:
            points = detections.keypoints.numpy(force=True)[:, :, :2].astype(np.float64) + keypoint_offset
        self.add(
            image_id,
            boxes_xywh=np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1),
            scores=detections.scores.numpy(force=True),
            labels=detections.labels.numpy(force=True),
            rles=None if segments is None else segments.rles(),
            keypoints=points,
        )

    def result(self, timing: Timing | None = None) -> Scores:
        """The figures of all images added so far; more may be added after."""
        self._flush()
        figures = {
            kind: figures_of(tally, coco_protocol(kind), self.ground_truth) for kind, tally in self.tallies.items()
        }
        return scores_of(figures, timing=timing, notes=self.ground_truth.notes)

    @property
    def num_images(self) -> int:
        """How many were added."""
        return len(self._seen)

    def table(self) -> DetectionTable:
        """All detections added; needs `keep=True`."""
        self._flush()
        if self._kept is None:
            raise DatasetError("the detections were not kept; make the Evaluator with keep=True")
        return join_tables(self._kept)

    def state(self) -> dict[str, Any]:
        """What this evaluator has seen, for another process to `absorb`."""
        self._flush()
        tallies = {kind: tally.columns() for kind, tally in self.tallies.items()}
        return {"seen": sorted(self._seen), "tallies": tallies, "kept": self._kept}

    def absorb(self, state: dict[str, Any]) -> None:
        """Adds what an evaluator of other images of the same ground truth and kinds has seen."""
        self._flush()
        if twice := self._seen.intersection(state["seen"]):
            image_id = self.ground_truth.image_ids[min(twice)]
            raise DatasetError(f"image {image_id!r} was added by two processes; give each image to one of them")
        self._seen.update(state["seen"])
        for kind, tally in self.tallies.items():
            tally.absorb(state["tallies"][kind])
        if self._kept is not None:
            self._kept += state["kept"]

    def _flush(self) -> None:
        if not self._buffer:
            return
        table = self._buffered_table()
        for kind, tally in self.tallies.items():
            add_to_tally(tally, table, coco_protocol(kind))
        if self._kept is not None:
            self._kept.append(table)
        self._buffer = []
        self._buffered = self._buffered_bytes = 0

    def _buffered_table(self) -> DetectionTable:
        positions, boxes, scores, labels, rles, keypoints = zip(*self._buffer, strict=True)
        lengths = [len(part) for part in scores]
        points = [part[:, :, :2] for part in keypoints if part is not None and len(part)]
        masks = [rle for part in rles if part is not None for rle in part]
        if "keypoint" in self.tallies:  # or there might be nothing to join
            points.append(np.zeros((0, len(self.tallies["keypoint"].similarity.sigmas), 2)))
        boxes_xywh = np.concatenate([np.reshape(part, (-1, 4)) for part in boxes]).astype(np.float64)
        table = DetectionTable(
            image=np.repeat(np.array(positions, dtype=np.int32), lengths),
            category=self._categories[np.concatenate(labels).astype(np.int64)],
            scores=np.concatenate(scores).astype(np.float64),
            boxes_xywh=boxes_xywh,
            area=box_area(boxes_xywh),
            runs=pack_rles(masks, what="detection") if "mask" in self.tallies else None,
            keypoints=np.concatenate(points).astype(np.float64) if "keypoint" in self.tallies else None,
            kinds=tuple(self.tallies),
        )
        return checked_table(table)


def _check_lengths(image_id: Identity, count: int, **columns: Any) -> None:
    for name, column in columns.items():
        if column is not None and len(column) != count:
            raise ShapeError(f"image {image_id!r} has {count} boxes and {len(column)} {name}")


def _category_positions(ground_truth: GroundTruth, category_ids: Sequence[int] | None) -> NDArray[np.int32]:
    """(number of labels,): the position of each label's category."""
    if category_ids is None:
        return np.arange(len(ground_truth.category_ids), dtype=np.int32)
    unknown = [c for c in category_ids if c not in ground_truth.category_index]
    if unknown:
        raise DatasetError(
            f"category id {unknown[0]!r} is not annotated; the annotations have {_shortened(ground_truth.category_ids)}"
        )
    return np.array([ground_truth.category_index[c] for c in category_ids], dtype=np.int32)


def _shortened(values: Sequence[int]) -> str:
    shown = ", ".join(str(value) for value in values[:10])
    return shown if len(values) <= 10 else f"{shown} and {len(values) - 10} more"
