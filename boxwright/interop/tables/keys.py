"""What the readers of foreign configs share: tables of keys, a report of what became of each, a list of mistakes.

A source's settings are described by one row per key, made by one of three functions:

    translated(path, default, ours, ...)   it becomes these settings of ours
    idle(path, default, reason)            known, and without effect here
    fixed(path, default, reason)           only the default, or one of `also`, can be honoured; else an error
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from boxwright.errors import ConfigError

Settings = dict[str, Any]  # nested dictionaries, of a source or of ours
MOST_MISTAKES = 20  # that are told; a name alone takes milliseconds to find the nearest of


@dataclass(frozen=True, slots=True)
class Key:
    """One setting of a source: where it is, its default there, and what it is here."""

    path: str
    default: Any
    ours: tuple[str, ...] = ()
    reason: str = ""
    allowed: tuple[Any, ...] | None = None


def translated(path: str, default: Any, *ours: str) -> Key:
    """A setting that becomes those of ours."""
    return Key(path=path, default=default, ours=ours)


def idle(path: str, default: Any, reason: str) -> Key:
    """A setting that has no effect here."""
    return Key(path=path, default=default, reason=reason)


def fixed(path: str, default: Any, reason: str, *also: Any) -> Key:
    """A setting of which only the default and `also` can be honoured."""
    return Key(path=path, default=default, reason=reason, allowed=(default, *also))


@dataclass(slots=True)
class ConfigReport:
    """What became of each key of a config that was read.

    `translated` pairs a key of the source with our settings it went to, `ignored` with the reason it has no effect.
    """

    source: str
    dialect: str
    translated: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    weights: str = ""

    def note(self, key: Key, path: str) -> None:
        """Says what became of the key at `path`."""
        if key.ours:
            self.translated.append((path, ", ".join(key.ours)))
        else:
            self.ignored.append((path, key.reason))


@dataclass(slots=True)
class Mistakes:
    """Collects every mistake of a config, so that one run shows them all."""

    source: str
    found: list[str] = field(default_factory=list)
    more: int = 0  # beyond the MOST_MISTAKES that are told

    def add(self, path: str, message: str) -> None:
        """Notes a mistake of the setting at `path`, or of none in particular."""
        if len(self.found) < MOST_MISTAKES:
            self.found.append(f"{path}: {message}" if path else message)
        else:
            self.more += 1

    def unknown(self, path: str, known: Iterable[str]) -> None:
        """Notes a key that the source does not have, with the nearest of those that it has."""
        self.add(path, "unknown key" + (nearest(path, known) if len(self.found) < MOST_MISTAKES else ""))

    def raise_if_any(self) -> None:
        """ConfigError with all mistakes, one a line."""
        if not self.found:
            return
        if len(self.found) == 1:
            raise ConfigError(f"{self.source}: {self.found[0]}")
        lines = "".join(f"\n  {line}" for line in [*self.found, *([f"and {self.more} more"] if self.more else [])])
        raise ConfigError(f"{self.source}: {len(self.found) + self.more} mistakes{lines}")


def nearest(name: str, known: Iterable[str]) -> str:
    """', did you mean ...?' with the known name closest to `name`, or nothing when none is near."""
    names = list(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:  # a right leaf under a wrong parent
        leaf = name.rsplit(".", 1)[-1]
        close = [other for other in names if other.rsplit(".", 1)[-1] == leaf][:1]
    return f", did you mean {close[0]}?" if close else ""


def tree_of(keys: Sequence[Key]) -> dict[str, Any]:
    """The defaults of a table as nested dictionaries."""
    tree: dict[str, Any] = {}
    for key in keys:
        put(tree, key.path, copied(key.default))
    return tree


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Sets the value at a dotted path; groups on the way are made."""
    *parents, leaf = path.split(".")
    for name in parents:
        tree = tree.setdefault(name, {})
    tree[leaf] = value


def get(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path."""
    value: Any = tree
    for name in path.split("."):
        value = value[name]
    return value


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """(dotted path, value) of every value that is not a dictionary; an empty dictionary counts as a value."""
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def copied(value: Any) -> Any:
    """A copy in which no two places share a list or dictionary."""
    if isinstance(value, dict):
        return {name: copied(item) for name, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value
