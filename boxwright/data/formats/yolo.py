"""YOLO txt: one text a picture, one line an object, all coordinates as shares of the picture's width and height."""

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.config.yaml_text import parse_yaml, write_yaml
from boxwright.data.annotations import Annotations, Category, ImageInfo, ObjectInfo
from boxwright.data.formats.builder import AnnotationsBuilder
from boxwright.data.image import image_size
from boxwright.data.image_files import is_image_name, list_images
from boxwright.data.outlines import object_ring, reaches_far
from boxwright.data.problems import Losses, Problems
from boxwright.errors import ConfigError, DatasetError, ImageError
from boxwright.files import MOST_OF_LABELS, MOST_OF_LIST, atomic_write, read_text
from boxwright.types import Size


@dataclass(frozen=True)
class YoloClasses:
    """What data.yaml says of classes and keypoints; `flip_order` has for each keypoint the one that takes its place."""

    names: tuple[str, ...]
    keypoint_shape: tuple[int, int] | None = None  # number of keypoints, 2 or 3 values each
    flip_order: tuple[int, ...] | None = None
    keypoint_names: tuple[str, ...] = ()


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a data.yaml; a DatasetError where it holds something else or cannot be read."""
    try:
        content = parse_yaml(read_text(path, error=DatasetError, most=MOST_OF_LABELS), where=str(path))
    except ConfigError as error:
        raise DatasetError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} holds a {type(content).__name__}; expected names, train and val")
    return content


def classes_of_yaml(path: Path) -> YoloClasses:
    """Names as a list, or as a mapping from 0 on; what fits neither them nor the keypoints is a DatasetError."""
    content = read_yaml(path)
    names = content.get("names")
    if isinstance(names, Mapping) and set(names) == set(range(len(names))):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DatasetError(f"{path}: names is {str(names)[:60]}; expected a list, or a mapping from 0 on")
    shape, order = content.get("kpt_shape"), content.get("flip_idx")
    if shape is not None and not _is_keypoint_shape(shape):
        raise DatasetError(f"{path}: kpt_shape is {shape}; expected [number of keypoints, 2 or 3]")
    if order is not None and not _is_permutation(order, shape[0] if shape else 0):
        raise DatasetError(f"{path}: flip_idx is {order}; expected each keypoint's number once")
    return YoloClasses(
        names=tuple(str(name) for name in names),
        keypoint_shape=None if shape is None else (shape[0], shape[1]),
        flip_order=None if order is None else tuple(order),
        keypoint_names=_keypoint_names(content),
    )


def _is_keypoint_shape(shape: Any) -> bool:
    if not isinstance(shape, list) or len(shape) != 2:
        return False
    return isinstance(shape[0], int) and shape[0] > 0 and shape[1] in (2, 3)


def _is_permutation(order: Any, count: int) -> bool:
    if not isinstance(order, list) or not all(isinstance(number, int) for number in order):
        return False
    return sorted(order) == list(range(count))


def _keypoint_names(content: Mapping[str, Any]) -> tuple[str, ...]:
    names = content.get("kpt_names")
    if isinstance(names, Mapping):
        names = next(iter(names.values()), None)
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def images_of_yaml(path: Path, split: str) -> list[Path]:
    """The pictures of a split, which the file gives as a folder, a list of folders, or a text with one path a line."""
    return [image for place in _places_of_yaml(path, split) for image in _images_at(place)]


def keys_of_places(path: Path) -> list[str]:
    """Those fields that name folders or lists of pictures which are there."""
    fields = [str(key) for key in read_yaml(path) if key not in ("path", "names", "nc", "download")]
    return [key for key in fields if any(map(os.path.exists, _places_of_yaml(path, key)))]


def lists_of_yaml(path: Path, split: str) -> list[Path]:
    """Those of a split's places that are such texts."""
    return [place for place in _places_of_yaml(path, split) if place.is_file()]


def _places_of_yaml(path: Path, split: str) -> list[Path]:
    content = read_yaml(path)
    root = Path(path.parent, str(content.get("path") or "."))
    if not root.is_dir():  # Ultralytics resolves `path` against a folder of its own; people keep the yaml in the data
        root = path.parent
    entries = content.get(split) or []
    listed = entries if isinstance(entries, list) else [entries]
    return [_first_existing(root, path.parent, str(entry)) for entry in listed]


def _first_existing(root: Path, parent: Path, entry: str) -> Path:
    stripped = entry.removeprefix("../")  # Roboflow writes ../train/images beside train/
    options = [root / entry, parent / entry, root / stripped, parent / stripped]
    return next((option for option in options if os.path.exists(option)), options[0])  # False too for no name at all


def _images_at(path: Path) -> list[Path]:
    if path.is_file():
        lines = (line.strip() for line in read_text(path, error=DatasetError, most=MOST_OF_LIST).splitlines())
        return [Path(path.parent, line) for line in lines if is_image_name(line)]
    if not path.is_dir():
        raise DatasetError(f"{path} does not exist")
    return list_images(path)


def label_path(image: Path) -> Path:
    """`.../images/.../x.jpg` -> `.../labels/.../x.txt`; without a folder `images` the text lies beside the picture."""
    parts = list(image.parts)
    places = [index for index, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def read_yolo(root: Path, *, images: Sequence[Path], classes: YoloClasses, source: Path) -> Annotations:
    """A picture without a text has no objects. File names are relative to `root`."""
    num_keypoints = classes.keypoint_shape[0] if classes.keypoint_shape else 0
    problems, builder = Problems(), AnnotationsBuilder(num_keypoints=num_keypoints)
    for path in images:
        try:
            size = image_size(path)
        except ImageError as error:
            problems.add("corrupt_image" if path.exists() else "missing_image", str(path), str(error))
            continue
        name = os.path.relpath(path, root)
        image = builder.add_image(ImageInfo(Path(name).with_suffix("").as_posix(), name, size))
        _read_labels(label_path(path), image, size, classes, builder, problems)
    return builder.build(
        source=str(source),
        image_root=str(root),
        categories=_categories(classes),
        problems=problems,
        format="yolo",
    )


def _categories(classes: YoloClasses) -> list[Category]:
    count = classes.keypoint_shape[0] if classes.keypoint_shape else 0
    names = (
        classes.keypoint_names if len(classes.keypoint_names) == count else tuple(f"point_{i}" for i in range(count))
    )
    order = classes.flip_order or tuple(range(count))
    pairs = tuple((left, right) for left, right in enumerate(order) if left < right)
    return [Category(name, index, keypoints=names, flip_pairs=pairs) for index, name in enumerate(classes.names)]


def _read_labels(
    path: Path, image: int, size: Size, classes: YoloClasses, builder: AnnotationsBuilder, problems: Problems
) -> None:
    if not os.path.exists(path):
        return
    try:
        lines = read_text(path, error=DatasetError, most=MOST_OF_LABELS).splitlines()
    except DatasetError as error:
        problems.add("malformed_object", str(path), str(error), image=image)
        return
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                builder.add_object(image, _read_line(line, size, classes))
            except _LineError as error:
                problems.add(error.kind, f"{path}:{number}", str(error), image=image)


class _LineError(Exception):
    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def _read_line(line: str, size: Size, classes: YoloClasses) -> ObjectInfo:
    try:
        label, *values = (float(word) for word in line.split())
    except ValueError as error:
        raise _LineError("malformed_object", f"{line[:60]!r} is not all numbers") from error
    if not 0 <= label < len(classes.names) or label != int(label):  # in this order: nan and inf have no int
        raise _LineError("unknown_category", f"class {label:g}; there are {len(classes.names)}")
    if not all(map(math.isfinite, values)):
        raise _LineError("malformed_object", f"{line[:60]!r} holds a number that is not finite")
    height, width = size
    if classes.keypoint_shape is None and len(values) > 4:
        return _polygon(values, int(label), size)
    expected = 4 + (math.prod(classes.keypoint_shape) if classes.keypoint_shape else 0)
    if len(values) != expected:
        raise _LineError("malformed_object", f"{len(values)} numbers after the class; expected {expected}")
    x, y, w, h = values[0] * width, values[1] * height, values[2] * width, values[3] * height
    keypoints = _keypoints(values[4:], size, classes.keypoint_shape[1]) if classes.keypoint_shape else None
    return ObjectInfo(int(label), (x - w / 2, y - h / 2, w, h), keypoints=keypoints)


def _polygon(values: list[float], label: int, size: Size) -> ObjectInfo:
    if len(values) < 6 or len(values) % 2:
        raise _LineError("malformed_mask", f"{len(values)} numbers after the class; expected 4, or 3 and more points")
    points = np.array(values).reshape(-1, 2) * (size[1], size[0])
    if reaches_far(points.reshape(-1), size):
        raise _LineError("malformed_mask", "the polygon reaches far outside the image")
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return ObjectInfo(label, (x1, y1, x2 - x1, y2 - y1), segment=[points.reshape(-1)])


def _keypoints(values: list[float], size: Size, dimensions: int) -> NDArray[np.float64]:
    points = np.array(values).reshape(-1, dimensions)
    seen = points[:, 2] if dimensions == 3 else np.where((points == 0).all(axis=1), 0, 2)
    labelled = np.stack((points[:, 0] * size[1], points[:, 1] * size[0], seen), axis=1)
    labelled[seen <= 0] = 0
    return labelled


def write_yolo_labels(
    annotations: Annotations, out: Path, *, split: str, file_names: Sequence[str | None], num_keypoints: int
) -> Losses:
    """Texts under `out`/labels/`split` for the pictures under `out`/images/`split`. -> what YOLO has no place for.

    With `num_keypoints`, which is the same for all splits, they hold poses.
    """
    losses: Losses = Counter()
    for index, file_name in enumerate(file_names):
        if file_name is None:
            continue
        lines = list(_lines(annotations, index, num_keypoints, losses))
        with atomic_write(label_path(out / "images" / split / file_name), "w") as file:
            file.write("".join(f"{line}\n" for line in lines))
    return losses


def _lines(annotations: Annotations, image: int, num_keypoints: int, losses: Losses) -> Iterator[str]:
    size = annotations.size(image)
    for info in annotations.objects(image):
        if info.is_crowd:
            losses["crowd regions, left out (YOLO has none)"] += 1
        elif num_keypoints:
            losses["masks (a YOLO file has keypoints or masks)"] += info.segment is not None
            yield _pose_line(info, size, num_keypoints)
        elif annotations.has_masks:
            yield _segment_line(info, size, losses)
        else:
            yield f"{info.label} {_box_text(info, size)}"


def _pose_line(info: ObjectInfo, size: Size, num_keypoints: int) -> str:
    points = np.zeros((num_keypoints, 3)) if info.keypoints is None else info.keypoints.copy()
    points[:, :2] /= (size[1], size[0])
    points[points[:, 2] <= 0] = 0
    return f"{info.label} {_box_text(info, size)} {_text(points.reshape(-1))}"


def _segment_line(info: ObjectInfo, size: Size, losses: Losses) -> str:
    ring = object_ring(info, size, losses)
    return f"{info.label} {_text((ring.reshape(-1, 2) / (size[1], size[0])).reshape(-1))}"


def _box_text(info: ObjectInfo, size: Size) -> str:
    x, y, width, height = info.box_xywh
    shares = np.array([(x + width / 2) / size[1], (y + height / 2) / size[0], width / size[1], height / size[0]])
    return _text(shares)


def _text(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.9f}".rstrip("0").rstrip(".") for value in values.tolist())


def write_yolo_yaml(out: Path, splits: Mapping[str, Annotations]) -> None:
    """`out`/data.yaml: classes and keypoints of the splits, whose pictures lie in images/<split>."""
    content: dict[str, Any] = {"path": ".", **{split: f"images/{split}" for split in splits}}
    annotations = max(splits.values(), key=lambda part: part.has_keypoints)
    if annotations.has_keypoints:
        order = list(range(annotations.num_keypoints))
        for left, right in annotations.flip_pairs:
            order[left], order[right] = right, left
        content |= {"kpt_shape": [annotations.num_keypoints, 3], "flip_idx": order}
        content["kpt_names"] = {0: list(annotations.keypoint_names)}
    content["names"] = dict(enumerate(annotations.class_names))
    with atomic_write(out / "data.yaml", "w") as file:
        file.write(write_yaml(content, is_block=True))
