"""COCO's compressed run lengths, read without trust: the C decoder writes wherever the numbers tell it to."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from boxwright.errors import ShapeError


def _expand_counts(counts: bytes) -> NDArray[np.int64]:
    """Compressed counts -> the lengths of alternating runs of 0 and 1, column by column.

    Each number is written in groups of 5 bits, lowest first, with a sign in the last; from the fourth on it is the
    difference from the number two places before.
    """
    codes = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return np.empty(0, dtype=np.int64)
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        raise ShapeError("run lengths hold characters that COCO's encoding does not have")
    ends = np.flatnonzero(codes & 0x20 == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    places = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    if places.max() > 11:
        raise ShapeError("run lengths hold a number of more than 60 bits")
    values = np.add.reduceat((codes & 0x1F) << (5 * places), starts)
    negative = codes[ends] & 0x10 != 0
    values -= np.where(negative, np.int64(1) << (5 * (places[ends] + 1)).astype(np.int64), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def checked_counts(counts: Any, size: tuple[int, int]) -> bytes:
    """Either form of counts -> compressed counts that are known to fill `size`. ShapeError says what is wrong."""
    if isinstance(counts, str):
        counts = counts.encode("ascii", errors="replace")
    if isinstance(counts, bytes):
        _check_runs(_expand_counts(counts), size)
        return counts
    if not isinstance(counts, list):
        raise ShapeError(f"run lengths are a {type(counts).__name__}; expected a list or a text")
    try:
        runs = np.array(counts, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError("run lengths are not all numbers") from error
    if runs.ndim != 1 or not np.isfinite(runs).all() or (runs != np.rint(runs)).any():
        raise ShapeError("run lengths are not all whole numbers")
    _check_runs(runs.astype(np.int64), size)
    rle: dict[str, Any] = coco_mask.frPyObjects({"size": list(size), "counts": runs.astype(np.int64).tolist()}, *size)
    packed: bytes = rle["counts"]
    return packed


def _check_runs(runs: NDArray[np.int64], size: tuple[int, int]) -> None:
    if len(runs) and runs.min() < 0:
        raise ShapeError("run lengths hold a negative length")
    total = int(runs.sum())
    if total != size[0] * size[1]:
        raise ShapeError(f"run lengths fill {total} pixels; {size[0]} x {size[1]} has {size[0] * size[1]}")
