"""Any format that is read -> any that is written, all splits of a source, pictures copied or linked."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import numpy as np

from boxwright.data.annotations import CROWD, Annotations
from boxwright.data.columns import unpack_decimals
from boxwright.data.formats.builder import AnnotationsBuilder
from boxwright.data.formats.cityscapes import write_cityscapes
from boxwright.data.formats.coco_write import write_coco
from boxwright.data.formats.reading import align_classes
from boxwright.data.formats.voc import write_voc
from boxwright.data.formats.yolo import write_yolo_labels, write_yolo_yaml
from boxwright.data.image import image_head
from boxwright.data.image_files import FreeNames, PlaceMode, flat_name, inner_name, need_folder_free, place_image
from boxwright.data.problems import Losses
from boxwright.errors import ConfigError, DatasetError, ImageError

Format = Literal["coco", "lvis", "voc", "cityscapes", "yolo"]
FORMATS: tuple[str, ...] = get_args(Format)


@dataclass
class WrittenDataset:
    """What was written, and what the new format has no place for."""

    out: Path
    format: str
    splits: dict[str, int] = field(default_factory=dict)  # images of each
    objects: int = 0
    losses: Losses = field(default_factory=Counter)

    def plain(self) -> dict[str, Any]:
        """For --json; losses that did not happen are left out."""
        losses = {what: count for what, count in self.losses.items() if count}
        return {
            "out": str(self.out),
            "format": self.format,
            "splits": self.splits,
            "objects": self.objects,
            "losses": losses,
        }


@dataclass(frozen=True)
class _Placing:
    """How pictures come to their new place."""

    mode: PlaceMode
    allow_outside: bool
    unturned: Collection[Path]
    on_image: Callable[[], None]
    losses: Losses


def write_dataset(
    splits: dict[str, Annotations],
    out: Path,
    *,
    to: Format,
    images: PlaceMode = "copy",
    allow_outside: bool = False,
    unturned: Collection[Path] = (),
    on_image: Callable[[], None] = lambda: None,
) -> WrittenDataset:
    """Splits by name -> a folder in the usual layout of a format.

    Left out are pictures that are not there, files that are no pictures and, without `allow_outside`, what lies outside
    the data set's folders. `unturned` ones lose their EXIF rotation, where the annotations are for the pixels as they
    are stored. Objects of classes that are not there are a DatasetError.
    """
    if to not in FORMATS:
        raise ConfigError(f"format is {to!r}; expected one of {', '.join(FORMATS)}")
    need_folder_free(out)
    for annotations in splits.values():
        annotations.need_known_names()
    _need_a_picture(splits, allow_outside)
    written = WrittenDataset(out, to)
    splits = {name: _with_finite_boxes(part, written.losses) for name, part in _with_the_same_classes(splits).items()}
    num_keypoints = max((part.num_keypoints for part in splits.values() if part.has_keypoints), default=0)
    free = FreeNames()  # VOC has one folder for all splits
    for split, annotations in splits.items():
        placing = _Placing(images, allow_outside, unturned, on_image, written.losses)
        names = _place_all(annotations, out, split, to, free, placing)
        kept = [index for index, name in enumerate(names) if name is not None]
        written.losses += _write_split(annotations, out, split, to, names, num_keypoints)
        written.losses["annotations that could not be read, left out"] += len(annotations.problems)
        written.splits[split] = len(kept)
        written.objects += sum(_num_written(annotations, index, to) for index in kept)
    if to == "yolo" and splits:
        write_yolo_yaml(out, splits)
    return written


def _with_finite_boxes(annotations: Annotations, losses: Losses) -> Annotations:
    """No format can write the others."""
    num_strange = int((~np.isfinite(unpack_decimals(annotations.columns["box"])).all(axis=1)).sum())
    if not num_strange:
        return annotations
    losses["objects whose box is not finite, left out"] += num_strange
    builder = AnnotationsBuilder(num_keypoints=annotations.num_keypoints)
    for index in range(len(annotations)):
        image = builder.add_image(annotations.image(index))
        for info in annotations.objects(index):
            if np.isfinite(info.box_xywh).all():
                builder.add_object(image, info)
    return replace(annotations, columns=builder.columns(), index_path="")


def _num_written(annotations: Annotations, image: int, to: Format) -> int:
    flags = annotations.columns["flags"][annotations.rows(image)]
    return len(flags) if to in ("coco", "cityscapes") else int((flags & CROWD == 0).sum())


def _need_a_picture(splits: dict[str, Annotations], allow_outside: bool) -> None:
    """Some may be missing; where all are, they lie elsewhere and nothing should be written."""
    every = [(annotations, index) for annotations in splits.values() for index in range(len(annotations))]
    paths = [annotations.path(index) for annotations, index in every]
    if paths and not any(path.exists() for path in paths):
        raise DatasetError(f"none of the {len(paths)} pictures exists; first looked for: {paths[0]}")
    if paths and not allow_outside and all(annotations.is_outside(index) for annotations, index in every):
        raise DatasetError(
            f"all {len(paths)} pictures lie outside the data set's folder, as {paths[0]}; --allow-outside copies them"
        )


def _with_the_same_classes(splits: dict[str, Annotations]) -> dict[str, Annotations]:
    """One list of classes for all splits, for formats that have only one: the first split's, then what others add."""
    if len({annotations.class_names for annotations in splits.values()}) <= 1:
        return splits
    names = list(dict.fromkeys(name for annotations in splits.values() for name in annotations.class_names))
    return {split: align_classes(annotations, names) for split, annotations in splits.items()}


def _place_all(
    annotations: Annotations,
    out: Path,
    split: str,
    to: Format,
    free: FreeNames,
    placing: "_Placing",
) -> list[str | None]:
    """-> the name of each image as the annotations of the new format give it; None where the picture is missing."""
    names: list[str | None] = []
    taken = free if to == "voc" else FreeNames()
    for index, file_name in enumerate(_without_common_folder(annotations)):
        source = annotations.path(index)
        if reason := _reason_to_leave_out(annotations, index, placing):
            placing.losses[f"{reason}, left out"] += 1
            names.append(None)
            continue
        name = taken.take(_new_name(file_name, to))
        target = out / _folder(to, split) / name
        place_image(source, target, mode=placing.mode, unturn=source in placing.unturned)
        names.append(f"{split}/{name}" if to in ("coco", "lvis") else name)
        placing.on_image()
    return names


def _reason_to_leave_out(annotations: Annotations, index: int, placing: _Placing) -> str | None:
    source = annotations.path(index)
    if not placing.allow_outside and annotations.is_outside(index):
        return "images outside the data set's folder, for which --allow-outside is needed"
    if not source.exists():
        return "images whose file does not exist"
    try:
        image_head(source)
    except ImageError:  # another file of the machine, which nobody meant to copy
        return "images whose file is no picture"
    return None


def _without_common_folder(annotations: Annotations) -> list[str]:
    """File names without the folders they all begin with: `images/train/` of a YOLO set has no place elsewhere."""
    names = [PurePosixPath(inner_name(annotations.image(index).file_name)) for index in range(len(annotations))]
    common = PurePosixPath(os.path.commonpath([name.parent for name in names])) if names else PurePosixPath()
    return [name.relative_to(common).as_posix() for name in names]


def _folder(to: Format, split: str) -> Path:
    if to == "voc":
        return Path("JPEGImages")
    return Path("leftImg8bit" if to == "cityscapes" else "images", split)


def _new_name(file_name: str, to: Format) -> str:
    if to == "voc":
        return flat_name(file_name)
    if to != "cityscapes":
        return file_name
    path = Path(file_name)  # leftImg8bit/SPLIT/CITY/STEM_leftImg8bit.SUFFIX
    stem = path.stem.removesuffix("_leftImg8bit")
    return f"all/{stem}_leftImg8bit{path.suffix}"


def _write_split(
    annotations: Annotations, out: Path, split: str, to: Format, names: Sequence[str | None], num_keypoints: int
) -> Losses:
    if to in ("coco", "lvis"):
        return write_coco(annotations, out / f"{split}.json", file_names=names, lvis=to == "lvis")
    if to == "voc":
        return write_voc(annotations, out, split=split, file_names=names)
    if to == "cityscapes":
        return write_cityscapes(annotations, out, split=split, file_names=names)
    return write_yolo_labels(annotations, out, split=split, file_names=names, num_keypoints=num_keypoints)
