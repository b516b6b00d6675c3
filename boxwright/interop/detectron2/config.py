"""Reads YAML configs of Detectron2, with their bases, and brings old versions up to date."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from boxwright.config.load import validate
from boxwright.config.schema import Config
from boxwright.errors import ConfigError
from boxwright.interop.detectron2.bases import zoo_base, zoo_base_names
from boxwright.interop.detectron2.keys import KEYS, PROJECTS, UPGRADES
from boxwright.interop.detectron2.model import Detectron2Model
from boxwright.interop.detectron2.run import data_section, test_section, train_section
from boxwright.interop.tables.keys import ConfigReport, Mistakes, leaves, put
from boxwright.interop.tables.yacs import YacsTree, merge_overrides, translating
from boxwright.interop.texts.config_files import base_path
from boxwright.interop.texts.json_values import parse_settings
from boxwright.interop.texts.work import Work

BASE_KEY = "_BASE_"


def read_detectron2(
    content: Mapping[Any, Any], *, source: str, path: Path | None = None, overrides: Sequence[str] = ()
) -> tuple[Config, ConfigReport]:
    """Our settings from the content of a YAML file; its bases are files only where it is the user's file `path`."""
    settings, mistakes = detectron2_settings(content, source=source, path=path, overrides=overrides)
    return translate_detectron2(settings, mistakes, source=source, dialect="detectron2")


def translate_detectron2(
    settings: YacsTree, mistakes: Mistakes, *, source: str, dialect: str
) -> tuple[Config, ConfigReport]:
    """From the original's complete settings to ours."""
    settings.check_fixed(mistakes)
    with translating(settings, mistakes):
        sections = {
            "model": Detectron2Model(settings, mistakes).section(),
            "data": data_section(settings, mistakes),
            "train": train_section(settings, mistakes),
            "test": test_section(settings),
        }
    mistakes.raise_if_any()
    report = ConfigReport(source=source, dialect=dialect, weights=settings["MODEL.WEIGHTS"] or "")
    settings.report(report)
    return validate(sections, where=source), report


def detectron2_settings(
    content: Mapping[Any, Any], *, source: str, path: Path | None = None, overrides: Sequence[str] = ()
) -> tuple[YacsTree, Mistakes]:
    """The complete settings of the original: defaults, then bases, then the file, then overrides."""
    mistakes = Mistakes(source)
    settings = YacsTree(KEYS)
    merged = _merge_bases(dict(content), source=source, folder=path and path.parent, work=Work(path))
    settings.merge(_without_projects(_upgrade(merged), mistakes), mistakes)
    merge_overrides(settings, overrides, mistakes)
    return settings, mistakes


def _merge_bases(content: Mapping[Any, Any], *, source: str, folder: Path | None, work: Work) -> dict[Any, Any]:
    """`content` over its `_BASE_` (one or a list), and theirs, to the end."""
    work.check(content, source=source)
    bases = content.get(BASE_KEY, [])
    names = bases if isinstance(bases, list | tuple) else [bases]
    merged: dict[Any, Any] = {}
    for base in names:
        if not isinstance(base, str):
            raise ConfigError(f"{source}: {BASE_KEY} holds a {type(base).__name__}; expected a path")
        _merge(merged, _load_base(base, source=source, folder=folder, work=work), source)
    _merge(merged, {name: value for name, value in content.items() if name != BASE_KEY}, source)
    return merged


def _load_base(base: str, *, source: str, folder: Path | None, work: Work) -> dict[Any, Any]:
    work.count_base(source)
    path = base_path(base, folder=folder)
    if "://" not in base and work.has_base(path):
        with work.base(path, name=base, source=source) as (real, text):
            content = parse_settings(text, source=str(real))
            return _merge_bases(content, source=str(real), folder=real.parent, work=work)
    fact = zoo_base(PurePosixPath(base.replace("\\", "/")).name)
    if fact is None:
        known = ", ".join(zoo_base_names())
        raise ConfigError(
            f"{source}: the base {base[:200]!r} is not {work.place(path)}; without a file, {known} are known"
        )
    return fact


def _merge(into: dict[Any, Any], changes: Mapping[Any, Any], source: str) -> None:
    for name, value in changes.items():
        if isinstance(value, Mapping) and name in into:
            if not isinstance(into[name], dict):
                kind = type(into[name]).__name__
                raise ConfigError(f"{source}: {name} is a group of settings here and a {kind} in the base")
            into[name] = dict(into[name])
            _merge(into[name], value, source)
        else:
            into[name] = value


def _upgrade(content: dict[Any, Any]) -> dict[Any, Any]:
    """Version 1 settings under their names of version 2."""
    paths = dict(leaves({str(name): value for name, value in content.items()}))
    version = paths.get("VERSION")
    is_old = version in (0, 1) or (version is None and ("MODEL.WEIGHT" in paths or "TEST.AUG_ON" in paths))
    if not is_old:
        return content
    is_retinanet = paths.get("MODEL.META_ARCHITECTURE") == "RetinaNet"
    group, unused = ("RETINANET", "RPN") if is_retinanet else ("RPN", "RETINANET")
    names = dict(UPGRADES)
    dropped = ["MODEL.RETINANET.ANCHOR_STRIDES", "VERSION"]
    for name in ("SIZES", "ASPECT_RATIOS"):
        names[f"MODEL.{group}.ANCHOR_{name}"] = f"MODEL.ANCHOR_GENERATOR.{name}"
        dropped.append(f"MODEL.{unused}.ANCHOR_{name}")
    upgraded: dict[Any, Any] = {}
    for path, value in paths.items():
        if path not in dropped:
            put(upgraded, names.get(path, path), value)
    return upgraded


def _without_projects(content: dict[Any, Any], mistakes: Mistakes) -> dict[Any, Any]:
    """One mistake for a project's whole group, not one per key."""
    model = content.get("MODEL")
    if not isinstance(model, dict):
        return content
    foreign = [name for name in model if f"MODEL.{name}" in PROJECTS]
    for name in foreign:
        mistakes.add(f"MODEL.{name}", f"belongs to the project {PROJECTS[f'MODEL.{name}']}, which is not in the family")
    return content | {"MODEL": {name: value for name, value in model.items() if name not in foreign}}
