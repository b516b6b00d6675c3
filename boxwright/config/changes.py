"""Dotted changes, such as "train.lr=0.01", written into plain settings."""

from collections.abc import Sequence
from typing import Any

from boxwright.config.yaml_text import parse_yaml
from boxwright.errors import ConfigError


def write_changes(content: dict[str, Any], texts: Sequence[str]) -> None:
    """Writes all of `texts` into `content`, in order. A new `kind` starts that part afresh from its defaults."""
    mistakes = [mistake for text in texts if (mistake := _write(content, text))]
    if mistakes:
        raise ConfigError(
            "\n  ".join([f"{len(mistakes)} overrides do not fit", *mistakes]) if mistakes[1:] else mistakes[0]
        )


def _write(content: dict[str, Any], text: str) -> str | None:
    """Returns what is wrong with a change, if the schema could not say it better."""
    path, equals, value_text = text.partition("=")
    if not equals or not path.strip():
        return f"override {text!r}: write it as dotted.key=value"
    *parents, name = path.strip().split(".")
    here: Any = content
    for depth, step in enumerate([*parents, name]):
        if isinstance(here, list) and not (step.isdecimal() and int(step) < len(here)):
            return f"override {text!r}: {'.'.join(parents[:depth])} is a list of {len(here)}; give an index below that"
        if not isinstance(here, dict | list):
            return f"override {text!r}: {'.'.join(parents[:depth])} is {here!r}, which has no parts"
        if depth == len(parents):
            break
        if isinstance(here, dict) and here.get(step) is None:
            here[step] = {}  # a part that was off is switched on by setting something in it
        here = here[int(step)] if isinstance(here, list) else here[step]
    value = parse_yaml(value_text, where=f"override {text!r}")
    if isinstance(here, list):
        here[int(name)] = value
        return None
    if name == "kind" and here.get("kind") != value:
        here.clear()
    here[name] = value
    return None
