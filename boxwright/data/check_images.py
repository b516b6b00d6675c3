"""Checks of picture files: there, whole, of the size the annotations say, upright, and each only once."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from boxwright.data.annotations import Annotations
from boxwright.data.image import image_head, load_image
from boxwright.data.image_files import list_images
from boxwright.data.problems import Problems
from boxwright.errors import ImageError
from boxwright.types import Size


@dataclass(frozen=True)
class Look:
    """What opening one picture tells."""

    stored: Size = (0, 0)
    upright: Size = (0, 0)
    orientation: int = 1
    digest: str = ""  # of the pixels, so that another compression level or changed metadata is still the same picture
    missing: bool = False
    fault: str = ""


def look_at(path: Path) -> Look:
    if not path.is_file():
        return Look(missing=True)
    try:
        head = image_head(path)
        pixels = load_image(path)
    except ImageError as error:
        return Look(fault=str(error))
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=16, key=repr(pixels.shape).encode())
    return Look(head.stored, head.upright, head.orientation, digest.hexdigest())


def look_at_all(annotations: Annotations, on_image: Callable[[], None]) -> list[Look]:
    """Decodes every picture, on all processors."""
    looks = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for look in pool.map(look_at, (annotations.path(index) for index in range(len(annotations)))):
            looks.append(look)
            on_image()
    return looks


def check_images(split: str, annotations: Annotations, looks: list[Look], problems: Problems) -> None:
    for index, look in enumerate(looks):
        place, size = str(annotations.path(index)), annotations.size(index)
        if annotations.is_outside(index):
            detail = "not copied by convert and --fix but with --allow-outside"
            problems.add("outside_image", place, detail, split=split, image=index)
        for kind, detail in _faults(look, size):
            problems.add(kind, place, detail, split=split, image=index)


def _faults(look: Look, size: Size) -> Iterator[tuple[str, str]]:
    if look.missing:
        yield "missing_image", "no such file"
    elif look.fault:
        yield "corrupt_image", look.fault
    elif look.orientation == 1 or look.upright != look.stored:
        if look.upright == size:
            return
        if look.stored == size:
            yield "exif_rotation", f"EXIF orientation {look.orientation}; the annotations are for the picture unturned"
        else:
            yield "wrong_size", f"annotations say {_text(size)}, the picture is {_text(look.upright)} (height x width)"
    elif look.upright == size:
        yield "exif_rotation", f"EXIF orientation {look.orientation}; sizes do not tell whether annotations follow it"
    else:
        yield "wrong_size", f"annotations say {_text(size)}, the picture is {_text(look.upright)} (height x width)"


def _text(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def check_copies(splits: Mapping[str, Annotations], looks: Mapping[str, list[Look]], problems: Problems) -> None:
    """The same pixels under two names: within a split a duplicate, over two splits a leak."""
    first_seen: dict[str, tuple[str, int]] = {}
    for split, annotations in splits.items():
        for index, look in enumerate(looks[split]):
            if not look.digest:
                continue
            other_split, other = first_seen.setdefault(look.digest, (split, index))
            if (other_split, other) == (split, index):
                continue
            kind = "duplicate_image" if other_split == split else "leaked_image"
            detail = f"the same picture as {splits[other_split].path(other)} of {other_split}"
            problems.add(kind, str(annotations.path(index)), detail, split=split, image=index)


def check_unlisted(splits: Mapping[str, Annotations], problems: Problems) -> None:
    """Pictures beside the listed ones that no split names; nothing is looked for outside the data set's folders."""
    every = [(annotations, index) for annotations in splits.values() for index in range(len(annotations))]
    listed = {annotations.path(index).resolve() for annotations, index in every}
    inside = {
        annotations.path(index).parent.resolve() for annotations, index in every if not annotations.is_outside(index)
    }
    for folder in sorted(inside):
        for path in list_images(folder):
            if path.resolve() not in listed:
                problems.add("unlisted_image", str(path), "no annotation file names it")
                listed.add(path.resolve())
