"""Settings in and out: our own YAML, presets, differences, the JSON schema."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from boxwright.config.mistakes import checked
from boxwright.config.presets import preset, preset_names
from boxwright.config.schema import Config
from boxwright.config.yaml_text import parse_yaml, write_yaml
from boxwright.errors import ConfigError
from boxwright.files import MOST_OF_LABELS, atomic_write, is_readable, read_text

Change = tuple[str, Any, Any]  # dotted path, one value, the other


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> Config:
    """A preset's name or a YAML file of our own form, then `overrides` such as "train.lr=0.01".

    A file may start from another by a top-level `base:` (a preset, or a path relative to the file) and then holds
    only what differs.
    """
    text = str(source)
    if text in preset_names():
        return preset(text).with_(*overrides)
    path = Path(source)
    if not is_readable(path):
        raise ConfigError(f"{text}: neither a file nor a preset{_nearest_preset(text)}")
    return _parse_file(path, where=text).with_(*overrides)


def parse_config(text: str, *, where: str, folder: Path | None = None, bases: tuple[Path, ...] = ()) -> Config:
    """Our own YAML as text; `where` names it in errors, `folder` is where a relative `base` is looked for.

    Without a folder it is no file that the user named, such as a text inside a checkpoint: its base is a preset.

    `bases` are the files on the way here, so that one which leads back to itself is noticed.
    """
    content = parse_yaml(text, where=where)
    is_base = len(bases) > 1
    if not _is_settings(content) or (is_base and not content.keys() & {*Config.model_fields, "base"}):
        raise ConfigError(f"{where}: expected settings (a mapping with model, data, train, test)")
    base = content.pop("base", None)
    if base is not None:
        content = _merge(dump_plain(_load_base(str(base), where, folder, bases)), content)
    return validate(content, where=where)


def validate(content: Any, *, where: str) -> Config:
    """Plain data as a Config; one ConfigError lists the mistakes in it, and `where` names the source there."""
    return checked(Config, content, where=where)


def dump(config: Config) -> str:
    """The settings as YAML; `parse_config` gives an equal Config back."""
    return write_yaml(dump_plain(config))


def dump_plain(config: Config) -> dict[str, Any]:
    """Dicts, lists and single values, as JSON and YAML have them; every default is written out."""
    return config.model_dump(mode="json")


def save_config(config: Config, path: str | Path) -> None:
    """Writes `dump(config)`; an OutputError if `path` cannot be written."""
    with atomic_write(path, "w") as file:
        file.write(dump(config))


def json_schema() -> dict[str, Any]:
    """The schema for editors: point `# yaml-language-server: $schema=...` at a file with it."""
    schema = Config.model_json_schema()
    schema["properties"]["base"] = {"type": "string", "description": "A preset or a file that this one starts from."}
    schema.pop("required", None)  # what is missing may come from the base
    return schema


def diff(a: Config, b: Config) -> list[Change]:
    """Every leaf setting that differs, in the order of the schema; a path that one lacks has the value None there."""
    left, right = dict(_leaves(dump_plain(a))), dict(_leaves(dump_plain(b)))
    paths = list(dict.fromkeys([*left, *right]))
    return [(path, left.get(path), right.get(path)) for path in paths if left.get(path) != right.get(path)]


def _load_base(base: str, where: str, folder: Path | None, bases: tuple[Path, ...]) -> Config:
    if base in preset_names():
        return preset(base)
    path = None if folder is None else folder / base
    if path is None or not is_readable(path):
        raise ConfigError(f"{where}: base {base!r} is neither a preset nor a file beside it{_nearest_preset(base)}")
    if path.resolve() in bases:
        raise ConfigError(f"{where}: base {base!r} leads back to itself")
    return _parse_file(path, where=str(path), bases=bases)


def _parse_file(path: Path, *, where: str, bases: tuple[Path, ...] = ()) -> Config:
    """`bases`: the files that led to this one."""
    text = read_text(path, error=ConfigError, most=MOST_OF_LABELS)
    return parse_config(text, where=where, folder=path.parent, bases=(*bases, path.resolve()))


def _is_settings(content: Any) -> bool:
    """Whether the keys are names: what is in a file that is no config, no error shall tell."""
    return isinstance(content, dict) and all(isinstance(key, str) and key.isidentifier() for key in content)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        fits = (
            isinstance(old, dict) and isinstance(value, dict) and value.get("kind", old.get("kind")) == old.get("kind")
        )
        merged[key] = _merge(old, value) if fits else value  # type: ignore[arg-type]
    return merged


def _leaves(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path, content


def _nearest_preset(name: str) -> str:
    close = difflib.get_close_matches(name, preset_names(), n=3)
    return f"; nearest presets: {', '.join(close)}" if close else "; `boxwright config list` names the presets"
