"""Compact columns of the annotation index: texts in one blob, decimals as small integers, rows of unequal length."""

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
        return cls(np.frombuffer(b"".join(texts), dtype=np.uint8), offsets([len(text) for text in texts]))

    def __len__(self) -> int:
        return len(self.first) - 1

    def bytes_at(self, index: int) -> bytes:
        return self.blob[self.first[index] : self.first[index + 1]].tobytes()

    def text_at(self, index: int) -> str:
        return self.bytes_at(index).decode()


def offsets(lengths: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
    """Lengths of rows -> where each starts, and at the end where the last stops."""
    first = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=first[1:])
    return first


def pack_decimals(values: NDArray[np.float64]) -> NDArray[Any]:
    """float64 -> uint16 or int32 hundredths where that loses nothing, else the values as they are.

    Division by 100 rounds correctly, so it gives back the very double that reading the decimal text gave.
    """
    if not np.isfinite(values).all():
        return values
    hundredths = np.rint(values * STEP)
    if values.size and (np.abs(hundredths).max() >= 2**31 or not np.array_equal(hundredths / STEP, values)):
        return values
    if values.size and (hundredths.min() < 0 or hundredths.max() > 65535):
        return hundredths.astype(np.int32)
    return hundredths.astype(np.uint16)


def unpack_decimals(packed: NDArray[Any]) -> NDArray[np.float64]:
    return packed / STEP if packed.dtype != np.float64 else packed
