"""YAML of other programs as plain data: Python's tags by meaning, never by running; numbers as the originals read them.

The bounds are those of our own YAML.
"""

from collections.abc import Callable
from typing import Any

import yaml

from boxwright.config.yaml_text import YamlBuilder
from boxwright.errors import ConfigError
from boxwright.interop.texts.python_values import literal
from boxwright.interop.texts.work import Work

_YAML = "tag:yaml.org,2002:"
_PYTHON = f"{_YAML}python/"
_BASE_60 = yaml.constructor.SafeConstructor()
_SCALARS: dict[str, Callable[[str], Any]] = {
    "python/str": str,
    "python/unicode": str,
    "python/int": int,
    "python/long": int,
    "python/float": float,
    "python/bool": lambda text: text.lower() in ("true", "yes", "on"),
    "python/none": lambda text: None,
    "python/bytes": str,
    "binary": str,
}
_SEQUENCES: dict[str | None, Callable[[list[Any]], Any]] = {
    None: list,
    f"{_YAML}seq": list,
    f"{_PYTHON}list": list,
    f"{_PYTHON}tuple": tuple,
}
# Detectron's own dumps carry its dictionary class, whose state is the mapping itself.
_MAPPINGS = (f"{_YAML}map", f"{_PYTHON}dict", f"{_PYTHON}object/new:", f"{_PYTHON}object:")
_KNOWN_CLASSES = ("AttrDict", "CfgNode", "ConfigDict", "DictConfig")


class _ForeignYaml(YamlBuilder):
    """12:30 is 750 to the originals, and of a key that stands twice they take the last."""

    may_repeat_keys = True

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.work = Work()

    def error(self, mark: Any, message: str) -> ConfigError:
        return ConfigError(f"{self.where}{f':{mark.line + 1}' if mark else ''}: {message}")

    def scalar(self, event: yaml.ScalarEvent, tag: str) -> Any:
        if tag.startswith("python/name:"):
            return tag.removeprefix("python/name:")
        if tag in _SCALARS:
            return _SCALARS[tag](event.value)
        if tag.startswith("python/"):
            raise self.error(event.start_mark, f"the tag !!{tag[:80]} is code, never run here")
        if tag in ("int", "float") and ":" in event.value:
            construct = _BASE_60.construct_yaml_int if tag == "int" else _BASE_60.construct_yaml_float
            return construct(yaml.ScalarNode(tag, event.value))
        return super().scalar(event, tag)

    def sequence(self, tag: str | None, items: list[Any], mark: Any) -> Any:
        if tag in _SEQUENCES:
            return _SEQUENCES[tag](items)
        if tag == f"{_PYTHON}object/apply:eval" and len(items) == 1:
            return literal(str(items[0]), source=f"{self.where}:{mark.line + 1}", work=self.work)
        raise self.error(mark, f"the tag {str(tag)[:80]} is code, never run here")

    def mapping(self, tag: str | None, content: dict[Any, Any], mark: Any) -> Any:
        if tag is None:
            return content
        if not tag.startswith(_MAPPINGS):
            raise self.error(mark, f"the tag {str(tag)[:80]} is not understood")
        if "object" in tag and not tag.endswith(_KNOWN_CLASSES):
            raise self.error(mark, f"the tag {str(tag)[:80]} is code, never run here")
        state = content.get("dictitems", content.get("state"))  # how a dumped dictionary class keeps its content
        return state if "object/new" in tag and isinstance(state, dict) else content

    def is_key(self, value: Any) -> bool:
        return isinstance(value, tuple) and all(isinstance(item, str | int | float | bool | None) for item in value)


def parse_yaml(text: str, *, source: str) -> Any:
    """The content of one YAML document; `source` and the line stand in every error."""
    return _ForeignYaml(source).read(text)
