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
class PictureFacts:
    """What is found by decoding one picture; `fault` is why it cannot be decoded."""

    stored: Size = (0, 0)
    upright: Size = (0, 0)
    orientation: int = 1
    digest: str = ""  # of the pixels, so that another compression level or changed metadata is still the same picture
    missing: bool = False
    fault: str = ""


def facts_of(path: Path) -> PictureFacts:
    """Decodes one picture; what is wrong with it is in the result, nothing is raised for it."""
    if not path.is_file():
        return PictureFacts(missing=True)
    try:
        head = image_head(path)
        pixels = load_image(path)
    except ImageError as error:
        return PictureFacts(fault=str(error))
    digest = hashlib.blake2b(pixels.tobytes(), digest_size=16, key=repr(pixels.shape).encode())
    return PictureFacts(head.stored, head.upright, head.orientation, digest.hexdigest())


def facts_of_all(annotations: Annotations, on_image: Callable[[], None]) -> list[PictureFacts]:
    """Decodes every picture, on all processors."""
    facts = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for picture in pool.map(facts_of, (annotations.path(index) for index in range(len(annotations)))):
            facts.append(picture)
            on_image()
    return facts


def check_images(split: str, annotations: Annotations, facts: list[PictureFacts], problems: Problems) -> None:
    """Adds to `problems` what is wrong with each picture by itself; `facts` are those of the images in their order."""
    for index, picture in enumerate(facts):
        place, size = str(annotations.path(index)), annotations.size(index)
        if annotations.is_outside(index):
            detail = "not copied by convert and --fix but with --allow-outside"
            problems.add("outside_image", place, detail, split=split, image=index)
        for kind, detail in _faults(picture, size):
            problems.add(kind, place, detail, split=split, image=index)


def _faults(picture: PictureFacts, size: Size) -> Iterator[tuple[str, str]]:
    rotation = f"EXIF orientation {picture.orientation}"
    if picture.missing:
        yield "missing_image", "no such file"
    elif picture.fault:
        yield "corrupt_image", picture.fault
    elif size not in (picture.upright, picture.stored):
        yield "wrong_size", f"annotations say {_text(size)}, the picture is {_text(picture.upright)} (height x width)"
    elif size != picture.upright:
        yield "exif_rotation", f"{rotation}; the annotations are for the picture unturned"
    elif picture.orientation != 1 and picture.stored == picture.upright:
        yield "exif_rotation", f"{rotation}; sizes do not tell whether annotations follow it"


def _text(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def check_copies(
    splits: Mapping[str, Annotations], facts: Mapping[str, list[PictureFacts]], problems: Problems
) -> None:
    """The same pixels under two names: within a split a duplicate, over two splits a leak."""
    first_seen: dict[str, tuple[str, int]] = {}
    for split, annotations in splits.items():
        for index, picture in enumerate(facts[split]):
            if not picture.digest:
                continue
            other_split, other = first_seen.setdefault(picture.digest, (split, index))
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
