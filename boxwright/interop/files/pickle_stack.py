"""What the instructions of a pickle work on: the stack of the machine in `pickle.py`, its marks and its memo.

A method pushes a value, adds to the one on top, or refuses; each is one instruction, or what several have in common.
"""

import codecs
import struct
from collections.abc import Callable
from typing import Any

from torch import Tensor

from boxwright.interop.files.pickle_globals import BUILDERS, DTYPES, INERT, KNOWN, check_key, today
from boxwright.interop.files.pickle_numbers import make_array, make_tensor
from boxwright.interop.files.pickle_values import (
    REMEDY,
    Blob,
    Context,
    Global,
    PendingArray,
    PendingDtype,
    PendingOpaque,
    PendingTensor,
    sizes,
)

LONG_STRING = 4_096  # from here bytes are kept in memory of their own, which an array may take over
MAX_INTEGER = 64  # bytes
MAX_LINE = 1_000
MAX_NAME = 200
MAX_ARGUMENTS = 100  # the parts of a path; weights and arrays take up to nine

_METHODS = tuple(f"{name}." for name in INERT)  # protocol 4 mentions methods by their full name

Persistent = Callable[[Any], Any]


class Stack:
    """Values in the order they were pushed, `marks` among them, and those that were stored under a number.

    Stand-ins are not replaced. What a pickle cannot ask for here is a WeightsError or an UnsafeFileError.
    """

    def __init__(self, context: Context, *, persistent: Persistent | None = None) -> None:
        """`persistent` gives what stands outside the pickle, by its key; None: a pickle that names such is refused."""
        self.context = context
        self.source = context.source
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    # The stack

    def pop(self) -> Any:
        """Takes the value on top, which lies above the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.source.damaged("an instruction needs a value that is not there")
        return self.stack.pop()

    def top(self) -> Any:
        """The value on top, which stays there."""
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_mark(self) -> list[Any]:
        """The values since the last mark."""
        if not self.marks:
            raise self.source.damaged("an instruction needs a mark that is not there")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    # Strings and numbers

    def number(self, layout: str) -> Any:
        """The next bytes of the file as the one number of this `struct` layout."""
        return struct.unpack(layout, self.source.take(struct.calcsize(layout)))[0]

    def push_string(self, length: int, encoding: str | None) -> None:
        """Bytes (encoding None), a text, or a string of Python 2 (latin-1), which may be either."""
        if length >= LONG_STRING:
            self.context.budget.take(length, "a string")
            if encoding != "utf-8":
                self.stack.append(Blob(self.source.blob(length), is_text=encoding is not None))
                return
        raw = self.source.take(length)
        self.stack.append(raw if encoding is None else self.decode(raw, encoding))

    def decode(self, raw: bytes, encoding: str) -> str:
        """As a text; bytes that are none in `encoding` are damage."""
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            raise self.source.damaged(f"a text is not {encoding}") from None

    def push_integer(self, length: int) -> None:
        """The next `length` bytes, little-endian and signed."""
        if not 0 <= length <= MAX_INTEGER:
            raise self.source.unsafe(f"an integer of {length:,} bytes", "No checkpoint needs one: the file is hostile.")
        self.stack.append(int.from_bytes(self.source.take(length), "little", signed=True))

    def push_decimal(self, kind: type) -> None:
        """The number that a line of text holds, as `kind`; Python 2 ends long ones with L."""
        line = self.source.line(MAX_LINE)
        if kind is int and line in (b"00", b"01"):  # how protocol 0 writes booleans
            self.stack.append(line == b"01")
            return
        try:
            self.stack.append(kind(line.removesuffix(b"L")))
        except ValueError:
            raise self.source.damaged(f"{line[:40]!r} is no number") from None

    def push_quoted(self) -> None:
        """A Python 2 string in quotes, with escapes."""
        line = self.source.line(self.source.left).strip()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b'"', b"'"):
            raise self.source.damaged("a quoted string has no quotes")
        self.context.budget.take(len(line), "a string")
        try:
            raw = codecs.escape_decode(line[1:-1])[0]
        except ValueError:
            raise self.source.damaged("a quoted string has a wrong escape") from None
        assert isinstance(raw, bytes)
        self.stack.append(raw.decode("latin-1"))

    def push_escaped(self) -> None:
        """A line of text of protocol 0, with \\u escapes."""
        line = self.source.line(self.source.left)
        self.context.budget.take(4 * len(line), "a string")
        self.stack.append(self.decode(line, "raw-unicode-escape"))

    # Containers

    def push_new(self, container: list[Any] | dict[Any, Any] | set[Any]) -> None:
        """An empty container, whose memory is charged."""
        self.context.budget.take(216 if isinstance(container, set) else 64, "a container")
        self.stack.append(container)

    def push_dict(self) -> None:
        """The values since the last mark as a dict: key, value, key, value, ..."""
        items = self.pop_mark()
        self.stack.append({})
        self.fill_dict(items)

    def fill_dict(self, items: list[Any]) -> None:
        """Adds key, value, key, value, ... to the dict on top."""
        target = self.top()
        if not isinstance(target, dict) or len(items) % 2:
            raise self.source.damaged("items are set on something else than a dict")
        self.context.budget.take(50 * len(items), "a dict")
        for index in range(0, len(items), 2):
            target[check_key(items[index], self.context)] = items[index + 1]

    def fill_list(self, values: list[Any]) -> None:
        """Adds to the list on top."""
        target = self.top()
        if not isinstance(target, list):
            raise self.source.damaged("values are appended to something else than a list")
        target.extend(values)

    def fill_set(self) -> None:
        """Adds the values since the last mark to the set below it."""
        values = self.pop_mark()
        target = self.top()
        if not isinstance(target, set):
            raise self.source.damaged("members are added to something else than a set")
        target.update(check_key(value, self.context) for value in values)

    def push_tuple(self, count: int) -> None:
        """The uppermost `count` values as one."""
        if len(self.stack) - count < (self.marks[-1] if self.marks else 0):
            raise self.source.damaged("an instruction needs a value that is not there")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    # Memo

    def store(self, index: int) -> None:
        """Writers count from 0 or 1; other numbers could be chosen so that the memo becomes slow."""
        if not 0 <= index <= len(self.memo) + 1:
            raise self.source.unsafe(f"value {index} is stored after {len(self.memo):,} others", "The file is hostile.")
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        """Pushes what was stored as `index`: the value itself, which both places share."""
        if index not in self.memo:
            raise self.source.damaged(f"it refers to value {index}, which was never stored")
        self.stack.append(self.memo[index])

    # Names

    def push_name(self, module: Any, attribute: Any) -> None:
        """What stands for `module`.`attribute`: an element type, a Global of our table, a method never called."""
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise self.source.damaged("a name is not a text")
        if max(len(module), len(attribute)) > MAX_NAME:
            raise self.source.unsafe(f"it names {module[:40]}... in over {MAX_NAME} characters", REMEDY)
        name = today(f"{module}.{attribute}")
        if name in DTYPES:
            self.stack.append(DTYPES[name])
        elif name in KNOWN:
            self.stack.append(Global(name))
        elif name.startswith(_METHODS):
            self.stack.append(PendingOpaque(name, ()))
        else:
            raise self.source.unsafe(f"it wants to run or build {module}.{attribute}", REMEDY)

    def build(self, target: Any, arguments: Any) -> None:
        """In place of a call: our own builder for the name `target`."""
        if not isinstance(target, Global) or not isinstance(arguments, tuple) or target.name not in BUILDERS:
            what = target.name if isinstance(target, Global) else f"a {type(target).__name__}"
            raise self.source.unsafe(f"it wants to call {what}", REMEDY)
        if len(arguments) > MAX_ARGUMENTS:
            raise self.context.misfit(target.name, arguments)
        self.stack.append(BUILDERS[target.name](self.context, target.name, arguments))

    def push_persistent(self, key: Any) -> None:
        """What `persistent` gives for `key`: the storage of a tensor, which lies elsewhere in the file."""
        if self.persistent is None:
            raise self.source.damaged("it refers to weights outside itself, as only torch files do")
        self.stack.append(self.persistent(key))

    def complete(self, state: Any) -> None:
        """The second half of an object whose first half is on top of the stack."""
        target = self.top()
        if isinstance(target, PendingArray):
            self._complete_array(target, state)
        elif isinstance(target, PendingDtype):
            self._complete_dtype(target, state)
        elif isinstance(target, PendingTensor) and isinstance(state, tuple) and len(state) == 4:
            target.tensor = make_tensor(self.context, *state)
        elif isinstance(target, PendingOpaque):
            target.state = state
        elif not isinstance(target, dict | Tensor | PendingTensor):  # those may have attributes, which we drop
            raise self.source.damaged(f"a {type(target).__name__} is given a state that does not fit it")

    def _complete_array(self, target: PendingArray, state: Any) -> None:
        parts = state[-4:] if isinstance(state, tuple) and len(state) in (4, 5) else (None,) * 4
        shape, dtype, fortran, raw = parts
        known = sizes(shape)
        if known is None or target.array is not None:
            raise self.source.damaged("an array has a state that does not fit it")
        target.array = make_array(self.context, raw, dtype, known, fortran=bool(fortran))

    def _complete_dtype(self, target: PendingDtype, state: Any) -> None:
        match state:
            case (_, ("<" | ">" | "=" | "|") as order, *_):
                target.order = order
            case _:
                raise self.source.damaged("an element type has no byte order")
