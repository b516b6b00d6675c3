"""Annotations as columns: what an evaluation compares with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.errors import DatasetError
from boxwright.evaluation.runs import Runs, pack_rles, rles_of
from boxwright.json_file import read_json

Identity = int | str


@dataclass(frozen=True)
class Federated:
    """What LVIS knows beyond boxes: of which categories an image was searched, and how thoroughly."""

    searched: NDArray[np.int64]  # sorted image * K + category: looked for and absent
    not_exhaustive: NDArray[np.int64]  # sorted image * K + category: present, but not every one is annotated
    frequency: tuple[str, ...]  # (K,) "r", "c" or "f"


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """G annotations of I images in K categories, sorted by image, then category; equal ones in the file's order.

    `image` and `category` are positions in `image_ids` and `category_ids`, both sorted. Boxes are x, y, width, height
    in the original image, as the files hold them.
    """

    image_ids: tuple[Identity, ...]
    image_sizes: NDArray[np.int32]  # (I, 2) height, width; 0 where the file does not say
    image_files: tuple[str, ...]  # file names, "" where the file does not say
    category_ids: tuple[int, ...]
    category_names: tuple[str, ...]
    ids: NDArray[np.int64]  # (G,)
    image: NDArray[np.int32]  # (G,)
    category: NDArray[np.int32]  # (G,)
    boxes_xywh: NDArray[np.float64]  # (G, 4)
    area: NDArray[np.float64]  # (G,) as annotated: of the mask where there is one
    is_crowd: NDArray[np.uint8]  # (G,)
    is_difficult: NDArray[np.uint8]  # (G,) `difficult` or `ignore` of the file
    keypoints: NDArray[np.float64] | None = None  # (G, P, 3) x, y, visibility
    num_keypoints: NDArray[np.int64] | None = None  # (G,) as annotated
    federated: Federated | None = None
    notes: tuple[str, ...] = ()  # what a reader of the numbers should know about the file
    segmentations: tuple[Any, ...] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.image)

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """(I + 1,): image i has the annotations first[i]:first[i + 1]."""
        return np.searchsorted(self.image, np.arange(len(self.image_ids) + 1)).astype(np.int64)

    @cached_property
    def image_index(self) -> dict[Identity, int]:
        """Id of an image -> its position in `image_ids`."""
        return {image_id: index for index, image_id in enumerate(self.image_ids)}

    @cached_property
    def category_index(self) -> dict[int, int]:
        """Id of a category -> its position in `category_ids`."""
        return {category_id: index for index, category_id in enumerate(self.category_ids)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Category names, made unique where the file repeats one."""
        repeated = {name for name in self.category_names if self.category_names.count(name) > 1}
        pairs = zip(self.category_names, self.category_ids, strict=True)
        return tuple(f"{name} ({number})" if name in repeated else name for name, number in pairs)

    @cached_property
    def runs(self) -> Runs:
        """The masks, packed at the first use."""
        segmentations = self.segmentations
        if segmentations is None or any(segmentation is None for segmentation in segmentations):
            missing = 0 if segmentations is None else [s is None for s in segmentations].index(True)
            raise DatasetError(
                f"annotation {self.ids[missing] if len(self) else '?'} has no segmentation, so masks cannot be "
                "evaluated; evaluate boxes only, or take annotations with masks"
            )
        sizes = [(int(height), int(width)) for height, width in self.image_sizes[self.image]]
        return pack_rles(rles_of(segmentations, sizes, what="annotation"), what="annotation")


def read_ground_truth(source: "str | Path | dict[str, Any] | GroundTruth") -> GroundTruth:
    """A COCO annotation file, or its content, -> GroundTruth. The extra fields of LVIS and VOC are kept."""
    if isinstance(source, GroundTruth):
        return source
    name = "the annotations" if isinstance(source, dict) else str(source)
    content = source if isinstance(source, dict) else read_json(source)
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in _LISTS):
        raise DatasetError(f"{name}: expected COCO annotations: an object with the lists {', '.join(_LISTS)}")
    try:
        return _build(content)
    except KeyError as error:
        raise DatasetError(f"{name}: {_first_without(content, str(error.args[0]))}") from error
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, DatasetError):
            raise DatasetError(f"{name}: {error}") from error
        raise DatasetError(f"{name}: a field holds something else than it should: {error}") from error


ID_ZERO = "an annotation has id 0: like the official code, a detection matched to it counts as wrong"
_LISTS = ("images", "annotations", "categories")


def _first_without(content: dict[str, Any], key: str) -> str:
    for name in _LISTS:
        for index, item in enumerate(content[name]):
            if key in _REQUIRED[name] and key not in item:
                return f"{name}[{index}] has no {key!r}"
    return f"a record has no {key!r}"


_REQUIRED = {"images": ("id",), "annotations": ("id", "image_id", "category_id", "bbox"), "categories": ("id",)}


def _build(content: dict[str, Any]) -> GroundTruth:
    images = _sorted_unique(content["images"], "image")
    categories = _sorted_unique(content["categories"], "category")
    image_index = {image["id"]: index for index, image in enumerate(images)}
    category_index = {category["id"]: index for index, category in enumerate(categories)}
    listed, notes = _listed_annotations(content["annotations"], image_index, category_index)
    image = np.array([image_index[a["image_id"]] for a in listed], dtype=np.int32)
    category = np.array([category_index[a["category_id"]] for a in listed], dtype=np.int32)
    order = np.lexsort((category, image))
    listed = [listed[i] for i in order]
    boxes = _boxes(listed)
    keypoints, num_keypoints = _keypoints(listed)
    return GroundTruth(
        image_ids=tuple(image["id"] for image in images),
        image_sizes=_sizes(images),
        image_files=tuple(str(image.get("file_name", "")) for image in images),
        category_ids=tuple(category["id"] for category in categories),
        category_names=tuple(str(category.get("name", category["id"])) for category in categories),
        ids=np.array([a["id"] for a in listed], dtype=np.int64),
        image=image[order],
        category=category[order],
        boxes_xywh=boxes,
        area=_areas(listed, boxes, notes),
        is_crowd=np.array([bool(a.get("iscrowd", 0)) for a in listed], dtype=np.uint8),
        is_difficult=np.array([bool(a.get("difficult", a.get("ignore", 0))) for a in listed], dtype=np.uint8),
        keypoints=keypoints,
        num_keypoints=num_keypoints,
        federated=federated_of(images, categories, category_index),
        notes=tuple(notes),
        segmentations=tuple(a.get("segmentation") for a in listed),
    )


def _sorted_unique(records: Sequence[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    """By id. Of records with the same id the last counts, as in the official code."""
    by_id = {record["id"]: record for record in records}
    try:
        return [by_id[identity] for identity in sorted(by_id)]
    except TypeError as error:
        raise DatasetError(f"the {what} ids mix text and numbers; write them all in one way") from error


def _listed_annotations(
    annotations: Sequence[dict[str, Any]], images: dict[Identity, int], categories: dict[int, int]
) -> tuple[list[dict[str, Any]], list[str]]:
    listed = [a for a in annotations if a["image_id"] in images and a["category_id"] in categories]
    notes = []
    if len(listed) < len(annotations):
        notes.append(
            f"{len(annotations) - len(listed)} annotations name an image or category that is not listed: left out"
        )
    ids = [a["id"] for a in listed]
    if len(set(ids)) < len(ids):
        seen: set[int] = set()
        repeated = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise DatasetError(f"the annotation id {repeated} is used more than once; number the annotations from 1")
    if 0 in ids:
        notes.append(ID_ZERO)
    return listed, notes


def _boxes(listed: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    for annotation in listed:
        if len(annotation["bbox"]) != 4:
            raise DatasetError(f"annotation {annotation['id']} has the bbox {annotation['bbox']}; expected 4 numbers")
    boxes = np.array([a["bbox"] for a in listed], dtype=np.float64).reshape(-1, 4)
    need_finite_boxes(boxes, [a["id"] for a in listed])
    return boxes


def need_finite_boxes(boxes: NDArray[np.float64], ids: Sequence[int] | NDArray[np.int64], *, source: str = "") -> None:
    """A DatasetError that names the first of the (G, 4) boxes, by its id, with a value that is no finite number."""
    strange = np.flatnonzero(~np.isfinite(boxes).all(axis=1))
    if len(strange):
        row = int(strange[0])
        place = f"{source}: annotation" if source else "annotation"
        raise DatasetError(f"{place} {ids[row]} has the bbox {boxes[row].tolist()}; expected finite numbers")


def _areas(listed: Sequence[dict[str, Any]], boxes: NDArray[np.float64], notes: list[str]) -> NDArray[np.float64]:
    missing = sum("area" not in a for a in listed)
    if missing:
        notes.append(f"{missing} annotations have no area: width times height of the box is taken")
    box_areas = (boxes[:, 2] * boxes[:, 3]).tolist()
    return np.array([a.get("area", b) for a, b in zip(listed, box_areas, strict=True)], dtype=np.float64)


def _sizes(images: Sequence[dict[str, Any]]) -> NDArray[np.int32]:
    sizes = [(image.get("height") or 0, image.get("width") or 0) for image in images]
    return np.array(sizes, dtype=np.int32).reshape(-1, 2)


def _keypoints(listed: Sequence[dict[str, Any]]) -> tuple[NDArray[np.float64] | None, NDArray[np.int64] | None]:
    """Categories without keypoints get invisible ones: they ask for nothing."""
    rows = [a.get("keypoints") for a in listed]
    lengths = {len(row) for row in rows if row}
    if not lengths:
        return None, None
    if len(lengths) > 1 or lengths == {0} or min(lengths) % 3:
        counts = " and ".join(f"{length / 3:g}" for length in sorted(lengths))
        raise DatasetError(f"the annotations have {counts} keypoints; evaluate one skeleton at a time")
    (length,) = lengths
    values = np.array([row or [0] * length for row in rows], dtype=np.float64).reshape(len(rows), -1, 3)
    visible = (values[:, :, 2] > 0).sum(axis=1).tolist()
    given = [a.get("num_keypoints", v) for a, v in zip(listed, visible, strict=True)]
    return values, np.array(given, dtype=np.int64)


def federated_of(
    images: Sequence[Mapping[str, Any]], categories: Sequence[Mapping[str, Any]], category_index: Mapping[int, int]
) -> Federated | None:
    """What the fields of LVIS say, of images and categories in the order of their ids; None where there are none."""
    if not any("neg_category_ids" in image for image in images):
        return None

    def keys(name: str) -> NDArray[np.int64]:
        pairs = [
            place * len(categories) + category_index[category]
            for place, image in enumerate(images)
            for category in image.get(name, ())
            if category in category_index
        ]
        return np.unique(np.array(pairs, dtype=np.int64))

    return Federated(
        searched=keys("neg_category_ids"),
        not_exhaustive=keys("not_exhaustive_category_ids"),
        frequency=tuple(str(category.get("frequency", "")) for category in categories),
    )
