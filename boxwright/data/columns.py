"""Compact columns of the annotation index: texts in one blob, decimals as small integers, rows of unequal length."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

STEP = 100.0  # annotation tools write at most two decimals almost always


@dataclass(frozen=True)
class Texts:
    """Byte strings laid end to end: text i is `blob[first[i]:first[i + 1]]`."""

    blob: NDArray[np.uint8]
    first: NDArray[np.int64]

    @classmethod
    def pack(cls, texts: Sequence[bytes]) -> Self:
        """A copy of all of them."""
        return cls(np.frombuffer(b"".join(texts), dtype=np.uint8), offsets([len(text) for text in texts]))

    def __len__(self) -> int:
        return len(self.first) - 1

    def bytes_at(self, index: int) -> bytes:
        """A copy of text `index`."""
        return self.blob[self.first[index] : self.first[index + 1]].tobytes()

    def text_at(self, index: int) -> str:
        """As the system names files: bytes that are no UTF-8 stay what they are, as surrogates."""
        return os.fsdecode(self.bytes_at(index))  # a file's name may be of another encoding


def offsets(lengths: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
    """Lengths of rows -> where each starts, and at the end where the last stops."""
    first = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=first[1:])
    return first


def narrow(values: NDArray[np.integer]) -> NDArray[np.integer]:
    """In the fewest bytes that hold all values."""
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    types = (np.dtype(name) for name in ("u1", "i1", "u2", "i2", "u4", "i4", "i8"))
    return values.astype(next(one for one in types if np.iinfo(one).min <= low and high <= np.iinfo(one).max))


def to_hundredths(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """-> the numbers times 100, and where that loses nothing; elsewhere they are 0.

    Division by 100 rounds correctly, so it gives back the very double that reading the decimal text gave.
    """
    with np.errstate(over="ignore"):
        hundredths = np.rint(values * STEP)
    is_exact = (np.abs(hundredths) < 2**31) & (hundredths / STEP == values)
    return np.where(is_exact, hundredths, 0).astype(np.int64), is_exact


def pack_decimals(values: NDArray[np.float64]) -> NDArray[Any]:
    """float64 -> hundredths as small integers where all of them are that, else the values as they are."""
    hundredths, is_exact = to_hundredths(values)
    return narrow(hundredths) if is_exact.all() else values


def unpack_decimals(packed: NDArray[Any]) -> NDArray[np.float64]:
    """What `pack_decimals` was given, to the last bit; float64 as input is handed back, not copied."""
    return packed / STEP if packed.dtype != np.float64 else packed
