"""One door to every format: a folder, a file or a known name -> Annotations, from the shared index where possible."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from boxwright.data.annotations import Annotations, Category
from boxwright.data.formats.builder import AnnotationsBuilder
from boxwright.data.formats.cityscapes import read_cityscapes
from boxwright.data.formats.coco import read_coco
from boxwright.data.formats.folder import Split, Splits, canonical_split, coco_split, recognise, yolo_splits
from boxwright.data.formats.known import find_known, is_known
from boxwright.data.formats.voc import read_voc
from boxwright.data.formats.yolo import (
    YoloClasses,
    classes_of_yaml,
    images_of_yaml,
    label_path,
    lists_of_yaml,
    read_yolo,
)
from boxwright.data.image_files import list_images
from boxwright.data.index import indexed
from boxwright.errors import DatasetError
from boxwright.files import MOST_OF_LABELS, MOST_OF_LIST, read_bytes, read_text


@dataclass(frozen=True)
class FoundDataset:
    """What lies at a source, or at several joined by commas; nothing of it is read yet."""

    parts: tuple[tuple[str, Splits], ...]  # each source and its splits by name

    @property
    def has_val(self) -> bool:
        """A part to measure on lies beside one to train on; a single split is what is trained on."""
        return any(len(splits) > 1 and _name_in(splits, "val") for _, splits in self.parts)

    def read(self, split: str, *, class_names: Sequence[str] | None = None, use_index: bool = True) -> Annotations:
        """The annotations of one split; see `read_dataset`."""
        parts = self.parts
        if len(parts) > 1 and canonical_split(split) != "train":  # of several sets one may have nothing to measure on
            parts = tuple(part for part in parts if _name_in(part[1], split)) or parts
        joined = read_splits([_choose(*part, split) for part in parts], use_index=use_index)
        return joined if class_names is None else align_classes(joined, class_names)

    def read_all(self, *, use_index: bool = True) -> dict[str, Annotations]:
        """Every split by its name. Splits of the same name of several sources are one."""
        found: dict[str, list[Split]] = {}
        for _, splits in self.parts:
            for name, split in splits.items():
                found.setdefault(name, []).append(split)
        return {name: read_splits(same, use_index=use_index) for name, same in found.items()}


def find_dataset(source: str | Path, *, root: str | Path | None = None, keypoints: bool = False) -> FoundDataset:
    """`source` is a folder in a layout that `recognise` knows, an annotation file, a name of Detectron's catalogue
    (looked for under `root`), or several of these joined by commas."""
    text = str(source)
    names = [text] if Path(text).exists() else [name.strip() for name in text.split(",")]
    return FoundDataset(tuple((name, find_splits(name, root=root, keypoints=keypoints)) for name in names))


def read_dataset(
    source: str | Path,
    *,
    split: str = "train",
    root: str | Path | None = None,
    keypoints: bool = False,
    class_names: Sequence[str] | None = None,
    use_index: bool = True,
) -> Annotations:
    """Annotations of one split of what `find_dataset` finds.

    A source with a single split gives that one, whatever it is called. `class_names` gives the classes and their order,
    so that a second split or another data set numbers them as the model does; a class that is not among them is an
    error.
    """
    found = find_dataset(source, root=root, keypoints=keypoints)
    return found.read(split, class_names=class_names, use_index=use_index)


def read_all_splits(
    source: str | Path, *, root: str | Path | None = None, use_index: bool = True
) -> dict[str, Annotations]:
    """Every split of what `find_dataset` finds, by its name."""
    return find_dataset(source, root=root).read_all(use_index=use_index)


def find_splits(source: str | Path, *, root: str | Path | None = None, keypoints: bool = False) -> Splits:
    """All splits of a folder; a file or a known name is one split."""
    path = Path(source)
    if path.is_dir():
        return recognise(path, keypoints=keypoints)
    if is_known(str(source)):
        found = find_known(str(source), root=root)
        return {canonical_split(found.name): found}
    if not path.exists():
        raise DatasetError(f"{source} is neither a folder, a file nor a known data set such as coco_2017_val")
    if path.suffix in (".yaml", ".yml"):
        return yolo_splits(path)
    if path.suffix != ".json":
        raise DatasetError(f"{path}: expected a folder, a COCO .json or a YOLO .yaml")
    name = canonical_split(path.parent.name if path.name.startswith("_annotations") else path.stem)
    return {name: coco_split(path, path.parent, name)}


def _choose(source: str, splits: Splits, split: str) -> Split:
    """A file or a known name gives its only split, whatever it is called."""
    name = next(iter(splits)) if len(splits) == 1 and not Path(source).is_dir() else _name_in(splits, split)
    if name is None and canonical_split(split) == "train" and len(splits) == 1 and not set(splits) & {"val", "test"}:
        name = next(iter(splits))
    if name is None:
        raise DatasetError(
            f"{source} has no split {split!r}; it has {', '.join(splits)}. Name a file, or add that split"
        )
    return splits[name]


def _name_in(splits: Splits, split: str) -> str | None:
    """What a split is called here, if it is there: val may be minival."""
    wanted = canonical_split(split)
    names = ("val", "minival") if wanted == "val" else (wanted,)
    return next((name for name in names if name in splits), None)


def read_splits(splits: Sequence[Split], *, use_index: bool = True) -> Annotations:
    """One split, or several joined into one."""

    def read() -> Annotations:
        parts = [_read(split) for split in splits]
        return parts[0] if len(parts) == 1 else concatenate(parts)

    if not use_index:
        return read()
    key = " ".join(f"{split.format} {split.name} {split.images} {split.root}" for split in splits)
    return indexed(read, files=[path for split in splits for path in _files(split)], key=key)


def _read(split: Split) -> Annotations:
    return replace(_read_format(split), homes=(str(split.root), str(split.images)))


def _read_format(split: Split) -> Annotations:
    if split.format == "voc":
        return read_voc(split.root, folders=split.folders, split=None if split.name == "all" else split.name)
    if split.format == "cityscapes":
        return read_cityscapes(split.root, split=split.name)
    if split.format == "yolo":
        return _read_yolo(split)
    return read_coco(split.annotations, image_root=split.images)


def _read_yolo(split: Split) -> Annotations:
    if split.annotations.suffix in (".yaml", ".yml"):
        images, classes = images_of_yaml(split.annotations, split.name), classes_of_yaml(split.annotations)
    else:
        images, classes = list_images(split.images), _classes_of_text(split.annotations)
    return read_yolo(split.root, images=images, classes=classes, source=split.annotations)


def _classes_of_text(path: Path) -> YoloClasses:
    """classes.txt has a name a line; without such a file the largest number decides how many there are."""
    if path.is_file():
        lines = read_text(path, error=DatasetError, most=MOST_OF_LIST).splitlines()
        return YoloClasses(tuple(line.strip() for line in lines if line.strip()))
    largest = -1
    for text in path.rglob("labels/**/*.txt"):
        content = read_bytes(text, error=DatasetError, most=MOST_OF_LABELS).decode(errors="replace")
        words = (line.split(maxsplit=1) for line in content.splitlines())
        largest = max([largest, *(int(word[0]) for word in words if word and word[0].isdecimal())])
    return YoloClasses(tuple(f"class_{number}" for number in range(largest + 1)))


def _files(split: Split) -> list[Path]:
    """What the annotations depend on."""
    if split.format == "voc":
        return [path / inner for path in split.folders for inner in ("Annotations", "ImageSets")]
    if split.format == "cityscapes":
        return [split.root / "gtFine"]
    if split.format == "yolo":
        if split.annotations.suffix not in (".yaml", ".yml"):
            return [split.annotations, split.images, *split.root.glob("**/labels")]
        images = images_of_yaml(split.annotations, split.name)
        folders = {path.parent for path in images} | {label_path(path).parent for path in images}
        return [split.annotations, *lists_of_yaml(split.annotations, split.name), *sorted(folders)]
    return [split.annotations]


def align_classes(annotations: Annotations, class_names: Sequence[str]) -> Annotations:
    """The same objects with `class_names` as classes. Objects of a class that is not among them are a DatasetError."""
    if tuple(class_names) == annotations.class_names:
        return annotations
    positions = {name: label for label, name in enumerate(class_names)}
    table = np.array([positions.get(name, -1) for name in annotations.class_names], dtype=np.int64)
    labels = annotations.columns["label"]
    used = np.unique(labels)
    strange = [annotations.class_names[label] for label in used if table[label] < 0]
    if strange:
        raise DatasetError(
            f"{annotations.source} has objects of {', '.join(strange[:5])}, which the model does not know; "
            f"its classes are {', '.join(class_names[:10])}{', ...' if len(class_names) > 10 else ''}"
        )
    known = {category.name: category for category in annotations.categories}
    free = max((category.id for category in annotations.categories), default=0)
    categories = [known.get(name, Category(name, free + 1 + label)) for label, name in enumerate(class_names)]
    return annotations.with_categories(tuple(categories), table[labels])


def concatenate(parts: Sequence[Annotations]) -> Annotations:
    """Several data sets as one. They must have the same classes; the first gives their order.

    Image ids that two of them use become text with the number of the part in front.
    """
    aligned = [parts[0], *(align_classes(part, parts[0].class_names) for part in parts[1:])]
    num_keypoints = max(part.num_keypoints for part in parts)
    if any(part.num_keypoints not in (0, num_keypoints) for part in parts):
        raise DatasetError("data sets with different keypoints cannot be joined")
    builder = AnnotationsBuilder(num_keypoints=num_keypoints)
    keys = [part.image_id(image) for part in parts for image in range(len(part))]
    clash = len(set(keys)) < len(keys)
    for number, part in enumerate(aligned):
        for index in range(len(part)):
            info = part.image(index)
            key = f"{number}/{info.id}" if clash else info.id
            name = os.path.abspath(part.path(index))
            image = builder.add_image(replace(info, id=key, file_name=name))
            for found in part.objects(index):
                builder.add_object(image, found)
    joined = builder.build(
        source=", ".join(part.source for part in parts), image_root="/", categories=aligned[0].categories
    )
    problems = tuple(problem for part in parts for problem in part.problems)
    return replace(
        joined, problems=problems, homes=tuple(os.path.abspath(home) for part in parts for home in part.homes)
    )
