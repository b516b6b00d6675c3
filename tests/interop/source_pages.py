"""The tables in `docs/sources/*.md`, made from the tables of the readers: `python -m tests.interop.source_pages`.

A page holds text written by hand and places such as `<!-- table: keys -->`, after which its table stands.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from boxwright.interop.classifiers import efficientnet as efficientnet_weights
from boxwright.interop.classifiers import imagenet as imagenet_weights
from boxwright.interop.detectron import keys as detectron_keys
from boxwright.interop.detectron.pytorch_weights import detectron_pytorch_names
from boxwright.interop.detectron.weights import detectron_names
from boxwright.interop.detectron2 import keys as detectron2_keys
from boxwright.interop.detectron2 import lazy_keys as detectron2_lazy_keys
from boxwright.interop.detectron2.weights import detectron2_names
from boxwright.interop.mmdetection import keys as mmdetection_keys
from boxwright.interop.mmdetection import run_keys as mmdetection_run_keys
from boxwright.interop.mmdetection.weights import mmdetection_names
from boxwright.interop.tables.keys import Key
from boxwright.interop.tables.rename import Pair
from boxwright.interop.torchvision import keys as torchvision_keys
from boxwright.interop.torchvision.config import BUILDERS
from boxwright.interop.torchvision.weights import torchvision_names

FOLDER = Path(__file__).parents[2] / "docs" / "sources"
PLACE = re.compile(r"<!-- table: (?P<name>[\w ]+) -->\n(?P<table>(?:\n|\|.*\n)*)")


def keys(rows: Iterable[Key]) -> list[str]:
    """| key | what becomes of it |"""
    lines = [f"| `{key.path}` | {_meaning(key)} |" for key in rows]
    return ["| key | here |", "|---|---|", *dict.fromkeys(lines)]


def typed(tables: dict[str, tuple[Key, ...]]) -> list[str]:
    """| type | key | what becomes of it |"""
    lines = [f"| `{kind}` | `{key.path}` | {_meaning(key)} |" for kind, rows in tables.items() for key in rows]
    return ["| type | key | here |", "|---|---|---|", *dict.fromkeys(lines)]


def names(pairs: Iterable[Pair]) -> list[str]:
    """| weight there | weight here |"""
    lines = [f"| `{theirs}` | {'dropped' if ours is None else f'`{ours}`'} |" for theirs, ours in pairs]
    return ["| there | here |", "|---|---|", *dict.fromkeys(lines)]


def _meaning(key: Key) -> str:
    if key.ours:
        return ", ".join(f"`{name}`" if re.fullmatch(r"[\w.*]+", name) else name for name in key.ours)
    reason = key.reason.replace("|", "\\|")
    if key.allowed is None:
        return f"no effect: {reason}"
    values = " or ".join(f"`{value!r}`".replace("|", "\\|") for value in key.allowed)
    return f"only {values}: {reason}"


def _builders() -> list[str]:
    lines = [f"| `{name}` | {builder.family} | {builder.body} |" for name, builder in BUILDERS.items()]
    return ["| builder | model | backbone |", "|---|---|---|", *lines]


TABLES: dict[str, Callable[[], list[str]]] = {
    "detectron keys": lambda: keys(detectron_keys.KEYS),
    "detectron blobs": lambda: names(detectron_names(c5="backbone.c5").pairs),
    "detectron pytorch names": lambda: names(detectron_pytorch_names(pyramid=True, group_norm=False).pairs),
    "detectron2 keys": lambda: keys(detectron2_keys.KEYS),
    "detectron2 lazy keys": lambda: typed(detectron2_lazy_keys.MODELS | detectron2_lazy_keys.RUN),
    "detectron2 names": lambda: names(detectron2_names(pyramid=True).pairs),
    "mmdetection top": lambda: keys(mmdetection_run_keys.TOP.values()),
    "mmdetection keys": lambda: typed(mmdetection_keys.TYPES | mmdetection_run_keys.RUN),
    "mmdetection names": lambda: names(mmdetection_names(levels=4, retinanet=False, norm="bn").pairs),
    "torchvision builders": _builders,
    "torchvision keys": lambda: keys(
        key
        for part in ("BUILDER", "TRANSFORM", "BOX", "KEYPOINT", "RETINANET")
        for key in getattr(torchvision_keys, part)
    ),
    "torchvision names": lambda: names(torchvision_names().pairs),
    "classifiers": lambda: names(imagenet_weights.resnet_names().pairs),
    "efficientnet": lambda: names(efficientnet_weights.LUKEMELAS),
}


def with_tables(text: str) -> str:
    """A page with every table as it is now."""
    return PLACE.sub(lambda place: f"<!-- table: {place['name']} -->\n\n{_lines(place['name'])}\n", text)


def _lines(name: str) -> str:
    return "\n".join(TABLES[name]()) + "\n"


def main() -> None:
    for page in sorted(FOLDER.glob("*.md")):
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(page.name)


if __name__ == "__main__":
    main()
