"""Readers hand images and objects over one by one; the builder keeps growing columns and sorts them at the end."""

import json
import os
import zlib
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.data.annotations import (
    CROWD,
    DIFFICULT,
    TRUNCATED,
    UNUSABLE,
    Annotations,
    Category,
    ImageInfo,
    ObjectInfo,
)
from boxwright.data.array_file import Arrays
from boxwright.data.columns import Texts, narrow, offsets, pack_decimals
from boxwright.data.packed_rings import pack_rings
from boxwright.data.problems import Problems
from boxwright.types import Segment


class AnnotationsBuilder:
    """Objects may come in any order; `image` of an object is the number that `add_image` returned."""

    def __init__(self, *, num_keypoints: int = 0) -> None:
        self.num_keypoints = num_keypoints
        self._keys: list[int | str] = []
        self._files: list[bytes] = []
        self._image_extra: list[bytes] = []
        self._heights, self._widths = array("i"), array("i")
        self._image_of = array("q")
        self._labels, self._flags = array("i"), array("B")
        self._boxes, self._areas, self._object_ids = array("d"), array("d"), array("q")
        self._object_extra: list[bytes] = []
        self._ring_counts, self._point_counts, self._points = array("i"), array("i"), array("d")
        self._rle_of, self._rle_sizes = array("i"), array("i")
        self._runs: list[bytes] = []
        self._keypoint_of, self._keypoints = array("i"), array("d")

    def add_image(self, info: ImageInfo) -> int:
        """-> its number, counted from 0."""
        self._keys.append(info.id)
        self._files.append(os.fsencode(info.file_name))
        self._heights.append(info.size[0])
        self._widths.append(info.size[1])
        self._image_extra.append(_plain(info.extra))
        return len(self._keys) - 1

    def add_object(self, image: int, info: ObjectInfo) -> None:
        """Its keypoints, if there are any, must be those of all K names."""
        self._image_of.append(image)
        self._labels.append(info.label)
        self._boxes.extend(info.box_xywh)
        self._flags.append(CROWD * info.is_crowd | DIFFICULT * info.is_difficult | TRUNCATED * info.is_truncated)
        self._areas.append(np.nan if info.area is None else info.area)
        self._object_ids.append(-1 if info.id is None else info.id)
        self._object_extra.append(_plain(info.extra))
        self._add_segment(info.segment)
        self._add_keypoints(info.keypoints)

    def _add_segment(self, segment: Segment | None) -> None:
        rings = segment if isinstance(segment, list) else ()
        self._ring_counts.append(len(rings))
        for ring in rings:
            self._point_counts.append(len(ring))
            self._points.frombytes(np.asarray(ring, dtype=np.float64).tobytes())
        self._rle_of.append(len(self._runs) if isinstance(segment, dict) else -1)
        if isinstance(segment, dict):
            self._rle_sizes.extend(segment["size"])
            self._runs.append(segment["counts"])

    def _add_keypoints(self, keypoints: NDArray[np.float64] | None) -> None:
        if keypoints is None or not self.num_keypoints:
            self._keypoint_of.append(-1)
            return
        self._keypoint_of.append(len(self._keypoints) // (3 * self.num_keypoints))
        self._keypoints.frombytes(np.asarray(keypoints, dtype=np.float64).tobytes())

    def build(
        self,
        *,
        source: str,
        image_root: str,
        categories: Sequence[Category],
        problems: Problems | None = None,
        document: dict[str, Any] | None = None,
        format: str = "coco",
    ) -> Annotations:
        """All that was added so far; `source` is the file or folder that it was read from."""
        return Annotations(
            source=source,
            image_root=image_root,
            categories=tuple(categories),
            columns=self.columns(),
            document=document or {},
            problems=tuple(problem.plain() for problem in problems or ()),
            format=format,
        )

    def columns(self) -> Arrays:
        """Objects by image, in the order they came; those with an empty or non-finite box are UNUSABLE."""
        image_of = _numbers(self._image_of, np.int64)
        order = np.argsort(image_of, kind="stable")
        first = offsets(np.bincount(image_of, minlength=len(self._keys)))
        boxes = _numbers(self._boxes, np.float64).reshape(-1, 4)[order]
        usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        columns: Arrays = {
            "height": _numbers(self._heights, np.int32),
            "width": _numbers(self._widths, np.int32),
            "first": first,
            "label": _numbers(self._labels, np.int32)[order],
            "flags": _numbers(self._flags, np.uint8)[order] | np.where(usable, 0, UNUSABLE).astype(np.uint8),
            "box": pack_decimals(boxes),
            "area": _numbers(self._areas, np.float64)[order],
            "object_id": _numbers(self._object_ids, np.int64)[order],
            **self._run_lengths(order),
            **self._keypoint_rows(order),
            **self._rings(order, first),
            **self._texts(order),
        }
        if all(isinstance(key, int) for key in self._keys):
            columns["image_id"] = np.array(self._keys, dtype=np.int64)
        return {
            name: narrow(column) if np.issubdtype(column.dtype, np.integer) else column
            for name, column in columns.items()
        }

    def _run_lengths(self, order: NDArray[np.int64]) -> Arrays:
        """The rows that have some, in order, and theirs: those of a crowd are long, and two thirds of it compressed."""
        which = _numbers(self._rle_of, np.int64)[order]
        rows = np.flatnonzero(which >= 0)
        runs = Texts.pack([zlib.compress(self._runs[index]) for index in which[rows].tolist()])
        sizes = _numbers(self._rle_sizes, np.int64).reshape(-1, 2)[which[rows]]
        return {"rle_row": rows, "rle_size": sizes, "runs.blob": runs.blob, "runs.first": runs.first}

    def _keypoint_rows(self, order: NDArray[np.int64]) -> Arrays:
        """The rows that have some, in order, and theirs."""
        which = _numbers(self._keypoint_of, np.int64)[order]
        rows = np.flatnonzero(which >= 0)
        points = _numbers(self._keypoints, np.float64).reshape(-1 if self.num_keypoints else 0, self.num_keypoints, 3)
        return {"keypoint_row": rows, "keypoints": pack_decimals(points[which[rows]])}

    def _rings(self, order: NDArray[np.int64], first: NDArray[np.int64]) -> Arrays:
        """Rings stay in the order they came in where that is already sorted, as in most files; else they are moved."""
        counts, lengths = _numbers(self._ring_counts, np.int64), _numbers(self._point_counts, np.int64)
        points = _numbers(self._points, np.float64)
        if not np.array_equal(order, np.arange(len(order))):
            rings = _moved_rows(offsets(counts), order)
            points = points[_moved_rows(offsets(lengths), rings)]
            counts, lengths = counts[order], lengths[rings]
        return pack_rings(points, lengths=lengths, rings=counts, first=first)

    def _texts(self, order: NDArray[np.int64]) -> Arrays:
        texts = {
            "file": self._files,
            "image_extra": self._image_extra,
            "object_extra": [self._object_extra[row] for row in order.tolist()],
            "key": [] if all(isinstance(key, int) for key in self._keys) else [str(key).encode() for key in self._keys],
        }
        columns: Arrays = {}
        for name, values in texts.items():
            packed = Texts.pack(values)
            columns |= {f"{name}.blob": packed.blob, f"{name}.first": packed.first}
        return columns


def _moved_rows(first: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of unequal length, to be laid out in `order`: the position of each of their elements."""
    lengths = np.diff(first)[order]
    starts = offsets(lengths)[:-1]
    return np.repeat(first[:-1][order] - starts, lengths) + np.arange(int(lengths.sum()))


def _numbers(values: "array[Any]", dtype: Any) -> NDArray[Any]:
    return np.array(np.frombuffer(values, dtype=values.typecode), dtype=dtype) if len(values) else np.empty(0, dtype)


def _plain(extra: dict[str, Any] | None) -> bytes:
    return json.dumps(extra, separators=(",", ":")).encode() if extra else b""
