"""A data set on disk: OUT/images, OUT/train.json and OUT/val.json in COCO form, the same bytes for the same seed."""

import json
import os
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
    workers: int | None = None,
    overwrite: bool = False,
    on_image: Callable[[], None] | None = None,
) -> Summary:
    """Writes `images` pictures of size x size and their annotations; the last `val_fraction` of them are val.json.

    The folder appears complete or not at all. One that is already there is replaced only with `overwrite`, and only if
    it was made here. `workers` (threads) changes the time and not a byte; `on_image` is called after each picture.
    """
    _check(kind=kind, images=images, seed=seed, size=size, val_fraction=val_fraction)
    out = Path(out)
    _check_target(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part"))
    try:
        part.chmod(0o755)
        (part / "images").mkdir()
        made = _write_images(part / "images", kind, images, seed, size, workers, on_image)
        num_val = round(images * val_fraction)
        info = {"description": f"{_MARK}: {kind}", "seed": seed, "size": size, "images": images, "version": "1"}
        for split, chosen in (("train", range(images - num_val)), ("val", range(images - num_val, images))):
            coco = _coco(info, kind, size, {index: made[index] for index in chosen})
            (part / f"{split}.json").write_text(json.dumps(coco, separators=(",", ":")), encoding="utf-8")
        _put_in_place(part, out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    every = [annotation for annotations in made for annotation in annotations]
    return Summary(
        folder=out,
        kind=kind,
        num_train=images - num_val,
        num_val=num_val,
        num_annotations=len(every),
        num_crowds=sum(annotation["iscrowd"] for annotation in every),
        categories=tuple(category["name"] for category in _CATEGORIES[kind]),
    )


def _check(*, kind: str, images: int, seed: int, size: int, val_fraction: float) -> None:
    if kind not in KINDS:
        raise DatasetError(f"kind {kind!r}: expected one of {', '.join(KINDS)}")
    if images < 1:
        raise DatasetError(f"images {images}: expected at least 1")
    if size < SMALLEST:
        raise DatasetError(f"size {size}: expected at least {SMALLEST} pixels")
    if seed < 0:
        raise DatasetError(f"seed {seed}: expected 0 or more")
    if not 0 <= val_fraction <= 1:
        raise DatasetError(f"val_fraction {val_fraction}: expected a number from 0 to 1")


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
        return str(info["description"]).startswith(_MARK)
    except (DatasetError, KeyError, TypeError):
        return False


def _write_images(
    folder: Path, kind: str, images: int, seed: int, size: int, workers: int | None, on_image: Callable[[], None] | None
) -> list[list[Annotation]]:
    """Draws, encodes and writes each picture; returns its annotations, by picture. Each has its own generator."""

    def make(index: int) -> list[Annotation]:
        scene = draw_scene(kind, size=size, seed=seed, index=index)
        _, encoded = cv2.imencode(_SUFFIX[kind], scene.picture[:, :, ::-1], _ENCODING[_SUFFIX[kind]])
        (folder / _file_name(kind, index)).write_bytes(encoded.tobytes())
        return list(scene.annotations())

    made = []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for annotations in pool.map(make, range(images)):
            made.append(annotations)
            if on_image is not None:
                on_image()
    return made


def _file_name(kind: str, index: int) -> str:
    return f"{index + 1:06d}{_SUFFIX[kind]}"


def _coco(info: dict[str, Any], kind: str, size: int, made: dict[int, list[Annotation]]) -> dict[str, Any]:
    """Image and annotation ids count over the whole set, so those of train and val do not clash."""
    return {
        "info": info,
        "images": [
            {"id": index + 1, "file_name": _file_name(kind, index), "height": size, "width": size} for index in made
        ],
        "annotations": [
            {"id": (index + 1) * 1000 + number, "image_id": index + 1, **annotation}
            for index, annotations in made.items()
            for number, annotation in enumerate(annotations)
        ],
        "categories": _CATEGORIES[kind],
    }


def _put_in_place(part: Path, out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        old = out.with_name(f".{out.name}.{os.getpid()}.old")
        out.rename(old)
        part.rename(out)
        shutil.rmtree(old)
    else:
        part.rename(out)
