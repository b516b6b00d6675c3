"""COCO JSON: instances, keypoints and LVIS v1, which is the same with a few more fields."""

import math
import os
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.data.annotations import Annotations, Category, ImageInfo, ObjectInfo
from boxwright.data.formats.builder import AnnotationsBuilder
from boxwright.data.image import image_size, is_possible
from boxwright.data.outlines import reaches_far
from boxwright.data.problems import Problems
from boxwright.errors import DatasetError, ImageError, ShapeError
from boxwright.geometry.keypoints import flip_pairs_from_names
from boxwright.geometry.run_lengths import checked_counts
from boxwright.json_file import read_json_object
from boxwright.types import Polygons, Rle, Segment, Size

NAMES_TRIED = 20  # some of the pictures may be missing
_IMAGE_FIELDS = frozenset({"id", "file_name", "height", "width"})
_OBJECT_FIELDS = frozenset(
    {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "keypoints", "num_keypoints"}
    | {"difficult", "truncated"}
)
_CATEGORY_FIELDS = frozenset({"id", "name", "supercategory", "keypoints", "skeleton", "flip_pairs"})


def read_coco(path: Path, *, image_root: Path) -> Annotations:
    """What cannot be taken in is left out and listed in `problems`; a file that is no COCO JSON is a DatasetError."""
    content = read_json_object(path, what="a COCO object with images, annotations and categories")
    for name in ("images", "categories"):
        if not isinstance(content.get(name), list):
            raise DatasetError(f"{path} has no list {name!r}; it is no COCO annotation file")
    if not isinstance(content.get("annotations", []), list):
        raise DatasetError(f"{path}: 'annotations' is a {type(content['annotations']).__name__}; expected a list")
    return _CocoReader(path, image_root, content).read()


class _CocoReader:
    def __init__(self, path: Path, image_root: Path, content: dict[str, Any]) -> None:
        self.path, self.content = path, content
        self.image_root = _root_of_names(image_root, content["images"])
        self.problems = Problems()
        self.categories = _read_categories(content["categories"], str(path), self.problems)
        self.num_keypoints = max((len(category.keypoints) for category in self.categories), default=0)
        self._name_keypoints_of_old_files()
        self.labels: dict[Any, int] = {category.id: label for label, category in enumerate(self.categories)}
        self.builder = AnnotationsBuilder(num_keypoints=self.num_keypoints)
        self.positions: dict[Any, int] = {}
        self.sizes: list[Size] = []
        self.object_ids: set[int] = set()

    def read(self) -> Annotations:
        for index, entry in enumerate(self.content["images"]):
            self._read_image(index, entry)
        for index, entry in enumerate(self.content.get("annotations", ())):
            self._read_object(index, entry)
        document: dict[str, Any] = {name: self.content[name] for name in ("info", "licenses") if name in self.content}
        return self.builder.build(
            source=str(self.path),
            image_root=str(self.image_root),
            categories=self.categories,
            problems=self.problems,
            document=document,
            format="lvis" if _is_lvis(self.content) else "coco",
        )

    def _name_keypoints_of_old_files(self) -> None:
        """Files whose classes do not name their keypoints: the number is that of the first object that has some."""
        if self.num_keypoints:
            return
        for entry in self.content.get("annotations", ()):
            points = entry.get("keypoints") if isinstance(entry, dict) else None
            if isinstance(points, list) and len(points) >= 3:
                self.num_keypoints = len(points) // 3
                return

    def _read_image(self, index: int, entry: Any) -> None:
        place = f"{self.path}: images[{index}]"
        try:
            key, name = entry["id"], _file_name(entry)
            if not isinstance(key, int | str) or isinstance(key, bool) or (isinstance(key, int) and abs(key) >= 2**63):
                raise TypeError(f"id is {key!r}")
            str(key).encode()
            size = self._size(entry, name)
        except (KeyError, TypeError, ValueError, ImageError) as error:
            self.problems.add("malformed_image", place, _reason(error))
            return
        if key in self.positions:
            self.problems.add("duplicate_image_id", place, f"id {key!r} was already given to another image")
            return
        extra = {name: value for name, value in entry.items() if name not in _IMAGE_FIELDS}
        self.positions[key] = self.builder.add_image(ImageInfo(key, name, size, extra))
        self.sizes.append(size)

    def _size(self, entry: Mapping[str, Any], name: str) -> Size:
        if "height" not in entry and "width" not in entry:
            return image_size(self.image_root / name)
        height, width = entry["height"], entry["width"]
        if not (_is_whole(height) and _is_whole(width) and is_possible((height, width))):
            raise ValueError(f"height {height!r}, width {width!r}")
        return int(height), int(width)

    def _read_object(self, index: int, entry: Any) -> None:
        place = f"{self.path}: annotations[{index}]"
        if not isinstance(entry, dict):
            self.problems.add("malformed_object", place, f"it is a {type(entry).__name__}")
            return
        if "id" in entry:
            place += f" (id {entry['id']!r})"
        image, label = self._find(entry, place)
        if image is None or label is None:
            return
        try:
            info = self._object(entry, label, self.sizes[image])
        except _UnreadableError as error:
            self.problems.add(error.kind, place, str(error), image=image)
            return
        if info.id is not None:
            if info.id in self.object_ids:
                self.problems.add("duplicate_object_id", place, f"id {info.id} was already given to another object")
            self.object_ids.add(info.id)
        self.builder.add_object(image, info)

    def _find(self, entry: dict[str, Any], place: str) -> tuple[int | None, int | None]:
        """Positions of the object's image and class."""
        found = []
        known: Mapping[Any, int]
        for field, known, kind in (
            ("image_id", self.positions, "unknown_image"),
            ("category_id", self.labels, "unknown_category"),
        ):
            value = entry.get(field)
            position = known.get(value) if isinstance(value, int | str) else None
            if position is None:
                self.problems.add(kind, place, f"{field} is {value!r}")
            found.append(position)
        return found[0], found[1]

    def _object(self, entry: dict[str, Any], label: int, size: Size) -> ObjectInfo:
        has_keypoints = self.num_keypoints and entry.get("keypoints")
        return ObjectInfo(
            label=label,
            box_xywh=_box(entry.get("bbox")),
            segment=_segment(entry.get("segmentation"), size),
            keypoints=_keypoints(entry["keypoints"], self.num_keypoints) if has_keypoints else None,
            is_crowd=_flag(entry, "iscrowd"),
            is_difficult=_flag(entry, "difficult"),
            is_truncated=_flag(entry, "truncated"),
            area=_area(entry.get("area")),
            id=_identifier(entry.get("id")),
            extra={name: value for name, value in entry.items() if name not in _OBJECT_FIELDS},
        )


class _UnreadableError(Exception):
    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def _read_categories(entries: Sequence[Any], path: str, problems: Problems) -> list[Category]:
    """In the order of their ids: class 0 is the smallest, whatever gaps follow."""
    categories: dict[int, Category] = {}
    names: set[str] = set()
    for index, entry in enumerate(entries):
        place = f"{path}: categories[{index}]"
        try:
            category = _category(entry)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise DatasetError(f"{place} cannot be read ({_reason(error)}); it needs an id and a name") from error
        if category.id in categories:
            problems.add("duplicate_category", place, f"id {category.id} was already given to another class")
            continue
        if category.name in names:
            problems.add("duplicate_category", place, f"name {category.name!r} was already given to another class")
        categories[category.id] = category
        names.add(category.name)
    return [categories[key] for key in sorted(categories)]


def _category(entry: Mapping[str, Any]) -> Category:
    key, name = entry["id"], entry["name"]
    if not isinstance(key, int) or isinstance(key, bool) or not isinstance(name, str):
        raise TypeError(f"id {key!r}, name {name!r}")
    name.encode()  # a half of a surrogate pair cannot be written anywhere
    keypoints = tuple(str(point) for point in entry.get("keypoints") or ())
    skeleton = tuple((int(a) - 1, int(b) - 1) for a, b in entry.get("skeleton") or ())
    if any(not 0 <= end < len(keypoints) for line in skeleton for end in line):
        raise ValueError(f"skeleton joins a keypoint that is not among the {len(keypoints)} named ones")
    given = entry.get("flip_pairs")
    pairs = flip_pairs_from_names(keypoints) if given is None else tuple((int(a), int(b)) for a, b in given)
    if any(not 0 <= end < len(keypoints) for pair in pairs for end in pair):
        raise ValueError(f"flip_pairs names a keypoint that is not among the {len(keypoints)} named ones")
    return Category(
        name=name,
        id=key,
        supercategory=str(entry.get("supercategory") or ""),
        keypoints=keypoints,
        skeleton=skeleton,
        flip_pairs=pairs,
        extra={field: value for field, value in entry.items() if field not in _CATEGORY_FIELDS} or None,
    )


def _box(box: Any) -> tuple[float, float, float, float]:
    try:
        values = array("d", box)
    except (TypeError, OverflowError) as error:
        raise _UnreadableError("malformed_box", f"bbox is {str(box)[:80]}; expected [x, y, width, height]") from error
    if len(values) != 4:
        raise _UnreadableError("malformed_box", f"bbox has {len(values)} numbers; expected [x, y, width, height]")
    return values[0], values[1], values[2], values[3]


def _segment(segmentation: Any, size: Size) -> Segment | None:
    if isinstance(segmentation, dict):
        return _run_lengths(segmentation, size)
    return _rings(segmentation, size) if segmentation else None


def _rings(segmentation: Any, size: Size) -> Polygons:
    rings: Polygons = []
    if not isinstance(segmentation, list):
        raise _UnreadableError("malformed_mask", f"segmentation is a {type(segmentation).__name__}")
    for index, ring in enumerate(segmentation):
        try:
            values = array("d", ring)
        except (TypeError, OverflowError) as error:
            raise _UnreadableError("malformed_mask", f"segmentation[{index}] is not a list of numbers") from error
        if len(values) < 6 or len(values) % 2 or not math.isfinite(sum(values)):
            raise _UnreadableError("malformed_mask", f"segmentation[{index}] has {len(values)} usable coordinates")
        if reaches_far(values, size):
            raise _UnreadableError("malformed_mask", f"segmentation[{index}] reaches far outside the image")
        rings.append(np.frombuffer(values))
    return rings


def _run_lengths(segmentation: dict[str, Any], size: Size) -> Rle:
    claimed = segmentation.get("size")
    if not isinstance(claimed, list) or [*size] != claimed:
        raise _UnreadableError("wrong_rle", f"size is {claimed}; the image has {[*size]}")
    try:
        return Rle(size=[*size], counts=checked_counts(segmentation.get("counts"), size))
    except ShapeError as error:
        raise _UnreadableError("wrong_rle", str(error)) from error


def _keypoints(points: Any, num_keypoints: int) -> NDArray[np.float64]:
    try:
        values = array("d", points)
    except (TypeError, OverflowError) as error:
        raise _UnreadableError("malformed_keypoints", "keypoints are not a list of numbers") from error
    if len(values) != 3 * num_keypoints or not math.isfinite(sum(values)):
        raise _UnreadableError(
            "malformed_keypoints", f"{len(values)} numbers; expected {3 * num_keypoints}, all finite"
        )
    return np.frombuffer(values).reshape(num_keypoints, 3)


def _flag(entry: Mapping[str, Any], name: str) -> bool:
    if entry.get(name, 0) not in (0, 1):
        raise _UnreadableError("malformed_object", f"{name} is {entry[name]!r}; expected 0 or 1")
    return bool(entry.get(name, 0))


def _area(area: Any) -> float | None:
    """Not finite is taken for not given."""
    if area is not None and not isinstance(area, int | float):
        raise _UnreadableError("malformed_object", f"area is {area!r}; expected a number")
    return None if area is None or not math.isfinite(area) else area


def _identifier(key: Any) -> int | None:
    """What is no number, or none that a column holds, is taken for not given."""
    return key if isinstance(key, int) and not isinstance(key, bool) and 0 <= key < 2**63 else None


def _root_of_names(folder: Path, entries: Sequence[Any]) -> Path:
    """The folder itself, or one above it where names begin with its own name: `train/a.jpg` beside images/train/."""
    names = [entry.get("file_name") for entry in entries[:NAMES_TRIED] if isinstance(entry, dict)]
    options = (folder, *folder.parents[:2])
    texts = [name for name in names if isinstance(name, str) and name]
    return next((option for option in options if any(Path(option, name).is_file() for name in texts)), folder)


def _file_name(entry: Mapping[str, Any]) -> str:
    name = entry.get("file_name")
    if name is None and "coco_url" in entry:  # LVIS v1: the url ends in the folder and the name
        name = "/".join(str(entry["coco_url"]).split("/")[-2:])
    if not isinstance(name, str) or not name:
        raise KeyError("file_name")
    if "\0" in name:
        raise ValueError(f"file_name is {name!r}")
    os.fsencode(name)
    return name


def _is_lvis(content: dict[str, Any]) -> bool:
    categories, images = content["categories"], content["images"]
    return any("frequency" in entry for entry in categories[:1]) or any(
        isinstance(entry, dict) and "neg_category_ids" in entry for entry in images[:1]
    )


def _is_whole(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value == int(value)
    )


def _reason(error: Exception) -> str:
    return f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
