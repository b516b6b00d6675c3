"""Stand-ins for the values that a pickle builds in steps.

A pickle names a function, gives its arguments, and later hands over more state. No function of a file is ever
looked up or called: the machine in `pickle.py` keeps the stand-ins below on its stack, and `settle` replaces them by
plain values once the whole pickle has been read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from boxwright.errors import UnsafeFileError, WeightsError
from boxwright.interop.files.byte_source import Budget, Source

MAX_DIMENSIONS = 32
MAX_DEPTH = 100  # configs inside checkpoints reach about 15
MAX_NODES = 10_000_000  # values counted as often as they are reached, against a small file that unfolds without end


@dataclass(frozen=True, slots=True)
class Opaque:
    """An object of a known harmless class of another library, beside the weights: its name and data, no behaviour."""

    name: str
    arguments: Any = ()
    state: Any = None


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the pickle mentions, of the ones we know. It is never imported."""

    name: str


@dataclass(eq=False)
class Blob:
    """A long string of bytes: the numbers of an array, or a value by itself. Python 2 used it for text too."""

    buffer: npt.NDArray[np.uint8]
    is_text: bool

    @cached_property
    def value(self) -> bytes | str:
        """A copy: the bytes, or the text whose characters they are."""
        raw = self.buffer.tobytes()
        return raw.decode("latin-1") if self.is_text else raw


@dataclass(eq=False)
class PendingDtype:
    """numpy.dtype(code), whose byte order follows."""

    code: str
    order: Literal["<", ">", "=", "|"] = "="

    def build(self) -> np.dtype[Any]:
        """numpy's element type, in the byte order that came."""
        return np.dtype(self.code).newbyteorder(self.order)


@dataclass(eq=False)
class PendingArray:
    """numpy's _reconstruct, whose shape and numbers follow."""

    array: npt.NDArray[Any] | None = None


@dataclass(eq=False)
class PendingTensor:
    """The tensor of PyTorch before 0.2, whose storage follows."""

    tensor: Tensor | None = None


@dataclass(eq=False)
class PendingOpaque:
    """An Opaque whose state may follow."""

    name: str
    arguments: Any
    state: Any = None


@dataclass(eq=False)
class Storage:
    """A run of numbers that tensors look into: elements `start` .. `start + count` of `memory`.

    `memory` (B,) uint8 is filled before the reader returns; `dtype` is None for untyped storages, which count in bytes.
    """

    memory: Tensor
    dtype: torch.dtype | None
    count: int
    start: int = 0
    filled: bool = field(default=False)

    @property
    def flat(self) -> Tensor:
        """(count,) in its element type, uint8 where it has none; shares `memory`."""
        width = width_of(self.dtype)
        held = self.memory[self.start * width : (self.start + self.count) * width]
        return held if self.dtype is None else held.view(self.dtype)


def width_of(kind: torch.dtype | None) -> int:
    """Bytes of one element of a storage."""
    return 1 if kind is None else kind.itemsize


REMEDY = (
    "Where you trust the file, open it with the program that wrote it, and save the weights alone: "
    "torch.save(model.state_dict(), 'weights.pth')."
)


@dataclass
class Context:
    """What a builder may use: the place for error messages, the memory left, a reader for a torch file inside."""

    source: Source
    budget: Budget
    read_nested: Callable[[bytes, Budget], Any] | None = None

    def misfit(self, name: str, arguments: tuple[Any, ...]) -> WeightsError:
        """To raise where `arguments` are none that the builder of `name` takes."""
        kinds = ", ".join(type(argument).__name__ for argument in arguments[:8])
        return self.source.damaged(f"{name} has arguments that do not fit it ({kinds})")


Builder = Callable[[Context, str, tuple[Any, ...]], Any]


def as_bytes(value: Any) -> bytes | None:
    """Bytes, or a text of Python 2, whose characters are bytes."""
    if isinstance(value, Blob):
        return value.buffer.tobytes()
    if isinstance(value, str):
        try:
            return value.encode("latin-1")
        except UnicodeEncodeError:
            return None
    return value if isinstance(value, bytes) else None


def as_text(value: Any) -> str | None:
    """A short text; Python 2's were bytes."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else None


def sizes(value: Any) -> tuple[int, ...] | None:
    """A tuple or list of non-negative 64-bit integers of bounded length, else None."""
    if not isinstance(value, tuple | list) or len(value) > MAX_DIMENSIONS:
        return None
    return tuple(value) if all(type(n) is int and 0 <= n < 2**63 for n in value) else None


_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.Tensor, np.ndarray})


class _Settled(NamedTuple):
    """A plain value, how many values it holds, each as often as it is reached, and how deep they are nested."""

    value: Any
    size: int = 1
    height: int = 0


class _Settler:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.done: dict[int, _Settled] = {}  # by the id of a node
        self.open: set[int] = set()

    def settle(self, node: Any, depth: int = 0) -> "_Settled":
        if type(node) in _ATOMS or isinstance(node, np.generic):
            return _Settled(node)
        known = self.done.get(id(node))
        if known is None:
            if id(node) in self.open:
                raise self._unsafe("a value holds itself")
            self._check_depth(depth)
            self.open.add(id(node))
            known = self._plain(node, depth + 1)
            self.open.discard(id(node))
            self.done[id(node)] = known
        self._check_depth(depth + known.height)
        return known

    def _plain(self, node: Any, depth: int) -> "_Settled":
        if isinstance(node, dict):
            inside = self._each(node.values(), depth)
            return inside._replace(value=dict(zip(node.keys(), inside.value, strict=True)))
        if isinstance(node, list):
            return self._each(node, depth)
        if isinstance(node, tuple):
            inside = self._each(node, depth)
            return inside._replace(value=tuple(inside.value))
        if isinstance(node, set):
            return _Settled(node, 1 + len(node))  # its members were checked to be plain when they were added
        if isinstance(node, PendingOpaque):
            inside = self._each((node.arguments, node.state), depth)
            return inside._replace(value=Opaque(node.name, *inside.value))
        return _Settled(self._leaf(node))

    def _each(self, nodes: Any, depth: int) -> "_Settled":
        values, size, height = [], 1, 0
        for node in nodes:
            value, count, below = self.settle(node, depth)
            values.append(value)
            size += count
            height = max(height, below)
        if size > MAX_NODES:
            raise self._unsafe(f"values that share one another unfold to over {MAX_NODES:,}")
        return _Settled(values, size, height + 1)

    def _check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._unsafe(f"values are nested over {MAX_DEPTH} deep")

    def _leaf(self, node: Any) -> Any:
        match node:
            case Blob():
                return node.value
            case PendingDtype():
                return node.build()
            case PendingArray(array=array) if array is not None:
                return array
            case PendingTensor(tensor=tensor) if tensor is not None:
                return tensor
            case Storage():
                return node.flat
            case Global():
                return Opaque(node.name)
        raise self.source.damaged(f"a {type(node).__name__.removeprefix('Pending').lower()} was never completed")

    def _unsafe(self, what: str) -> UnsafeFileError:
        return self.source.unsafe(what, "No checkpoint needs this: the file is damaged or hostile.")


def settle(node: Any, source: Source) -> Any:
    """Plain data from what the machine built: stand-ins replaced, cycles and endless nesting refused.

    A value that several places share stays shared.
    """
    return _Settler(source).settle(node).value
