"""JSON and YAML of other programs as plain data, under the same bounds."""

import json
import re
from typing import Any

from boxwright.config.yaml_text import MAX_DEPTH, MAX_DIGITS, MAX_VALUES
from boxwright.errors import ConfigError
from boxwright.interop.texts.yaml_values import parse_yaml

_NAME = re.compile(r"[^\W\d][\w.-]{0,99}")


def parse_settings(text: str, *, source: str) -> dict[str, Any]:
    """The settings in a text; the ConfigError for anything else quotes nothing of its content."""
    content = _parse_data(text, source=source)
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: expected settings, found {type(content).__name__}")
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in content):
        raise ConfigError(f"{source}: is no config: its keys are no names of settings")
    return content


def _parse_data(text: str, *, source: str) -> Any:
    """The content of a text that is JSON, or else YAML: `1e-3` is a number to JSON alone."""
    if text.lstrip()[:1] == "{":
        try:
            content = json.loads(text, parse_int=_whole, parse_constant=_no_constant, object_pairs_hook=_object)
        except json.JSONDecodeError:
            return parse_yaml(text, source=source)
        except RecursionError:
            raise ConfigError(f"{source}: nested too deeply") from None
        except ValueError as error:
            raise ConfigError(f"{source}: {error}") from None
        _check(content, source)
        return content
    return parse_yaml(text, source=source)


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits is too large")
    return int(digits)


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:60]!r} stands twice")
    return content


def _check(content: Any, source: str) -> None:
    """As deep and as many values as YAML may have."""
    level, count = [content], 0
    for depth in range(MAX_DEPTH + 2):
        count += len(level)
        if count > MAX_VALUES:
            raise ConfigError(f"{source}: more than {MAX_VALUES} values")
        if not level:
            return
        if depth > MAX_DEPTH:
            raise ConfigError(f"{source}: nested too deeply")
        inner = [item for item in level if isinstance(item, dict | list)]
        level = [part for item in inner for part in (item.values() if isinstance(item, dict) else item)]
