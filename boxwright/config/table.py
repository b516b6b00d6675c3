"""Free-form values inside settings, frozen: mappings become tables and lists tuples, to any depth that makes sense."""

from collections.abc import Iterator, Mapping
from typing import Any

DEEPEST = 8


class Table(Mapping[str, Any]):
    """A mapping that cannot be changed; equal to a dict of the same values."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = dict(content)

    def __getitem__(self, key: str) -> Any:
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return repr(self._content)


def frozen(value: Any, depth: int = DEEPEST) -> Any:
    """Plain data from YAML or Python as tables, tuples and single values."""
    if isinstance(value, Mapping) and depth and all(isinstance(key, str) for key in value):
        return Table({key: frozen(part, depth - 1) for key, part in value.items()})
    if isinstance(value, list | tuple) and depth:
        return tuple(frozen(part, depth - 1) for part in value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"expected numbers, texts, lists and mappings by name of them, at most {DEEPEST} deep")


def thawed(value: Any) -> Any:
    """The opposite of `frozen`: dicts and lists, as YAML has them."""
    if isinstance(value, Mapping):
        return {key: thawed(part) for key, part in value.items()}
    return [thawed(part) for part in value] if isinstance(value, tuple) else value
