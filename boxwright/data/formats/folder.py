"""Recognises a data folder by what lies in it: which format, which splits, where the pictures are."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from boxwright.data.formats import cityscapes, voc, yolo
from boxwright.data.image_files import is_image_name
from boxwright.errors import DatasetError

KNOWN_LAYOUTS = (
    "images/ with train.json and val.json, coco/{annotations,train2017,val2017}, {train,valid}/_annotations.coco.json, "
    "VOC2007/{Annotations,JPEGImages,ImageSets}, {gtFine,leftImg8bit}/, or YOLO's data.yaml or images/ and labels/"
)
_NOT_OBJECTS = ("captions", "stuff", "panoptic", "image_info", "results", "deleted")
_SPLIT_WORDS = ("valminusminival", "minival", "trainval", "train", "val", "test-dev", "test")


@dataclass(frozen=True)
class Split:
    """Where one split lies. `annotations` is a file, or for VOC, Cityscapes and YOLO the folder or yaml."""

    format: str
    root: Path
    annotations: Path
    images: Path
    name: str  # as the source calls it
    folders: tuple[Path, ...] = field(default=())  # VOC years, YOLO picture folders


Splits = dict[str, Split]


def recognise(folder: Path, *, keypoints: bool = False) -> Splits:
    """Splits by name: train, val and test where those words are found, else the source's own.

    `keypoints` prefers person_keypoints_*.json where a folder has both these and instances_*.json.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder")
    finders: tuple[Callable[[Path], Splits], ...] = (
        _find_yolo_yaml,
        _find_voc,
        _find_cityscapes,
        lambda path: _find_coco(path, keypoints),
        _find_yolo_folders,
    )
    for find in finders:
        if splits := find(folder):
            return splits
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if len(inner) == 1:  # an archive that unpacked into a folder of its own
        return recognise(inner[0], keypoints=keypoints)
    raise DatasetError(f"{folder}: no known data layout. Known are {KNOWN_LAYOUTS}")


def canonical_split(name: str) -> str:
    """`instances_val2017` -> val, `valid` -> val; a name without such a word stays."""
    lowered = name.lower()
    if re.search(r"(?<![a-z])valid(ation)?(?![a-z])", lowered):
        return "val"
    return next((word for word in _SPLIT_WORDS if re.search(rf"(?<![a-z]){word}(?![a-z])", lowered)), name)


def _find_voc(folder: Path) -> Splits:
    inner = [folder, folder / "VOCdevkit"]
    years = sorted(path for parent in inner if parent.is_dir() for path in parent.glob("VOC20[0-9][0-9]"))
    folders = tuple(path for path in [folder, *years] if any((path / "Annotations").glob("*.xml")))
    names = sorted({name for path in folders for name in voc.splits_of(path)})
    if not folders:
        return {}
    splits: Splits = {}
    for name in names or ["all"]:
        having = tuple(path for path in folders if not names or name in voc.splits_of(path))
        splits[name] = Split("voc", folder, folder, folder, name, having)
    return splits


def _find_cityscapes(folder: Path) -> Splits:
    if not (folder / "gtFine").is_dir() or not (folder / "leftImg8bit").is_dir():
        return {}
    return {name: Split("cityscapes", folder, folder, folder, name) for name in cityscapes.splits_of(folder)}


def _find_coco(folder: Path, keypoints: bool) -> Splits:
    found: dict[str, list[Path]] = {}
    for path in _json_files(folder):
        word = path.parent.name if path.name.startswith("_annotations") else path.stem
        found.setdefault(canonical_split(word), []).append(path)
    return {
        name: coco_split(_only(paths, name, folder, keypoints), folder, name) for name, paths in sorted(found.items())
    }


def _json_files(folder: Path) -> list[Path]:
    places = [folder, folder / "annotations", folder / "lvis"]
    files = [path for place in places if place.is_dir() for path in sorted(place.glob("*.json"))]
    files += sorted(folder.glob("*/_annotations.coco.json"))
    return [path for path in files if not path.name.startswith((*_NOT_OBJECTS, "."))]


def _only(paths: list[Path], split: str, folder: Path, keypoints: bool) -> Path:
    """The one file of a split. Of instances_* and person_keypoints_* the one that was asked for."""
    wanted = [path for path in paths if path.name.startswith("person_keypoints") == keypoints] or paths
    if len(wanted) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in wanted)
        raise DatasetError(f"{folder}: {len(wanted)} files for the split {split!r}: {names}; give the one you mean")
    return wanted[0]


def coco_split(path: Path, folder: Path, name: str) -> Split:
    """`path` is the annotation file, `folder` the data set's; the pictures' folder is looked for."""
    return Split("coco", folder, path, find_pictures(path, name), name)


def find_pictures(path: Path, split: str) -> Path:
    """The folder that an annotation file's names are relative to: the first of the usual places that has pictures."""
    parent = path.parent
    above = parent.parent if parent.name in ("annotations", "lvis") else parent
    year = re.search(r"(20\d\d)", path.stem)
    stems = [f"{split}{year.group(1)}", f"coco_{split}{year.group(1)}"] if year else []
    if year and "minival" in split:  # the two halves of COCO's val2014
        stems += [f"val{year.group(1)}", f"coco_val{year.group(1)}"]
    stems += [split, {"val": "valid"}.get(split, split)]
    options = [above / inner / stem for stem in stems for inner in ("", "images")]
    options += [above / "images", above / "JPEGImages", parent, above]
    # Names in the file may begin with the split's folder, so a parent of pictures counts where it has none itself.
    return next((option for option in options if option.is_dir() and _has_pictures(option)), above)


def _has_pictures(folder: Path) -> bool:
    entries = folder.iterdir()
    if any(is_image_name(entry.name) for entry in entries):
        return True
    if folder.name not in ("images", "JPEGImages"):
        return False
    return any(is_image_name(entry.name) for inner in folder.iterdir() if inner.is_dir() for entry in inner.iterdir())


def _find_yolo_yaml(folder: Path) -> Splits:
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        content = yolo.read_yaml(path) if path.stat().st_size < 2**20 else {}
        if "names" in content and (splits := yolo_splits(path)):
            return splits
    return {}


def yolo_splits(path: Path) -> Splits:
    """train, val and test, and whatever else names a place that is there."""
    usual = [key for key in ("train", "val", "valid", "test") if yolo.read_yaml(path).get(key)]
    keys = dict.fromkeys([*usual, *yolo.keys_of_places(path)])
    return {canonical_split(key): Split("yolo", path.parent, path, path.parent, key) for key in keys}


def _find_yolo_folders(folder: Path) -> Splits:
    """images/ and labels/ side by side, split inside or not, or the two inside each split's folder."""
    splits: Splits = {}
    names = _class_file(folder)
    for images in [folder / "images", *sorted(folder.glob("*/images"))]:
        labels = images.parent / "labels"
        if not images.is_dir() or not labels.is_dir():
            continue
        inner = [path for path in sorted(images.iterdir()) if path.is_dir()]
        for path in inner or [images]:
            name = path.name if inner else ("all" if images.parent == folder else images.parent.name)
            splits[canonical_split(name)] = Split("yolo", folder, names or folder, path, name, (path,))
    return splits


def _class_file(folder: Path) -> Path | None:
    options = [folder / name for name in ("classes.txt", "obj.names", "labels/classes.txt")]
    return next((path for path in options if path.is_file()), None)
