"""Reading a file piece by piece with every size checked first.

`Source` hands out bytes and never more than the file has left; `Budget` is the memory that one file may claim
altogether. Both raise errors that name the file and the byte.
"""

from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from boxwright.errors import UnsafeFileError, WeightsError

SMALL = 16 * 2**20  # bytes that any file may claim, so that tiny files need no exact accounting
GROWTH = 4  # bytes in memory per byte of file: text turned to bytes, byte order turned, one copy
MAX_STEPS = 150_000  # and one more for each STEP_BYTES of the file; a Mask R-CNN of 180 MB takes 12,600
STEP_BYTES = 32
MAX_CRAFTED = 5_000  # an optimizer's state has one such key for each parameter


class Budget:
    """What reading one file may cost: memory in bytes, steps of pickles, and keys whose hash the file can choose."""

    def __init__(self, *, name: str, file_size: int) -> None:
        self.name = name
        self.file_size = file_size
        self.left = SMALL + GROWTH * file_size
        self.steps = MAX_STEPS + file_size // STEP_BYTES  # of all pickles in the file together
        self.crafted = MAX_CRAFTED

    def take(self, nbytes: int, what: str) -> None:
        """Called before memory is allocated."""
        self.left -= nbytes
        if nbytes < 0 or self.left < 0:
            raise UnsafeFileError(
                f"{self.name}: {what} asks for {nbytes:,} bytes, more than a file of {self.file_size:,} bytes "
                "warrants: it is damaged or hostile. Fetch it again from its publisher."
            )

    def take_crafted(self, count: int) -> None:
        """Called before a key is hashed whose hash the file can choose; `count`: the numbers and tuples in it."""
        self.crafted -= count
        if self.crafted < 0:
            raise UnsafeFileError(
                f"{self.name}: over {MAX_CRAFTED:,} keys are numbers or tuples that a file could choose in order to "
                "make dicts slow: it is hostile. Save the weights alone, by their names."
            )


class Source:
    """A binary file from its present position up to `end`, both counted in bytes from its start."""

    def __init__(self, file: BinaryIO, *, name: str, end: int, start: int = 0) -> None:
        file.seek(start)
        self._file = file
        self.name = name
        self.end = end
        self.position = start

    @property
    def left(self) -> int:
        """Bytes up to `end`; below 0 where the source starts behind it."""
        return self.end - self.position

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count < 0 or count > self.end - self.position:
            raise self._missing(count)
        data = self._file.read(count)
        if len(data) != count:
            raise self.damaged("it became shorter while it was read")
        self.position += count
        return data

    def line(self, limit: int) -> bytes:
        """Up to and without the next newline."""
        data = self._file.readline(min(limit, max(self.left, 0)))
        if not data.endswith(b"\n"):
            raise self.damaged(f"a line should end within {limit} bytes")
        self.position += len(data)
        return data[:-1]

    def blob(self, count: int) -> npt.NDArray[np.uint8]:
        """The next `count` bytes in memory of their own: aligned and writable, so that it can become a weight."""
        self._check(count)
        buffer = np.empty(count, np.uint8)
        self.read_into(buffer.data)
        return buffer

    def read_into(self, target: memoryview) -> None:
        """Fills `target`, a writable memory of bytes."""
        count = len(target)
        self._check(count)
        done = 0
        while done < count:
            step = self._file.readinto(target[done:])  # type: ignore[attr-defined]
            if not step:
                raise self.damaged("it became shorter while it was read")
            done += step
        self.position += count

    def skip(self, count: int) -> None:
        """Passes over the next `count` bytes, which must be there."""
        self._check(count)
        self._file.seek(count, 1)
        self.position += count

    def damaged(self, what: str) -> WeightsError:
        """To raise: the file is not what it should be, and `what` says how it shows."""
        return WeightsError(f"{self.name}: damaged at byte {self.position:,}: {what}. Fetch or save the file again.")

    def unsafe(self, what: str, remedy: str) -> UnsafeFileError:
        """To raise: the file asks for what is never done here; `remedy` is a sentence on what its owner can do."""
        return UnsafeFileError(f"{self.name}: refused at byte {self.position:,}: {what}. {remedy}")

    def _check(self, count: int) -> None:
        if count < 0 or count > self.left:
            raise self._missing(count)

    def _missing(self, count: int) -> WeightsError:
        return self.damaged(
            f"{count:,} bytes should follow, {max(self.left, 0):,} do: the file is cut short or altered"
        )
