"""The names by which Detectron and Detectron2 call their data sets -> where those lie under a root."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from boxwright.data.formats.folder import Split
from boxwright.errors import DatasetError

ROOT_VARIABLES = ("BOXWRIGHT_DATA", "DETECTRON2_DATASETS")
_COCO = re.compile(r"(?P<keypoints>keypoints_)?coco_(?P<year>20\d\d)_(?P<split>[a-z-]+(_100)?)")
_LVIS = re.compile(r"lvis_(?P<version>v0\.5|v1)_(?P<split>train|val)(?P<rest>_cocofied|_rand_100)?")
_VOC = re.compile(r"voc_(?P<year>20\d\d)_(?P<split>trainval|train|val|test)")
_CITYSCAPES = re.compile(r"cityscapes_fine_(instance_seg|instanceonly_seg)_(?P<split>train|val|test)")


def is_known(name: str) -> bool:
    """Whether `find_known` understands the name; nothing is looked for."""
    return any(pattern.fullmatch(name) for pattern in (_COCO, _LVIS, _VOC, _CITYSCAPES))


def find_known(name: str, *, root: str | Path | None = None) -> Split:
    """`coco_2014_minival`, `keypoints_coco_2017_train`, `lvis_v1_train`, `voc_2007_trainval`, ... -> its Split.

    Looked for under `root`, else under $BOXWRIGHT_DATA, $DETECTRON2_DATASETS, `datasets` and `data`.
    """
    tried = []
    for folder in _roots(root):
        for split in _candidates(name, folder):
            if split.annotations.exists():
                return split
            tried.append(split.annotations)
    places = ", ".join(str(path) for path in dict.fromkeys(tried))
    raise DatasetError(
        f"data set {name!r} is not there; looked for {places}. "
        "Put it there, or name the folder it lies in (data.root or $BOXWRIGHT_DATA)"
    )


def _roots(root: str | Path | None) -> list[Path]:
    if root is not None:
        return [Path(root)]
    named = [os.environ[variable] for variable in ROOT_VARIABLES if os.environ.get(variable)]
    return [Path(folder) for folder in (*named, "datasets", "data")]


def _candidates(name: str, root: Path) -> Iterator[Split]:
    if match := _COCO.fullmatch(name):
        yield from _coco(match, root)
    elif match := _LVIS.fullmatch(name):
        version, split, rest = match["version"], match["split"], match["rest"] or ""
        for images in (root / "coco", root):
            path = root / "lvis" / f"lvis_{version}_{split}{rest}.json"
            yield Split("lvis", root, path, images, split)
    elif match := _VOC.fullmatch(name):
        year, split = match["year"], match["split"]
        for parent in (root, root / "VOCdevkit", root / f"VOC{year}" / f"VOCdevkit{year}"):
            folder = parent / f"VOC{year}"
            listing = folder / "ImageSets" / "Main" / f"{split}.txt"
            yield Split("voc", folder, folder if listing.exists() else listing, folder, split, (folder,))
    elif match := _CITYSCAPES.fullmatch(name):
        for folder in (root / "cityscapes", root):
            polygons = folder / "gtFine" / match["split"]
            yield Split("cityscapes", folder, folder if polygons.is_dir() else polygons, folder, match["split"])


def _coco(match: "re.Match[str]", root: Path) -> Iterator[Split]:
    """Detectron2 keeps pictures in coco/train2014, Detectron in coco/coco_train2014; the minival halves are val2014."""
    year, split = match["year"], match["split"]
    prefix = "person_keypoints" if match["keypoints"] else "instances"
    pictures = "val" if "minival" in split else split.removesuffix("_100")
    for folder in (root / "coco", root):
        stem = f"{split.removesuffix('_100')}{year}{'_100' * split.endswith('_100')}"
        path = folder / "annotations" / f"{prefix}_{stem}.json"
        names = (f"{pictures}{year}", f"coco_{pictures}{year}", f"images/{pictures}{year}")
        options = [folder / name for name in names]
        images = next((option for option in options if option.is_dir()), options[0])
        yield Split("coco", folder, path, images, split)
