"""What tells the data of a run from others: a run goes on with the pictures and labels that it was begun with."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from boxwright.data.annotations import Annotations
from boxwright.data.index import LAYOUT
from boxwright.errors import TrainingError

DataMarks = dict[str, dict[str, Any] | None]  # of the splits "train" and "val", as JSON has it
PICTURES = 1_000  # of which at most the sizes in bytes are looked at


def mark_data(train: Annotations, val: Annotations | None) -> DataMarks:
    """Source, counts, and a digest of every name, size, class, box, mask and keypoint of both splits.

    The digest holds no absolute path: the same data in another place are the same data.
    """
    return {"train": _mark(train), "val": None if val is None else _mark(val)}


def need_same_data(before: Any, now: DataMarks, *, folder: Path) -> None:
    """A TrainingError where a run in `folder`, begun on the data `before`, would go on with others."""
    for split, mark in now.items():
        old = before.get(split) if isinstance(before, dict) else None
        if not _agree(old, mark):
            raise TrainingError(
                f"{folder} holds a run on other data: {split} was {_told(old)}, is now {_told(mark)}. Give the same "
                "data to go on, or another folder to begin anew"
            )


def _mark(annotations: Annotations) -> dict[str, Any]:
    return {
        "source": annotations.source,
        "images": len(annotations),
        "objects": annotations.num_objects,
        "layout": LAYOUT,
        "digest": _digest(annotations),
    }


def _digest(annotations: Annotations) -> str:
    digest = hashlib.blake2b("\n".join(annotations.class_names).encode(errors="surrogateescape"), digest_size=16)
    for name, column in sorted(annotations.columns.items()):
        digest.update(f"{name} {column.dtype.str} {column.shape}".encode())
        digest.update(np.ascontiguousarray(column).data)
    for image in np.unique(np.linspace(0, len(annotations) - 1, min(len(annotations), PICTURES)).astype(int)).tolist():
        digest.update(f"{_size(annotations.path(image))} ".encode())
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return -1


def _agree(old: Any, now: Any) -> bool:
    if not isinstance(old, dict) or now is None:
        return old is None and now is None
    names = ["images", "objects"]
    if old.get("layout") == now["layout"]:  # digests of other columns differ, whatever the data
        names.append("digest")
    return all(old.get(name) == now[name] for name in names)


def _told(mark: Any) -> str:
    if not isinstance(mark, dict):
        return "none"
    digest = str(mark.get("digest"))[:8]
    return f"{mark.get('source')} ({mark.get('images')} images, {mark.get('objects')} objects, digest {digest})"
