"""Checks of the annotations' numbers: boxes, polygons, keypoints, classes. Boxes are tested as columns, all at once."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from boxwright.data.annotations import Annotations
from boxwright.data.columns import unpack_decimals
from boxwright.data.problems import Problems
from boxwright.geometry.masks import segment_box
from boxwright.geometry.rings import ring_area, self_intersections
from boxwright.types import Segment, Size

SLACK = 1.0  # pixels beyond a border or box that are taken for rounding
LEAST_AGREEMENT = 0.5  # IoU of a box and the box around its mask
KEYPOINT_MARGIN = 0.1  # of the box's sides: people's hands leave their boxes a little


def check_objects(split: str, annotations: Annotations, problems: Problems) -> None:
    """Adds to `problems` wrong boxes, masks and keypoints of a split, and objects that are there twice."""
    images = np.repeat(np.arange(len(annotations)), np.diff(annotations.columns["first"]))
    boxes = unpack_decimals(annotations.columns["box"])
    for kind, row, detail in (
        *_check_boxes(annotations, images, boxes),
        *_check_copies(annotations, images, boxes),
        *_check_masks(annotations, images, boxes),
        *_check_keypoints(annotations, images, boxes),
    ):
        image = int(images[row])
        place = _object_place(annotations, image, row)
        problems.add(kind, place, detail, split=split, image=image, object=row)


def _object_place(annotations: Annotations, image: int, row: int) -> str:
    """As a person would look it up: the picture, which of its objects, the object's id where it has one."""
    key = int(annotations.columns["object_id"][row])
    name = annotations.image(image).file_name
    return f"{name}: object[{row - annotations.rows(image)[0]}]" + (f" (id {key})" if key >= 0 else "")


Finding = tuple[str, int, str]  # kind, row, detail


def _check_boxes(annotations: Annotations, images: NDArray[np.int64], boxes: NDArray[np.float64]) -> Iterator[Finding]:
    finite = np.isfinite(boxes).all(axis=1)
    empty = finite & (boxes[:, 2:] <= 0).any(axis=1)
    limits = np.stack((annotations.columns["width"][images], annotations.columns["height"][images]), axis=1)
    with np.errstate(invalid="ignore"):
        ends = boxes[:, :2] + boxes[:, 2:]
        outside = finite & ~empty & ((boxes[:, :2] < -SLACK) | (ends > limits + SLACK)).any(axis=1)
    for kind, rows in (("nan_box", ~finite), ("empty_box", empty), ("outside_box", outside)):
        for row in np.flatnonzero(rows).tolist():
            detail = f"x, y, width, height {boxes[row].tolist()}"
            if kind == "outside_box":
                detail += f"; the image is {limits[row, 0]} wide, {limits[row, 1]} high"
            yield kind, row, detail


def _check_copies(annotations: Annotations, images: NDArray[np.int64], boxes: NDArray[np.float64]) -> Iterator[Finding]:
    """The second of two objects with the same image, class and box, unless their masks differ too."""
    rows = np.column_stack((images, annotations.columns["label"], np.nan_to_num(boxes)))
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    for row in np.flatnonzero(first[inverse.reshape(-1)] != np.arange(len(rows))).tolist():
        begin = annotations.rows(int(images[row])).start
        other = int(first[inverse.reshape(-1)[row]]) - begin
        segments = annotations.segments(int(images[row]))
        if _same_segment(segments[row - begin], segments[other]):
            yield "duplicate_object", row, f"the same as object[{other}]"


def _same_segment(a: Segment | None, b: Segment | None) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b if isinstance(a, dict) == isinstance(b, dict) else False


def _check_masks(annotations: Annotations, images: NDArray[np.int64], boxes: NDArray[np.float64]) -> Iterator[Finding]:
    segments = (segment for image in range(len(annotations)) for segment in annotations.segments(image))
    for row, segment in enumerate(segments):
        if segment is None:
            continue
        size = annotations.size(int(images[row]))
        if isinstance(segment, list):
            yield from ((kind, row, detail) for kind, detail in _ring_faults(segment, size))
        if np.isfinite(boxes[row]).all() and (boxes[row, 2:] > 0).all():
            agreement = _overlap(boxes[row], np.array(segment_box(segment, size)))
            if agreement < LEAST_AGREEMENT:
                yield "mask_without_box", row, f"IoU of the box and the mask's extent is {agreement:.2f}"


def _ring_faults(rings: list[NDArray[np.float64]], size: Size) -> Iterator[tuple[str, str]]:
    for number, ring in enumerate(rings):
        points = ring.reshape(-1, 2)
        if abs(ring_area(ring)) < 1:
            yield "tiny_polygon", f"polygon {number} has an area of {abs(ring_area(ring)):.2f}"
        if (points < -SLACK).any() or (points > (size[1] + SLACK, size[0] + SLACK)).any():
            x, y = points.min(axis=0), points.max(axis=0)
            yield "outside_polygon", f"polygon {number} runs from {x.tolist()} to {y.tolist()}"
        crossings = self_intersections(ring)
        if crossings:
            yield "crossing_polygon", f"polygon {number} crosses itself {crossings} times"


def _overlap(box_xywh: NDArray[np.float64], extent: NDArray[np.float64]) -> float:
    low = np.maximum(box_xywh[:2], extent[:2])
    high = np.minimum(box_xywh[:2] + box_xywh[2:], extent[2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    union = float(np.prod(box_xywh[2:]) + np.prod(extent[2:] - extent[:2])) - common
    return common / union if union > 0 else 0.0


def _check_keypoints(
    annotations: Annotations, images: NDArray[np.int64], boxes: NDArray[np.float64]
) -> Iterator[Finding]:
    rows, points = annotations.columns["keypoint_row"], unpack_decimals(annotations.columns["keypoints"])
    xy, labelled = points[..., :2], points[..., 2] > 0
    box = boxes[rows][:, None]
    with np.errstate(invalid="ignore"):
        margin = box[..., 2:] * KEYPOINT_MARGIN + SLACK
        off_box = (xy < box[..., :2] - margin).any(-1) | (xy > box[..., :2] + box[..., 2:] + margin).any(-1)
    sizes = np.stack((annotations.columns["width"][images[rows]], annotations.columns["height"][images[rows]]), axis=1)
    off_image = ((xy < 0) | (xy > sizes[:, None])).any(-1)
    found = labelled & (off_box | off_image)
    for at in np.flatnonzero(found.any(axis=1)).tolist():
        names = [
            annotations.keypoint_names[k] if annotations.keypoint_names else str(k) for k in np.flatnonzero(found[at])
        ]
        yield "outside_keypoints", int(rows[at]), f"{', '.join(names[:4])} outside the box by more than a tenth"


def check_classes(splits: Mapping[str, Annotations], problems: Problems) -> None:
    """Classes that no split has an object of."""
    for name in dict.fromkeys(name for annotations in splits.values() for name in annotations.class_names):
        used = any(
            name in annotations.class_names
            and (annotations.columns["label"] == annotations.class_names.index(name)).any()
            for annotations in splits.values()
        )
        if not used:
            sources = ", ".join(annotations.source for annotations in splits.values())
            problems.add("unused_category", sources, f"class {name!r} has no object")
