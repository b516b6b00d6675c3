"""The table of published models, kept in `models.json` beside this file.

Names begin with their source: detectron/, detectron2/, mmdet/, torchvision/; backbones for training also come from
open-mmlab/, mmcls/ and efficientnet-pytorch/.
"""

import json
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from boxwright.errors import WeightsError

Family = Literal[
    "faster_rcnn",
    "mask_rcnn",
    "keypoint_rcnn",
    "cascade_rcnn",
    "cascade_mask_rcnn",
    "fast_rcnn",
    "rpn",
    "retinanet",
    "backbone",
]

# Addresses that configs of old days hold, and where the same files are now.
_MOVED = (
    ("https://s3-us-west-2.amazonaws.com/detectron/", "https://dl.fbaipublicfiles.com/detectron/"),
    ("detectron2://", "https://dl.fbaipublicfiles.com/detectron2/"),
    ("http://", "https://"),
)


@dataclass(frozen=True, slots=True)
class Checksum:
    """The first hex digits of a file's digest, as publishers put them into file names."""

    algorithm: Literal["sha256", "md5"]
    prefix: str


@dataclass(frozen=True, slots=True)
class ZooModel:
    """One published model.

    ap: published average precision on `dataset`, fractions of 1, by "box", "mask", "keypoint"; "proposals" is average
    recall of 1000 proposals, "box50" AP at IoU 0.5, "top1" accuracy of a backbone. config: its config as its source
    calls it. aliases: other names that find it.
    """

    name: str
    family: Family
    dataset: str
    url: str
    ap: dict[str, float]
    checksum: Checksum | None = None
    config: str | None = None
    aliases: tuple[str, ...] = field(default=())

    @property
    def source(self) -> str:
        """detectron, detectron2, mmdet, torchvision, ..."""
        return self.name.partition("/")[0]

    @property
    def file_name(self) -> str:
        """The name of the weights' file, under which it is kept."""
        return self.url.rpartition("/")[2]


@cache
def all_models() -> tuple[ZooModel, ...]:
    """Every model of the table, by name."""
    rows = json.loads(files(__package__).joinpath("models.json").read_text("utf-8"))
    return tuple(_model(row) for row in rows)


def find_model(name: str) -> ZooModel:
    """The model of this name, alias or address; `-` and `_` are alike, as are capital letters.

    The file endings .yaml, .py, .pkl and .pth may stand behind the name.
    """
    model = _index().get(_fold(name))
    if model is None:
        near = get_close_matches(_fold(name), [_fold(model.name) for model in all_models()], n=3, cutoff=0.5)
        nearest = f"Nearest: {', '.join(_index()[match].name for match in near)}. " if near else ""
        raise WeightsError(f"no published model is called {name!r}. {nearest}`boxwright zoo list` shows all of them.")
    return model


def is_model_name(name: str) -> bool:
    """Whether `find_model` knows it."""
    return _fold(name) in _index()


@cache
def _index() -> dict[str, ZooModel]:
    """Folded names, aliases and addresses -> model. The names themselves win."""
    models = all_models()
    index = {_fold(alias): model for model in models for alias in (model.url, *model.aliases)}
    return index | {_fold(model.name): model for model in models}


def _fold(name: str) -> str:
    for old, new in _MOVED:
        if name.startswith(old):
            name = new + name.removeprefix(old)
    name = name.strip().casefold().replace("-", "_")
    for ending in (".yaml", ".yml", ".py", ".pkl", ".pth"):
        name = name.removesuffix(ending)
    return name


def _model(row: dict[str, Any]) -> ZooModel:
    algorithm, _, prefix = row.pop("checksum", "").partition(":")
    aliases = tuple(row.pop("aliases", ()))
    return ZooModel(**row, checksum=Checksum(algorithm, prefix) if prefix else None, aliases=aliases)
