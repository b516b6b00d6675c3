"""A reader of pickles that runs nothing.

A pickle is a program for a small stack machine: push a number, collect the top into a list, call a function found by
name. This is that machine without the last: a name is looked up in the table of `pickle_globals.py` only, and stands
for one of our own builders of tensors, arrays and plain values. Every other name is refused. All protocols, 0 to 5.

Work is bounded too. A step costs about a microsecond, whatever values it works on, and the number of steps is limited
by the file's size; memory beyond the values of the file is charged to a budget; `settle` checks nesting and sharing.
"""

from collections.abc import Callable
from typing import Any

from boxwright.interop.files.byte_source import Budget, Source
from boxwright.interop.files.pickle_globals import check_key
from boxwright.interop.files.pickle_stack import MAX_LINE, Stack
from boxwright.interop.files.pickle_values import Context, settle

_START = 10  # steps that a new machine costs
MAX_STACK = 250_000


def read_pickle(source: Source, budget: Budget, *, read_nested: Callable[[bytes, Budget], Any] | None = None) -> Any:
    """The one pickle that `source` holds, as plain data with numpy arrays and torch tensors.

    `read_nested` reads the small torch files in which pickle keeps a tensor that was not saved by torch itself.
    """
    machine = Machine(Context(source=source, budget=budget, read_nested=read_nested))
    value = settle(machine.load(), source)
    if source.left:
        raise source.damaged(f"the pickle ends here, and {source.left:,} bytes follow")
    return value


class Machine(Stack):
    """Reads one pickle from `context.source`; `load` gives values in which stand-ins are not yet replaced."""

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


def _global(machine: Stack) -> None:
    module = machine.decode(machine.source.line(MAX_LINE), "utf-8")
    machine.push_name(module, machine.decode(machine.source.line(MAX_LINE), "utf-8"))


def _stack_global(machine: Stack) -> None:
    attribute = machine.pop()
    machine.push_name(machine.pop(), attribute)


def _instance(machine: Stack) -> None:
    _global(machine)
    target = machine.pop()
    machine.build(target, tuple(machine.pop_mark()))


def _object(machine: Stack) -> None:
    target, *arguments = machine.pop_mark() or [None]
    machine.build(target, tuple(arguments))


def _reduce(machine: Stack) -> None:
    arguments = machine.pop()
    machine.build(machine.pop(), arguments)


def _new_with_keywords(machine: Stack) -> None:
    if machine.pop():
        raise machine.source.damaged("an object is made with keyword arguments, which no checkpoint needs")
    _reduce(machine)


def _append(machine: Stack) -> None:
    value = machine.pop()
    machine.fill_list([value])


def _set_item(machine: Stack) -> None:
    value = machine.pop()
    machine.fill_dict([machine.pop(), value])


def _discard(machine: Stack) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.pop()


def _protocol(machine: Stack) -> None:
    if (version := machine.number("B")) > 5:
        raise machine.source.damaged(f"pickle protocol {version} does not exist")


def _index(machine: Stack) -> int:
    machine.push_decimal(int)
    return int(machine.pop())


_OPERATIONS: dict[bytes, Callable[[Stack], object]] = {
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
    b"S": Stack.push_quoted,
    b"U": lambda m: m.push_string(m.number("B"), "latin-1"),
    b"T": lambda m: m.push_string(m.number("<i"), "latin-1"),
    b"C": lambda m: m.push_string(m.number("B"), None),
    b"B": lambda m: m.push_string(m.number("<I"), None),
    b"\x8e": lambda m: m.push_string(m.number("<Q"), None),
    b"\x96": lambda m: m.push_string(m.number("<Q"), None),
    b"V": Stack.push_escaped,
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
    b"d": Stack.push_dict,
    b"t": lambda m: m.stack.append(tuple(m.pop_mark())),
    b"\x85": lambda m: m.push_tuple(1),
    b"\x86": lambda m: m.push_tuple(2),
    b"\x87": lambda m: m.push_tuple(3),
    b"\x91": lambda m: m.stack.append({check_key(value, m.context) for value in m.pop_mark()}),
    b"a": _append,
    b"e": lambda m: m.fill_list(m.pop_mark()),
    b"s": _set_item,
    b"u": lambda m: m.fill_dict(m.pop_mark()),
    b"\x90": Stack.fill_set,
    # stack and memo
    b"0": _discard,
    b"1": Stack.pop_mark,
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
