"""YAML in and out as plain data: bounded in size, depth and aliases; no tags that build objects, no repeated keys.

Built from the parser's events, one by one, so that no text costs more than the bounds below, whatever it unfolds into.
"""

from collections.abc import Callable
from typing import Any

import yaml

from boxwright.errors import ConfigError

MAX_CHARACTERS = 4 * 2**20
MAX_VALUES = 50_000  # with every alias written out; a zoo config has about 500, a list of 13,000 named classes 26,000
MAX_DEPTH = 60
MAX_DIGITS = 400  # no float has more; what is longer is a text
_MAX_DIRECTIVES = 100  # lines that start with %, each of which the parser compares with those before it
_MAX_NUMBER_KEYS = 2_000  # of one mapping, where they are not counted up: numbers can be chosen to share one hash
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_YAML = "tag:yaml.org,2002:"
_MERGE = object()  # the key <<, whose mapping fills what its neighbours leave out
_NO_KEY = object()
_resolve: Callable[..., str] = yaml.resolver.Resolver().resolve
_SCALARS = yaml.constructor.SafeConstructor()


class _Open:
    """A sequence or mapping whose end has not come yet, and how many values it holds with all aliases written out."""

    def __init__(self, event: yaml.CollectionStartEvent) -> None:
        self.event = event
        self.is_map = isinstance(event, yaml.MappingStartEvent)
        self.items: list[Any] = []
        self.mapping: dict[Any, Any] = {}
        self.merged: dict[Any, Any] = {}
        self.key: Any = _NO_KEY
        self.size = 1
        self.number_keys = 0


class YamlBuilder:
    """Plain data from the events of one document. `where` names it in errors.

    Numbers, truths and null are recognised as in YAML 1.1, but for what people write as a text: 12:30 is no number of
    base 60, and a date is its text.
    """

    may_repeat_keys = False

    def __init__(self, where: str) -> None:
        self.where = where
        self.result: Any = None
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._documents = 0
        self._values = 0

    def read(self, text: str) -> Any:
        """The content of the document that `text` is; None where it is empty."""
        if len(text) > MAX_CHARACTERS or text.count("\n%") > _MAX_DIRECTIVES:
            raise ConfigError(f"{self.where}: {len(text)} characters or their %directives are too many for YAML")
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            mark, problem = error.problem_mark or error.context_mark, error.problem or error.context
            raise self.error(mark, f"not readable as YAML: {problem}") from error
        except (yaml.YAMLError, UnicodeError) as error:
            raise ConfigError(f"{self.where}: not readable as YAML: {' '.join(str(error).split())[:200]}") from error
        return self.result

    def error(self, mark: Any, message: str) -> ConfigError:
        """To raise: `message` after `where` and, if `mark` is no None, the line and column there, counted from 1."""
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return ConfigError(f"{self.where}{place}: {message}")

    def scalar(self, event: yaml.ScalarEvent, tag: str) -> Any:
        """The value of one text by its tag, which is written or follows from its form."""
        text = event.value
        if tag in ("str", "timestamp", "value", "merge") or (tag in ("int", "float") and ":" in text):
            return text
        if tag == "bool":
            return _SCALARS.bool_values[text.lower()]
        if tag == "null":
            return None
        if tag == "int":
            return _SCALARS.construct_yaml_int(yaml.ScalarNode(tag, text))
        if tag == "float":
            return _SCALARS.construct_yaml_float(yaml.ScalarNode(tag, text))
        raise self.error(event.start_mark, f"the tag {str(event.tag)[:80]} is not understood")

    def sequence(self, tag: str | None, items: list[Any], mark: Any) -> Any:
        """A finished list; `mark` is where it begins."""
        if tag not in (None, "!", f"{_YAML}seq"):
            raise self.error(mark, f"the tag {str(tag)[:80]} is not understood")
        return items

    def mapping(self, tag: str | None, content: dict[Any, Any], mark: Any) -> Any:
        """A finished dictionary; `mark` is where it begins."""
        if tag not in (None, "!", f"{_YAML}map"):
            raise self.error(mark, f"the tag {str(tag)[:80]} is not understood")
        return content

    def _take(self, event: Any) -> None:
        match event:
            case yaml.ScalarEvent():
                self._place(self._scalar(event), event, size=1)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                if len(self._open) >= MAX_DEPTH:
                    raise self.error(event.start_mark, "nested too deeply")
                self._open.append(_Open(event))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                done = self._open.pop()
                self._place(self._close(done), done.event, size=done.size)
            case yaml.AliasEvent():
                if event.anchor not in self._anchors:
                    raise self.error(
                        event.start_mark, f"*{str(event.anchor)[:80]} refers to nothing that ends before it"
                    )
                value, size = self._anchors[event.anchor]
                self._count(size, event.start_mark)
                self._place(value, event, size=size)
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise self.error(event.start_mark, "a second document; a config is one")

    def _count(self, size: int, mark: Any) -> None:
        self._values += size
        if self._values > MAX_VALUES:
            raise self.error(mark, f"more than {MAX_VALUES} values once its aliases are written out")

    def _place(self, value: Any, event: Any, *, size: int) -> None:
        if isinstance(event, yaml.NodeEvent) and not isinstance(event, yaml.AliasEvent):
            self._count(1, event.start_mark)
            if event.anchor:
                self._anchors[event.anchor] = (value, size)
        if not self._open:
            self.result = value
            return
        parent = self._open[-1]
        parent.size += size
        if not parent.is_map:
            parent.items.append(value)
        elif parent.key is _NO_KEY:
            self._check_key(parent, value, event.start_mark)
            parent.key = value
        else:
            self._fill(parent, value, event.start_mark)

    def _check_key(self, parent: _Open, key: Any, mark: Any) -> None:
        if key is _MERGE or isinstance(key, str | bytes):
            is_known = key in parent.mapping
        elif key is None or isinstance(key, int | float) or self.is_key(key):
            parent.number_keys += 1
            is_counted_up = isinstance(key, int) and 0 <= key < 2 * MAX_VALUES
            if parent.number_keys > _MAX_NUMBER_KEYS and not is_counted_up:
                raise self.error(mark, f"more than {_MAX_NUMBER_KEYS} numbers as keys")
            is_known = key in parent.mapping
        else:
            raise self.error(mark, f"a key must be a name, not a {type(key).__name__}")
        if is_known and not self.may_repeat_keys:
            raise self.error(mark, f"the key {str(key)[:60]!r} stands twice")

    def is_key(self, value: Any) -> bool:
        """Whether a value that is no scalar may be a key."""
        return False

    def _fill(self, parent: _Open, value: Any, mark: Any) -> None:
        if parent.key is _MERGE:
            for base in value if isinstance(value, list) else [value]:
                if not isinstance(base, dict):
                    raise self.error(mark, "<< needs a mapping")
                parent.merged = base | parent.merged
        else:
            parent.mapping[parent.key] = value
        parent.key = _NO_KEY

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            is_plain = event.implicit[0] and len(event.value) <= MAX_DIGITS
            tag = _resolve(yaml.ScalarNode, event.value, (is_plain, True))
        if tag == f"{_YAML}merge" and self._open and self._open[-1].is_map and self._open[-1].key is _NO_KEY:
            return _MERGE
        short = tag.removeprefix(_YAML)
        if short.endswith(("int", "long", "float")) and len(event.value) > MAX_DIGITS:
            raise self.error(event.start_mark, f"a number of {len(event.value)} digits is too large")
        try:
            return self.scalar(event, short)
        except (ValueError, ArithmeticError, LookupError) as error:
            if isinstance(error, ConfigError):
                raise
            raise self.error(event.start_mark, f"{event.value[:60]!r} is no {short}") from None

    def _close(self, done: _Open) -> Any:
        tag, mark = done.event.tag, done.event.start_mark
        if not done.is_map:
            return self.sequence(tag, done.items, mark)
        return self.mapping(tag, done.merged | done.mapping if done.merged else done.mapping, mark)


def parse_yaml(text: str, *, where: str) -> Any:
    """The content of one YAML document. Mistakes name `where`, the line and the column."""
    return YamlBuilder(where).read(text)


def write_yaml(content: Any, *, is_block: bool = False) -> str:
    """`content` as YAML that `parse_yaml` reads back equal. `is_block` puts each item of a list on its own line."""
    style = False if is_block else None
    options: dict[str, Any] = {"sort_keys": False, "width": 120, "allow_unicode": True}
    try:
        return str(yaml.dump(content, Dumper=_Dumper, default_flow_style=style, **options))
    except yaml.YAMLError as error:
        raise ConfigError(f"cannot be written as YAML: {error}") from error


class _Dumper(yaml.SafeDumper):
    """Texts that other styles would fold or change are written between double quotes, with escapes."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        if text.isprintable():
            return self.represent_scalar(f"{_YAML}str", text)
        if any("\ud800" <= sign <= "\udfff" for sign in text):
            raise yaml.representer.RepresenterError(f"{text[:60]!r} holds half a character")
        return self.represent_scalar(f"{_YAML}str", text, style='"')


_Dumper.add_representer(str, _Dumper.represent_text)
