"""A reader of pickles that runs nothing.

A pickle is a program for a small stack machine: push a number, collect the top into a list, call a function found by
name. This is that machine without the last: a name is looked up in the table of `pickle_globals.py` only, and stands
for one of our own builders of tensors, arrays and plain values. Every other name is refused. All protocols, 0 to 5.

Work is bounded too. A step costs about a microsecond, whatever values it works on, and the number of steps is limited
by the file's size; memory beyond the values of the file is charged to a budget; `settle` checks nesting and sharing.
"""

import codecs
import struct
from collections.abc import Callable
from typing import Any

from torch import Tensor

from boxwright.interop.files.byte_source import Budget, Source
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
    settle,
    sizes,
)

_START = 10  # steps that a new machine costs
MAX_STACK = 250_000
LONG_STRING = 4_096  # from here bytes are kept in memory of their own, which an array may take over
MAX_INTEGER = 64  # bytes
MAX_LINE = 1_000
MAX_NAME = 200
MAX_ARGUMENTS = 100  # the parts of a path; weights and arrays take up to nine

_METHODS = tuple(f"{name}." for name in INERT)  # protocol 4 mentions methods by their full name

Persistent = Callable[[Any], Any]


def read_pickle(source: Source, budget: Budget, *, read_nested: Callable[[bytes, Budget], Any] | None = None) -> Any:
    """The one pickle that `source` holds, as plain data with numpy arrays and torch tensors.

    `read_nested` reads the small torch files in which pickle keeps a tensor that was not saved by torch itself.
    """
    machine = Machine(Context(source=source, budget=budget, read_nested=read_nested))
    value = settle(machine.load(), source)
    if source.left:
        raise source.damaged(f"the pickle ends here, and {source.left:,} bytes follow")
    return value


class Machine:
    """Reads one pickle from `context.source`; `load` gives values in which stand-ins are not yet replaced."""

    def __init__(self, context: Context, *, persistent: Persistent | None = None) -> None:
        self.context = context
        self.source = context.source
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The value; its steps are gone from the budget, those of pickles inside it included."""
        take, operations, budget = self.source.take, _OPERATIONS, self.context.budget
        for step in range(_START, budget.steps):
            code = take(1)
            if code == b".":
                budget.steps -= step
                return self.pop()
            operation = operations.get(code)
            if operation is None:
                raise self.source.damaged(f"{code!r} is no pickle instruction that a checkpoint uses")
            operation(self)
            if len(self.stack) > MAX_STACK:
                raise self.source.unsafe(f"over {MAX_STACK:,} values wait to be used", "The file is hostile.")
        raise self.source.unsafe("the pickle has more steps than the file warrants", "The file is hostile.")

    # The stack

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.source.damaged("an instruction needs a value that is not there")
        return self.stack.pop()

    def top(self) -> Any:
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
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            raise self.source.damaged(f"a text is not {encoding}") from None

    def push_integer(self, length: int) -> None:
        if not 0 <= length <= MAX_INTEGER:
            raise self.source.unsafe(f"an integer of {length:,} bytes", "No checkpoint needs one: the file is hostile.")
        self.stack.append(int.from_bytes(self.source.take(length), "little", signed=True))

    def push_decimal(self, kind: type) -> None:
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
        line = self.source.line(self.source.left)
        self.context.budget.take(4 * len(line), "a string")
        self.stack.append(self.decode(line, "raw-unicode-escape"))

    # Containers

    def push_new(self, container: list[Any] | dict[Any, Any] | set[Any]) -> None:
        self.context.budget.take(216 if isinstance(container, set) else 64, "a container")
        self.stack.append(container)

    def push_dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self.fill_dict(items)

    def fill_dict(self, items: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, dict) or len(items) % 2:
            raise self.source.damaged("items are set on something else than a dict")
        self.context.budget.take(50 * len(items), "a dict")
        for index in range(0, len(items), 2):
            target[check_key(items[index], self.context)] = items[index + 1]

    def fill_list(self, values: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, list):
            raise self.source.damaged("values are appended to something else than a list")
        target.extend(values)

    def fill_set(self) -> None:
        values = self.pop_mark()
        target = self.top()
        if not isinstance(target, set):
            raise self.source.damaged("members are added to something else than a set")
        target.update(check_key(value, self.context) for value in values)

    def push_tuple(self, count: int) -> None:
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
        if index not in self.memo:
            raise self.source.damaged(f"it refers to value {index}, which was never stored")
        self.stack.append(self.memo[index])

    # Names

    def push_name(self, module: Any, attribute: Any) -> None:
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


def _global(machine: Machine) -> None:
    module = machine.decode(machine.source.line(MAX_LINE), "utf-8")
    machine.push_name(module, machine.decode(machine.source.line(MAX_LINE), "utf-8"))


def _stack_global(machine: Machine) -> None:
    attribute = machine.pop()
    machine.push_name(machine.pop(), attribute)


def _instance(machine: Machine) -> None:
    _global(machine)
    target = machine.pop()
    machine.build(target, tuple(machine.pop_mark()))


def _object(machine: Machine) -> None:
    target, *arguments = machine.pop_mark() or [None]
    machine.build(target, tuple(arguments))


def _reduce(machine: Machine) -> None:
    arguments = machine.pop()
    machine.build(machine.pop(), arguments)


def _new_with_keywords(machine: Machine) -> None:
    if machine.pop():
        raise machine.source.damaged("an object is made with keyword arguments, which no checkpoint needs")
    _reduce(machine)


def _append(machine: Machine) -> None:
    value = machine.pop()
    machine.fill_list([value])


def _set_item(machine: Machine) -> None:
    value = machine.pop()
    machine.fill_dict([machine.pop(), value])


def _discard(machine: Machine) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.pop()


def _protocol(machine: Machine) -> None:
    if (version := machine.number("B")) > 5:
        raise machine.source.damaged(f"pickle protocol {version} does not exist")


def _index(machine: Machine) -> int:
    machine.push_decimal(int)
    return int(machine.pop())


_OPERATIONS: dict[bytes, Callable[[Machine], object]] = {
    b"\x80": _protocol,
    b"\x95": lambda m: m.number("<Q"),  # a frame: only a hint for buffering
    # constants and numbers
    b"N": lambda m: m.stack.append(None),
    b"\x88": lambda m: m.stack.append(True),
    b"\x89": lambda m: m.stack.append(False),
    b"J": lambda m: m.stack.append(m.number("<i")),
    b"K": lambda m: m.stack.append(m.number("B")),
    b"M": lambda m: m.stack.append(m.number("<H")),
    b"\x8a": lambda m: m.push_integer(m.number("B")),
    b"\x8b": lambda m: m.push_integer(m.number("<i")),
    b"G": lambda m: m.stack.append(m.number(">d")),
    b"I": lambda m: m.push_decimal(int),
    b"L": lambda m: m.push_decimal(int),
    b"F": lambda m: m.push_decimal(float),
    # strings: Python 2's, bytes, text
    b"S": Machine.push_quoted,
    b"U": lambda m: m.push_string(m.number("B"), "latin-1"),
    b"T": lambda m: m.push_string(m.number("<i"), "latin-1"),
    b"C": lambda m: m.push_string(m.number("B"), None),
    b"B": lambda m: m.push_string(m.number("<I"), None),
    b"\x8e": lambda m: m.push_string(m.number("<Q"), None),
    b"\x96": lambda m: m.push_string(m.number("<Q"), None),
    b"V": Machine.push_escaped,
    b"\x8c": lambda m: m.push_string(m.number("B"), "utf-8"),
    b"X": lambda m: m.push_string(m.number("<I"), "utf-8"),
    b"\x8d": lambda m: m.push_string(m.number("<Q"), "utf-8"),
    # containers
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"]": lambda m: m.push_new([]),
    b"}": lambda m: m.push_new({}),
    b")": lambda m: m.stack.append(()),
    b"\x8f": lambda m: m.push_new(set()),
    b"l": lambda m: m.stack.append(m.pop_mark()),
    b"d": Machine.push_dict,
    b"t": lambda m: m.stack.append(tuple(m.pop_mark())),
    b"\x85": lambda m: m.push_tuple(1),
    b"\x86": lambda m: m.push_tuple(2),
    b"\x87": lambda m: m.push_tuple(3),
    b"\x91": lambda m: m.stack.append({check_key(value, m.context) for value in m.pop_mark()}),
    b"a": _append,
    b"e": lambda m: m.fill_list(m.pop_mark()),
    b"s": _set_item,
    b"u": lambda m: m.fill_dict(m.pop_mark()),
    b"\x90": Machine.fill_set,
    # stack and memo
    b"0": _discard,
    b"1": Machine.pop_mark,
    b"2": lambda m: m.stack.append(m.top()),
    b"p": lambda m: m.store(_index(m)),
    b"q": lambda m: m.store(m.number("B")),
    b"r": lambda m: m.store(m.number("<I")),
    b"\x94": lambda m: m.store(len(m.memo)),
    b"g": lambda m: m.recall(_index(m)),
    b"h": lambda m: m.recall(m.number("B")),
    b"j": lambda m: m.recall(m.number("<I")),
    # names, and what would be calls
    b"c": _global,
    b"\x93": _stack_global,
    b"i": _instance,
    b"o": _object,
    b"R": _reduce,
    b"\x81": _reduce,
    b"\x92": _new_with_keywords,
    b"b": lambda m: m.complete(m.pop()),
    b"P": lambda m: m.push_persistent(m.decode(m.source.line(MAX_LINE), "utf-8")),
    b"Q": lambda m: m.push_persistent(m.pop()),
}
