"""Cityscapes: one JSON of polygons a picture, drawn over one another from back to front."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from boxwright.data.annotations import Annotations, Category, ImageInfo, ObjectInfo
from boxwright.data.formats.builder import AnnotationsBuilder
from boxwright.data.image import is_possible
from boxwright.data.image_files import find_by_stem
from boxwright.data.outlines import object_ring, reaches_far
from boxwright.data.problems import Losses, Problems
from boxwright.errors import DatasetError
from boxwright.geometry.masks import encode_bitmap
from boxwright.json_file import read_json_object, write_json
from boxwright.types import Segment, Size

POLYGONS = "_gtFine_polygons.json"
PICTURE = "_leftImg8bit"
INSTANCE_CLASSES = {  # those that are evaluated as objects, with Cityscapes' own numbers
    "person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
STUFF = frozenset(
    (
        *("unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road"),
        *("sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole"),
        *("polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "caravan", "trailer"),
        "license plate",
    )
)


def read_cityscapes(root: Path, *, split: str) -> Annotations:
    """`root` holds gtFine/ and leftImg8bit/. What nearer objects cover is not part of an object.

    The classes are those found over all splits: in Cityscapes' own order where all are among its eight, else
    in alphabetical order.
    """
    problems = Problems()
    categories = _categories(root)
    builder = AnnotationsBuilder()
    for path in _polygon_files(root, split):
        try:
            _read_file(root, path, categories, builder, problems)
        except (DatasetError, KeyError, TypeError, ValueError) as error:
            problems.add("malformed_image", str(path), f"{error}")
    return builder.build(
        source=str(root), image_root=str(root), categories=categories, problems=problems, format="cityscapes"
    )


def splits_of(root: Path) -> list[str]:
    """Names of the folders in gtFine, sorted."""
    return sorted(path.name for path in (root / "gtFine").iterdir() if path.is_dir())


def _polygon_files(root: Path, split: str) -> list[Path]:
    return sorted((root / "gtFine" / split).rglob(f"*{POLYGONS}"))


def _categories(root: Path) -> list[Category]:
    found: set[str] = set()
    for split in splits_of(root):
        for path in _polygon_files(root, split):
            try:
                entries = read_json_object(path, what="polygons")["objects"]
                found |= {str(entry["label"]) for entry in entries if isinstance(entry, dict) and "label" in entry}
            except (DatasetError, KeyError, TypeError):  # met again, and named, when the split is read
                continue
    names = {_base_name(label, found) for label in found} - STUFF
    if names <= set(INSTANCE_CLASSES):
        return [Category(name, number) for name, number in INSTANCE_CLASSES.items() if name in names]
    return [Category(name, number) for number, name in enumerate(sorted(names), start=1)]


def _base_name(label: str, known: Iterable[str]) -> str:
    """`cargroup` is a crowd of `car`."""
    base = label.removesuffix("group")
    return base if base != label and (base in known or base in INSTANCE_CLASSES) else label


def _read_file(
    root: Path, path: Path, categories: Sequence[Category], builder: AnnotationsBuilder, problems: Problems
) -> None:
    content = read_json_object(path, what="imgHeight, imgWidth and objects")
    size = content["imgHeight"], content["imgWidth"]
    if not all(isinstance(side, int) for side in size) or not is_possible(size):
        raise ValueError(f"imgHeight, imgWidth are {size}")
    stem = path.name.removesuffix(POLYGONS)
    picture = _picture(root, path, stem)
    labels = {category.name: label for label, category in enumerate(categories)}
    shapes = _shapes(content["objects"], size, path, problems)
    image = builder.add_image(ImageInfo(stem, str(picture.relative_to(root)), size))
    canvas = _paint([points for _, points in shapes], size)
    for number, (label, points) in enumerate(shapes, start=1):
        name = _base_name(label, labels)
        if name in labels:
            seen = _visible_part(points, canvas, number)
            if seen is not None:
                box, segment = seen
                builder.add_object(image, ObjectInfo(labels[name], box, segment, is_crowd=name != label))


def _picture(root: Path, path: Path, stem: str) -> Path:
    folder = root / "leftImg8bit" / path.parent.relative_to(root / "gtFine")
    return find_by_stem(folder, f"{stem}{PICTURE}") or folder / f"{stem}{PICTURE}.png"


def _shapes(objects: Any, size: Size, path: Path, problems: Problems) -> list[tuple[str, NDArray[np.float64]]]:
    shapes = []
    for index, entry in enumerate(objects):
        place = f"{path}: objects[{index}]"
        try:
            label, points = str(entry["label"]), np.array(entry["polygon"], dtype=np.float64)
            if entry.get("deleted"):
                continue
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problems.add("malformed_object", place, f"needs a label and a polygon ({error})")
            continue
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
            problems.add("malformed_mask", place, f"the polygon of {label!r} has {len(points)} usable points")
            continue
        if reaches_far(points.reshape(-1), size):
            problems.add("malformed_mask", place, f"the polygon of {label!r} reaches far outside the image")
            continue
        shapes.append((label, points))
    return shapes


def _paint(polygons: Sequence[NDArray[np.float64]], size: Size) -> NDArray[np.int32]:
    """Numbers from 1 on, later polygons over earlier ones, as Cityscapes makes its own instance images."""
    canvas = Image.new("I", (size[1], size[0]), 0)
    draw = ImageDraw.Draw(canvas)
    for number, points in enumerate(polygons, start=1):
        draw.polygon([(float(x), float(y)) for x, y in points], fill=number)
    return np.asarray(canvas, dtype=np.int32)


def _visible_part(
    points: NDArray[np.float64], canvas: NDArray[np.int32], number: int
) -> tuple[tuple[float, float, float, float], Segment] | None:
    """x, y, width, height and mask of what nothing nearer covers of a polygon; None where all of it is covered."""
    size = (canvas.shape[0], canvas.shape[1])
    x1, y1 = np.maximum(np.floor(points.min(axis=0)), 0).astype(int)
    x2, y2 = np.ceil(points.max(axis=0)).astype(int) + 1
    region = canvas[y1:y2, x1:x2]
    visible = region == number
    if not visible.any():
        return None
    segment: Segment
    if (region <= number).all():  # nothing nearer touches it: the polygon itself says more than its pixels
        low, high = points.min(axis=0).clip(0), points.max(axis=0).clip(max=(size[1], size[0]))
        segment, corners = [points.reshape(-1)], (*low.tolist(), *high.tolist())
    else:
        bitmap = np.zeros(size, dtype=bool)
        bitmap[y1:y2, x1:x2] = visible
        rows, columns = np.nonzero(visible.any(axis=1))[0] + y1, np.nonzero(visible.any(axis=0))[0] + x1
        segment = encode_bitmap(bitmap)
        corners = (float(columns[0]), float(rows[0]), float(columns[-1]) + 1, float(rows[-1]) + 1)
    left, top, right, bottom = corners
    return (left, top, right - left, bottom - top), segment


def write_cityscapes(annotations: Annotations, out: Path, *, split: str, file_names: Sequence[str | None]) -> Losses:
    """`file_names` lie under `out`/leftImg8bit/`split`/CITY/. -> what Cityscapes has no place for."""
    losses: Losses = Counter()
    for index, file_name in enumerate(file_names):
        if file_name is None:
            continue
        size = annotations.size(index)
        # The small ones last, on top: what is drawn later covers what was drawn before.
        objects = sorted(annotations.objects(index), key=lambda info: -info.box_xywh[2] * info.box_xywh[3])
        entries = [_entry(info, size, annotations.class_names, losses) for info in objects]
        name = Path(file_name)
        path = out / "gtFine" / split / name.parent / f"{name.stem.removesuffix(PICTURE)}{POLYGONS}"
        write_json(path, {"imgHeight": size[0], "imgWidth": size[1], "objects": entries})
    return losses


def _entry(info: ObjectInfo, size: Size, names: Sequence[str], losses: Losses) -> dict[str, Any]:
    losses["keypoints (Cityscapes has none)"] += info.keypoints is not None
    losses["objects of classes that are background in Cityscapes"] += names[info.label] in STUFF
    ring = object_ring(info, size, losses)
    return {"label": names[info.label] + "group" * info.is_crowd, "polygon": ring.reshape(-1, 2).tolist()}
