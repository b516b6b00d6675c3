"""Any config into our settings: the dialect is guessed from the content, never from the file's name."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from boxwright.config import load_config, parse_config, preset, preset_names
from boxwright.config.schema import Config
from boxwright.errors import ConfigError
from boxwright.files import is_readable
from boxwright.interop.detectron.config import read_detectron
from boxwright.interop.detectron.keys import KEYS as DETECTRON_KEYS
from boxwright.interop.detectron2.config import read_detectron2
from boxwright.interop.detectron2.keys import KEYS as DETECTRON2_KEYS
from boxwright.interop.detectron2.lazy_config import read_lazy, read_lazy_tree
from boxwright.interop.detectron2.lazy_syntax import TARGET
from boxwright.interop.mmdetection.config import read_mmdetection
from boxwright.interop.tables.coco_names import with_coco_names
from boxwright.interop.tables.keys import ConfigReport, leaves, nearest, put
from boxwright.interop.texts.config_files import check_text, read_text
from boxwright.interop.texts.json_values import parse_settings
from boxwright.interop.texts.python_values import MAX_DEPTH, is_python, literal
from boxwright.interop.texts.work import Work
from boxwright.interop.torchvision.config import BUILDERS, is_torchvision, read_torchvision
from boxwright.interop.zoo.configs import is_published, read_published

_Read = tuple[Config, ConfigReport]
_MAX_LINES = 2_000  # the settings that Detectron prints are 300
_FLAT = re.compile(r"^[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*\s*=\s*\S")
_OURS = {"model", "data", "train", "test", "base"}
_MM = ("model", "train_dataloader", "data", "optim_wrapper", "_base_", "default_scope", "dataset_type")


def read_config(source: Path | str, overrides: Sequence[str] = ()) -> Config:
    """Our settings from a file, a name or a text of any dialect, then our own dotted overrides."""
    return read_config_report(source)[0].with_(*overrides)


def read_config_report(source: Path | str) -> tuple[Config, ConfigReport]:
    """The settings, and what became of every key. Models of COCO get its class names, which no source writes down."""
    config, report = _read_source(source)
    return with_coco_names(config, weights=report.weights), report


def _read_source(source: Path | str) -> _Read:
    if isinstance(source, str):
        named = _by_name(source)
        if named is not None:
            return named
        if "\n" in source or not _may_be_path(source):
            return _read_text(source, source="config text")
    path = Path(source).expanduser()
    if not is_readable(path):
        raise ConfigError(
            f"{source}: neither a file, nor a preset, nor a published model, nor a torchvision builder"
            f"{nearest(str(source), [*preset_names(), *BUILDERS])}"
        )
    return _read_text(read_text(path), source=str(path), path=path)


def read_config_text(text: str, *, source: str) -> tuple[Config, ConfigReport]:
    """Settings from text alone, such as the one that mmdetection keeps inside a checkpoint."""
    config, report = _read_text(text, source=source)
    return with_coco_names(config, weights=report.weights), report


def _read_text(text: str, *, source: str, path: Path | None = None) -> _Read:
    """`path` is the file that holds the text, if the user named one: for it alone bases are read from files."""
    check_text(text, source=source)
    if is_torchvision(text):
        return read_torchvision(text, source=source)
    if text.lstrip()[:1] != "{":
        if _is_flat(text):
            return read_detectron(_flat_settings(text, source), source=source)
        if is_python(text):
            is_lazy = re.search(r"LazyCall|LazyConfig|from\s+\.+common|model_zoo|get_config\(|OmegaConf", text)
            reader: Callable[..., _Read] = read_lazy if is_lazy or _imports_lazily(text) else read_mmdetection
            return reader(text, source=source, path=path)
    return _read_mapping(parse_settings(text, source=source), text, source=source, path=path)


def _dialect_of(content: Mapping[Any, Any]) -> str:
    """ours, detectron, detectron2, detectron2_lazy or mmdetection, by the names in a file's nested dictionaries."""
    names = {str(name) for name in content}
    model = content.get("model")
    if isinstance(model, Mapping) and TARGET in model:
        return "detectron2_lazy"
    if (isinstance(model, Mapping) and "type" in model) or names & {"train_dataloader", "optim_wrapper", "_base_"}:
        return "mmdetection"
    if names and names <= _OURS:
        return "ours"
    if names & {"_BASE_", "VERSION", "INPUT", "DATASETS", "DATALOADER"}:
        return "detectron2"
    if names & set(_MM[1:]) - _OURS:
        return "mmdetection"
    given = {path for path, _ in leaves({str(name): value for name, value in content.items()})}
    scores = {
        "detectron2": len(given & {key.path for key in DETECTRON2_KEYS}),
        "detectron": len(given & {key.path for key in DETECTRON_KEYS}),
    }
    best = max(scores, key=lambda name: scores[name])
    if scores[best] == 0:
        return "ours" if names & _OURS else "unknown"
    return best


def _read_mapping(content: Mapping[str, Any], text: str, *, source: str, path: Path | None) -> _Read:
    match _dialect_of(content):
        case "detectron":
            return read_detectron(content, source=source)
        case "detectron2":
            return read_detectron2(content, source=source, path=path)
        case "detectron2_lazy":
            return read_lazy_tree(content, source=source)
        case "mmdetection":
            return read_mmdetection(text, source=source, path=path)
        case "ours":
            config = load_config(path) if path else parse_config(text, where=source)
            return config, ConfigReport(source=source, dialect="boxwright")
    names = ", ".join(str(name)[:40] for name in list(content)[:8])
    raise ConfigError(
        f"{source}: of no known dialect (it has {names}); known are Boxwright, Detectron, Detectron.pytorch, "
        "Detectron2 (YAML and LazyConfig), mmdetection 2 and 3, and torchvision's builders"
    )


def _by_name(name: str) -> _Read | None:
    """A preset, a torchvision builder, or a published model."""
    if name in preset_names():
        return preset(name), ConfigReport(source=name, dialect="boxwright")
    if "\n" not in name and is_torchvision(name):
        return read_torchvision(name, source=name)
    if is_published(name):
        return read_published(name)
    return None


def _may_be_path(text: str) -> bool:
    looks_like_one = len(text) < 1024 and not any(sign in text for sign in ("(", ": ", "="))
    return looks_like_one or is_readable(Path(text[:1024]))


def _imports_lazily(text: str) -> bool:
    """A LazyConfig file that only changes another: `from .x import model, ...`, and no `_base_`."""
    return (
        "_base_" not in text
        and re.search(r"^from\s+\.\w*\s*import|^from\s+\.+\w+\s+import", text, re.MULTILINE) is not None
        and "read_base" not in text
    )


def _is_flat(text: str) -> bool:
    """Detectron's printed settings: one `A.B = value` per line."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return bool(lines) and "." in text and all(_FLAT.match(line) for line in lines)


def _flat_settings(text: str, source: str) -> dict[str, Any]:
    content: dict[str, Any] = {}
    work = Work()
    for number, line in enumerate(text.splitlines(), start=1):
        path, equals, value = line.partition("=")
        if not equals or line.startswith("#"):
            continue
        if number > _MAX_LINES or path.count(".") > MAX_DEPTH:
            raise ConfigError(f"{source}:{number}: more lines, or longer names, than printed settings have")
        plain = value.strip()
        if plain.endswith(")"):  # else the pattern would look for the end from each place where it may begin
            plain = re.sub(r"\b(?:np\.)?(?:array|float64|float32|int64)\((.*)\)$", r"\1", plain)
        try:
            put(content, path.strip(), literal(plain, source=f"{source}:{number}", work=work))
        except ConfigError:
            put(content, path.strip(), value.strip())
    return content
