"""YAML of other programs as plain data: Python's tags by meaning, never by running; bounded depth and size.

Built from the parser's events, one by one, so neither depth nor aliases cost more than the bounds below.
"""

from collections.abc import Callable
from typing import Any

import yaml

from boxwright.errors import ConfigError
from boxwright.interop.texts.python_values import literal

MAX_VALUES = 20_000  # a full dump of a large config has some 3,000
MAX_DEPTH = 60
_PYTHON = "tag:yaml.org,2002:python/"
_SCALARS: dict[str, Callable[[str], Any]] = {
    f"{_PYTHON}str": str,
    f"{_PYTHON}unicode": str,
    f"{_PYTHON}int": int,
    f"{_PYTHON}long": int,
    f"{_PYTHON}float": float,
    f"{_PYTHON}bool": lambda text: text.lower() in ("true", "yes", "on"),
    f"{_PYTHON}none": lambda text: None,
    f"{_PYTHON}bytes": lambda text: text,
}
_SEQUENCES: dict[str | None, Callable[[list[Any]], Any]] = {
    None: list,
    "tag:yaml.org,2002:seq": list,
    f"{_PYTHON}list": list,
    f"{_PYTHON}tuple": tuple,
}
# Detectron's own dumps carry its dictionary class, whose state is the mapping itself.
_MAPPINGS = ("tag:yaml.org,2002:map", f"{_PYTHON}dict", f"{_PYTHON}object/new:", f"{_PYTHON}object:")
_KNOWN_CLASSES = ("AttrDict", "CfgNode", "ConfigDict", "DictConfig")


class _Open:
    """A sequence or mapping whose end has not come yet."""

    def __init__(self, *, event: Any, is_map: bool) -> None:
        self.tag: str | None = event.tag
        self.line: int = event.start_mark.line + 1
        self.anchor: str | None = event.anchor
        self.is_map = is_map
        self.items: list[Any] = []


class _Builder:
    def __init__(self, source: str) -> None:
        self.source = source
        self.open: list[_Open] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.values = 0
        self.result: Any = None
        self.documents = 0
        self.resolver = yaml.resolver.Resolver()
        self.constructor = yaml.constructor.SafeConstructor()

    def take(self, event: Any) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    raise self.error(event, "a second document; a config is one")
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                if len(self.open) >= MAX_DEPTH:
                    raise self.error(event, "nested too deeply")
                self.open.append(_Open(event=event, is_map=isinstance(event, yaml.MappingStartEvent)))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                done = self.open.pop()
                self.place(self.close(done), done.anchor, event)
            case yaml.ScalarEvent():
                self.place(self.scalar(event), event.anchor, event)
            case yaml.AliasEvent():
                self.place(*self.alias(event), event)

    def place(self, value: Any, anchor: str | None, event: Any, size: int = 1) -> None:
        self.values += size
        if self.values > MAX_VALUES:
            raise self.error(event, f"more than {MAX_VALUES} values")
        if anchor:
            self.anchors[anchor] = (value, _size(value))
        if self.open:
            self.open[-1].items.append(value)
        else:
            self.result = value

    def alias(self, event: Any) -> tuple[Any, None]:
        if event.anchor not in self.anchors:
            raise self.error(event, f"*{event.anchor} refers to nothing before it")
        value, size = self.anchors[event.anchor]
        self.values += size
        return value, None

    def scalar(self, event: Any) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            resolve: Callable[..., str] = self.resolver.resolve
            tag = resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag.startswith(f"{_PYTHON}name:"):
            return tag.removeprefix(f"{_PYTHON}name:")
        if tag in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value", "tag:yaml.org,2002:merge"):
            return event.value
        try:
            if tag in _SCALARS:
                return _SCALARS[tag](event.value)
            if tag.startswith(_PYTHON):
                raise self.error(event, f"the tag !!{tag.removeprefix('tag:yaml.org,2002:')} is code, never run here")
            node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
            return self.constructor.construct_object(node)
        except (ValueError, OverflowError, IndexError, KeyError) as error:
            if isinstance(error, ConfigError):
                raise
            raise self.error(event, f"{event.value[:60]!r} is not a value: {error}") from None

    def close(self, done: _Open) -> Any:
        if not done.is_map:
            return self.sequence(done)
        if done.tag is not None and not done.tag.startswith(_MAPPINGS):
            raise ConfigError(f"{self.source}:{done.line}: the tag {done.tag} is not understood")
        if done.tag is not None and "object" in done.tag and not done.tag.endswith(_KNOWN_CLASSES):
            raise ConfigError(f"{self.source}:{done.line}: the tag {done.tag} is code, never run here")
        return self.mapping(done)

    def sequence(self, done: _Open) -> Any:
        if done.tag in _SEQUENCES:
            return _SEQUENCES[done.tag](done.items)
        if done.tag == f"{_PYTHON}object/apply:eval" and len(done.items) == 1:
            return literal(str(done.items[0]), source=f"{self.source}:{done.line}")
        raise ConfigError(f"{self.source}:{done.line}: the tag {done.tag} is code, never run here")

    def mapping(self, done: _Open) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key, value in zip(done.items[::2], done.items[1::2], strict=True):
            if isinstance(key, list | dict | set) or (isinstance(key, tuple) and not _hashable(key)):
                raise ConfigError(f"{self.source}:{done.line}: a key must be a name, not a {type(key).__name__}")
            if key == "<<":
                for base in value if isinstance(value, list) else [value]:
                    if not isinstance(base, dict):
                        raise ConfigError(f"{self.source}:{done.line}: << needs a mapping")
                    result.update({name: item for name, item in base.items() if name not in result})
            else:
                result[key] = value
        state = result.get("dictitems", result.get("state"))  # how a dumped dictionary class keeps its content
        return state if done.tag and "object/new" in done.tag and isinstance(state, dict) else result

    def error(self, event: Any, message: str) -> ConfigError:
        return ConfigError(f"{self.source}:{event.start_mark.line + 1}: {message}")


def parse_yaml(text: str, *, source: str) -> Any:
    """The content of one YAML document; `source` and the line stand in every error."""
    builder = _Builder(source)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{source}{line}: not readable as YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise ConfigError(f"{source}: not readable as YAML: {' '.join(str(error).split())[:200]}") from None
    return builder.result


def _size(value: Any) -> int:
    """How many values stand in `value`. Aliases inside were counted when they were placed, so this ends."""
    total, todo = 0, [value]
    while todo and total <= MAX_VALUES:
        item = todo.pop()
        total += 1
        if isinstance(item, dict):
            todo.extend(item.values())
        elif isinstance(item, list | tuple):
            todo.extend(item)
    return total


def _hashable(key: tuple[Any, ...]) -> bool:
    return all(isinstance(item, str | int | float | bool | None) for item in key)
