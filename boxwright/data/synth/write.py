"""A data set on disk: OUT/images, OUT/train.json and OUT/val.json in COCO form, the same bytes for the same seed."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from boxwright.data.synth import cells, figures, shapes
from boxwright.data.synth.scene import Scene
from boxwright.errors import DatasetError
from boxwright.json_file import read_json

KINDS = ("shapes", "cells", "figures")
SMALLEST = 32  # pixels: below it, no picture has room for two things
_DRAW = {"shapes": shapes.draw_scene, "cells": cells.draw_scene, "figures": figures.draw_scene}
_CATEGORIES = {"shapes": shapes.CATEGORIES, "cells": cells.CATEGORIES, "figures": figures.CATEGORIES}
_SUFFIX = {"shapes": ".jpg", "cells": ".png", "figures": ".jpg"}  # both formats are met; microscopes do not write JPEG
_ENCODING = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95], ".png": [cv2.IMWRITE_PNG_COMPRESSION, 1]}
_MARK = "boxwright synthetic data"

Annotation = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """What `generate` wrote. `num_annotations` counts crowds too."""

    folder: Path
    kind: str
    num_train: int
    num_val: int
    num_annotations: int
    num_crowds: int
    categories: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """What a set consists of."""

    kind: str
    images: int
    seed: int
    size: int
    val_fraction: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DatasetError(f"kind {self.kind!r}: expected one of {', '.join(KINDS)}")
        if self.images < 1:
            raise DatasetError(f"images {self.images}: expected at least 1")
        if self.size < SMALLEST:
            raise DatasetError(f"size {self.size}: expected at least {SMALLEST} pixels")
        if self.seed < 0:
            raise DatasetError(f"seed {self.seed}: expected 0 or more")
        if not 0 <= self.val_fraction <= 1:
            raise DatasetError(f"val_fraction {self.val_fraction}: expected a number from 0 to 1")

    @property
    def num_train(self) -> int:
        return self.images - round(self.images * self.val_fraction)

    def file_name(self, index: int) -> str:
        return f"{index + 1:06d}{_SUFFIX[self.kind]}"

    def info(self) -> dict[str, Any]:
        description = f"{_MARK}: {self.kind}"
        return {"description": description, "seed": self.seed, "size": self.size, "images": self.images, "version": "1"}


def draw_scene(kind: str, *, size: int, seed: int, index: int) -> Scene:
    """Picture `index` of the set that `kind`, `size` and `seed` name, however many others there are."""
    return _DRAW[kind](np.random.default_rng([seed, KINDS.index(kind), index]), size)


def generate(
    out: str | Path,
    *,
    kind: str,
    images: int,
    seed: int,
    size: int = 320,
    val_fraction: float = 0.2,
    overwrite: bool = False,
    on_image: Callable[[], None] = lambda: None,
) -> Summary:
    """Writes `images` pictures of size x size and their annotations; the last `val_fraction` of them are val.json.

    The folder appears complete or not at all. One that is already there is replaced only with `overwrite`, and only if
    it was made here. `on_image` is called after each picture.
    """
    recipe = _Recipe(kind=kind, images=images, seed=seed, size=size, val_fraction=val_fraction)
    out = Path(out)
    _check_target(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part"))
    try:
        part.chmod(0o755)
        made = _write_images(recipe, part / "images", on_image)
        _write_annotations(recipe, part, made)
        _put_in_place(part, out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    every = [annotation for annotations in made for annotation in annotations]
    return Summary(
        folder=out,
        kind=kind,
        num_train=recipe.num_train,
        num_val=images - recipe.num_train,
        num_annotations=len(every),
        num_crowds=sum(annotation["iscrowd"] for annotation in every),
        categories=tuple(category["name"] for category in _CATEGORIES[kind]),
    )


def _check_target(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise DatasetError(f"{out}: is a file; give a folder")
    if not out.exists() or not any(out.iterdir()):
        return
    if not overwrite:
        raise DatasetError(f"{out}: is not empty; give another folder, or --overwrite to replace a synthetic set there")
    if not _is_ours(out):
        raise DatasetError(f"{out}: holds something other than a synthetic set and is left alone; give another folder")


def _is_ours(folder: Path) -> bool:
    if {path.name for path in folder.iterdir()} - {"images", "train.json", "val.json"}:
        return False
    try:
        info = read_json(folder / "train.json")["info"]
        names = [path.name for path in (folder / "images").iterdir()]
        return str(info["description"]).startswith(_MARK) and all(_is_made(name, info["images"]) for name in names)
    except (OSError, DatasetError, KeyError, TypeError):
        return False


def _is_made(name: str, images: int) -> bool:
    number = re.fullmatch(r"([0-9]{6,9})\.(jpg|png)", name)
    return number is not None and int(number[1]) <= images


def _write_images(recipe: _Recipe, folder: Path, on_image: Callable[[], None]) -> list[list[Annotation]]:
    """Draws, encodes and writes each picture; returns its annotations, by picture. Each has its own generator, so that
    the number of threads changes the time and not a byte."""
    folder.mkdir()
    suffix = _SUFFIX[recipe.kind]

    def make(index: int) -> list[Annotation]:
        scene = draw_scene(recipe.kind, size=recipe.size, seed=recipe.seed, index=index)
        _, encoded = cv2.imencode(suffix, scene.picture[:, :, ::-1], _ENCODING[suffix])
        (folder / recipe.file_name(index)).write_bytes(encoded.tobytes())
        return list(scene.annotations())

    made = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for annotations in pool.map(make, range(recipe.images)):
            made.append(annotations)
            on_image()
    return made


def _write_annotations(recipe: _Recipe, folder: Path, made: list[list[Annotation]]) -> None:
    """Image and annotation ids count over the whole set, so those of train and val do not clash."""
    sides = {"height": recipe.size, "width": recipe.size}
    splits = {"train": range(recipe.num_train), "val": range(recipe.num_train, recipe.images)}
    for split, chosen in splits.items():
        content = {
            "info": recipe.info(),
            "images": [{"id": index + 1, "file_name": recipe.file_name(index), **sides} for index in chosen],
            "annotations": [
                {"id": (index + 1) * 1000 + number, "image_id": index + 1, **annotation}
                for index in chosen
                for number, annotation in enumerate(made[index])
            ],
            "categories": _CATEGORIES[recipe.kind],
        }
        (folder / f"{split}.json").write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")


def _put_in_place(part: Path, out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        old = out.with_name(f".{out.name}.{os.getpid()}.old")
        out.rename(old)
        part.rename(out)
        shutil.rmtree(old)
    else:
        part.rename(out)
