"""The YAML settings of Detectron, Detectron.pytorch and Detectron2: one fixed tree of names with defaults.

A file overrides some of them. Values may be Python literals in strings ("(800,)"), and must have the type of the
default, with the same few exceptions as in the originals.
"""

import warnings
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from boxwright.errors import ConfigError
from boxwright.interop.tables.keys import ConfigReport, Key, Mistakes, copied, get, put, tree_of

_NUMBERS = (int, float)
_LARGEST = 10**300  # beyond it no float can follow
_LONGEST = 20_000  # characters of a text that may be a literal


class YacsTree:
    """The complete settings: defaults under what was given. Reading goes by dotted path."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = {key.path: key for key in keys}
        self.sections = {".".join(path.split(".")[:n]) for path in self.keys for n in range(1, path.count(".") + 1)}
        self.tree = tree_of(keys)
        self.given: list[str] = []
        self.last = keys[0].path

    def __getitem__(self, path: str) -> Any:
        self.last = path
        return get(self.tree, path)

    def merge(self, content: Mapping[Any, Any], mistakes: Mistakes) -> None:
        """Overrides from nested dictionaries; every unknown key and every wrong type becomes a mistake."""
        for path, raw in _walk(content, self.sections):
            self.assign(path, raw, mistakes)

    def assign(self, path: str, raw: Any, mistakes: Mistakes) -> None:
        """Sets the value at `path`, in the type of its default."""
        if path not in self.keys:
            if path in self.sections:
                mistakes.add(path, f"is a group of settings, got {_shown(raw)}")
            else:
                mistakes.unknown(path, self.keys)
            return
        default = self.keys[path].default
        value, problem = coerce(decode(raw), default)
        if problem:
            mistakes.add(path, problem)
            return
        put(self.tree, path, value)
        if path not in self.given:
            self.given.append(path)

    def check_fixed(self, mistakes: Mistakes) -> None:
        """Settings of which only some values can be honoured."""
        for path, key in self.keys.items():
            if key.allowed is not None and not any(_same(get(self.tree, path), value) for value in key.allowed):
                mistakes.add(path, f"is {_shown(get(self.tree, path))}: {key.reason}")

    def report(self, report: ConfigReport) -> None:
        """Notes every key that was given."""
        for path in self.given:
            report.note(self.keys[path], path)


def decode(value: Any) -> Any:
    """A string that is a Python literal is that literal, else itself."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        return value
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of texts such as "1x"
            return literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


def coerce(value: Any, default: Any) -> tuple[Any, str]:
    """`value` in the type of `default`, and what is wrong with it ("" when nothing is)."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if default is None or isinstance(default, type(value)):
        return copied(value), _bool_problem(value, default)
    if isinstance(default, str):
        return "" if value is None else str(value), ""
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value), ""
    if isinstance(default, list) and isinstance(value, tuple):
        return list(value), ""
    if isinstance(default, list | tuple) and isinstance(value, _NUMBERS) and not isinstance(value, bool):
        return value, f"is {_shown(value)}; expected a list such as {_shown(default or (value,))}"
    if isinstance(default, float) and isinstance(value, int) and abs(value) < _LARGEST:
        return float(value), ""
    if isinstance(default, int) and isinstance(value, float) and value.is_integer():
        return int(value), ""
    return value, f"is {_shown(value)}; expected a {type(default).__name__}, as the default {_shown(default)}"


def _bool_problem(value: Any, default: Any) -> str:
    """True is an int to Python, and a mistake to people."""
    if isinstance(value, bool) and isinstance(default, _NUMBERS) and not isinstance(default, bool):
        return f"is {value}; expected a number, as the default {default!r}"
    return ""


def _walk(content: Mapping[Any, Any], sections: set[str], prefix: str = "") -> list[tuple[str, Any]]:
    """(path, value) of each override; a dictionary is opened where the tree has a group, or where it is not empty."""
    found: list[tuple[str, Any]] = []
    for name, value in content.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and (path in sections or value):
            found += _walk(value, sections, f"{path}.")
        elif not (path in sections and (value is None or value == {})):
            found.append((path, value))
    return found


def merge_overrides(tree: YacsTree, overrides: Sequence[str], mistakes: Mistakes) -> None:
    """The originals' own overrides: "MODEL.MASK_ON=True"."""
    for text in overrides:
        path, equals, value = text.partition("=")
        if equals:
            tree.assign(path.strip(), value.strip(), mistakes)
        else:
            mistakes.add(text, "write an override as KEY=VALUE")


@contextmanager
def translating(tree: YacsTree, mistakes: Mistakes) -> Iterator[None]:
    """Values of a form that no rule foresaw become mistakes of the key that was read last."""
    try:
        yield
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        if not isinstance(error, ConfigError):
            mistakes.add(tree.last, f"is {_shown(get(tree.tree, tree.last))}, which cannot be translated ({error})")
        mistakes.raise_if_any()
        raise


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, list | tuple) and isinstance(other, list | tuple):
        return len(value) == len(other) and all(_same(a, b) for a, b in zip(value, other, strict=True))
    return bool(value == other)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no integers of thousands of digits
        text = f"a {type(value).__name__} of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."
