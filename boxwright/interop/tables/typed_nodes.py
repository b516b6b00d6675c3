"""Nested dictionaries in which a `type` says which keys there are: configs of mmdetection and of Detectron2's new kind.

A table gives the rows of each type. A `Node` reads one dictionary by its table: unknown keys and values that cannot be
honoured become mistakes, every given key goes into the report, missing ones have the type's default.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from boxwright.errors import ConfigError
from boxwright.interop.tables.keys import ConfigReport, Key, Mistakes, copied

Table = Mapping[str, Sequence[Key]]


@dataclass(slots=True)
class Reading:
    """What the nodes of one config share."""

    table: Table
    tag: str  # the key that holds the type: "type" or "_target_"
    mistakes: Mistakes
    report: ConfigReport
    last: str = ""
    unknown: Mapping[str, str] = field(default_factory=dict)  # types that are not in the family, and why

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Values of a form that no rule foresaw become mistakes of the key that was read last."""
        try:
            yield
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            if not isinstance(error, ConfigError):
                self.mistakes.add(self.last, f"has a value that cannot be translated ({error})")
            self.mistakes.raise_if_any()
            raise


class Node:
    """One dictionary of a known type at a path. `group` stands for the * in what its rows become.

    `quiet`: the dictionary is a default of the source, so its keys do not belong in the report.
    """

    def __init__(
        self, content: Mapping[str, Any], *, path: str, kind: str, group: str, reading: Reading, quiet: bool = False
    ) -> None:
        self.content = content
        self.path = path
        self.kind = kind
        self.group = group
        self.reading = reading
        self.keys = {key.path: key for key in reading.table.get(kind, ())}
        if not quiet:
            self._check()

    def __getitem__(self, name: str) -> Any:
        self.reading.last = self.at(name)
        return self.content[name] if name in self.content else copied(self.keys[name].default)

    def __contains__(self, name: str) -> bool:
        return name in self.content

    def at(self, name: str) -> str:
        """The dotted path of the key `name`."""
        return f"{self.path}.{name}" if self.path else name

    def mistake(self, name: str, message: str) -> None:
        """Notes a mistake of the key `name`, or of the node where it is empty."""
        self.reading.mistakes.add(self.at(name) if name else self.path, message)

    def node(self, name: str, *kinds: str, group: str = "") -> "Node | None":
        """The dictionary under `name`, whose type must be one of `kinds`; None when there is none."""
        value = self[name]
        return None if value is None else self._open(value, self.at(name), kinds, group)

    def nodes(self, name: str, *kinds: str, group: str = "") -> list["Node"]:
        """The dictionaries of a list, or the one given in its place."""
        value = self[name]
        if isinstance(value, list | tuple):
            opened = [self._open(item, f"{self.at(name)}[{index}]", kinds, group) for index, item in enumerate(value)]
        else:
            opened = [] if value is None else [self._open(value, self.at(name), kinds, group)]
        return [node for node in opened if node is not None]

    def items(self) -> Iterator[tuple[Key, Any]]:
        """Every row with its value."""
        for name, key in self.keys.items():
            yield key, self[name]

    def _open(self, value: Any, path: str, kinds: Sequence[str], group: str) -> "Node | None":
        return open_node(value, path=path, kinds=kinds, group=group or self.group, reading=self.reading)

    def _check(self) -> None:
        for name, value in self.content.items():
            if name == self.reading.tag or name.startswith("__"):
                continue
            key = self.keys.get(name)
            if key is None:
                known = {self.at(other): other for other in self.keys}
                self.reading.mistakes.unknown(self.at(name), known)
                continue
            self._note(key)
            if key.allowed is not None and not any(_same(value, allowed) for allowed in key.allowed):
                self.mistake(name, f"is {_shown(value)}: {key.reason}")

    def _note(self, key: Key) -> None:
        ours = tuple(path.replace("*", self.group) for path in key.ours)
        self.reading.report.note(replace(key, ours=ours), self.at(key.path))


def open_node(value: Any, *, path: str, kinds: Sequence[str], reading: Reading, group: str = "") -> Node | None:
    """A node of one of `kinds`. The first kind is taken where the dictionary does not say its own."""
    reading.last = path
    if not isinstance(value, Mapping):
        reading.mistakes.add(path, f"is {_shown(value)}; expected a dictionary")
        return None
    kind = value.get(reading.tag, kinds[0])
    name = str(kind).rpartition(".")[2]
    if name not in kinds:
        why = reading.unknown.get(name) or f"known here are {', '.join(kinds)}"
        reading.mistakes.add(path, f"is a {name}; {why}")
        return None
    return Node(value, path=path, kind=name, group=group, reading=reading)


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, list | tuple) and isinstance(other, list | tuple):
        return len(value) == len(other) and all(_same(a, b) for a, b in zip(value, other, strict=True))
    if isinstance(value, bool) is not isinstance(other, bool):
        return False
    return bool(value == other)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
