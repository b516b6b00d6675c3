"""Picture files in folders: which there are, where they are copied to."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from boxwright.data.exif import without_rotation
from boxwright.errors import DatasetError, ImageError
from boxwright.files import MOST_OF_PICTURE, atomic_write, read_bytes

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")
PlaceMode = Literal["copy", "link"]


def is_image_name(name: str) -> bool:
    """By its suffix, in any case."""
    return name.lower().endswith(SUFFIXES)


def list_images(folder: Path) -> list[Path]:
    """All pictures below a folder, in the order of their names."""
    return sorted(_walk(folder)) if folder.is_dir() else []


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if is_image_name(name) and not name.startswith("."))


def find_by_stem(folder: Path, stem: str) -> Path | None:
    """The picture with this stem, whatever its suffix."""
    for suffix in SUFFIXES:
        for spelled in (suffix, suffix.upper()):
            if (folder / f"{stem}{spelled}").exists():
                return folder / f"{stem}{spelled}"
    return None


def place_image(source: Path, target: Path, *, mode: PlaceMode, unturn: bool = False) -> None:
    """A copy or a symbolic link; the source is never opened for writing. `unturn` copies without the EXIF rotation."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if unturn:
        with atomic_write(target) as file:
            file.write(without_rotation(read_bytes(source, error=ImageError, most=MOST_OF_PICTURE), name=str(source)))
        return
    if mode == "link":
        target.unlink(missing_ok=True)
        target.symlink_to(source.resolve())
        return
    with source.open("rb") as content, atomic_write(target) as file:
        shutil.copyfileobj(content, file, 1 << 20)


class FreeNames:
    """Hands out file names whose stems are not taken yet, in no upper or lower case either."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        """`name`, or with _2, _3, ... before its suffix where its stem is taken; it is taken from then on."""
        stem, suffix = os.path.splitext(name)
        number, free = 2, name
        while os.path.splitext(free)[0].lower() in self._taken:  # labels are named by the stem alone
            free = f"{stem}_{number}{suffix}"
            number += 1
        self._taken.add(os.path.splitext(free)[0].lower())
        return free


def flat_name(file_name: str) -> str:
    """A name with folders as one file name: `train/a.jpg` -> `train_a.jpg`. Nothing points outside its folder."""
    parts = [part for part in Path(file_name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    return "_".join(parts)


def inner_name(file_name: str) -> str:
    """A relative name that stays below its folder: absolute paths and `..` keep their last part only."""
    path = Path(file_name.replace("\\", "/"))
    return path.name if path.is_absolute() or ".." in path.parts else path.as_posix()


def need_folder_free(out: Path) -> None:
    """A new data set is never mixed into a folder with other things."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"{out} exists and is not an empty folder; name a new one")
