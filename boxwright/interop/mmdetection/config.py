"""Reads configs of mmdetection 2 and 3: Python, JSON or YAML, whole dumps or files with bases."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from boxwright.config.load import validate
from boxwright.config.schema import Config
from boxwright.errors import ConfigError
from boxwright.interop.mmdetection.bases import known_file
from boxwright.interop.mmdetection.foreign import UNKNOWN
from boxwright.interop.mmdetection.keys import TYPES
from boxwright.interop.mmdetection.model import MmModel
from boxwright.interop.mmdetection.run import MmRun
from boxwright.interop.mmdetection.run_keys import RUN, TOP
from boxwright.interop.mmdetection.syntax import MmReader
from boxwright.interop.mmdetection.upgrade import is_old, upgrade
from boxwright.interop.tables.keys import MOST_MISTAKES, ConfigReport, Mistakes, Settings
from boxwright.interop.tables.typed_nodes import Reading, open_node

_MODELS = ("FasterRCNN", "MaskRCNN", "CascadeRCNN", "FastRCNN", "TwoStageDetector", "RPN", "RetinaNet")


def read_mmdetection(text: str, *, source: str, path: Path | None) -> tuple[Config, ConfigReport]:
    """Our settings from the text of a config; its bases are files only where it is the user's file `path`."""
    return translate_mmdetection(mmdetection_settings(text, source=source, path=path), source=source)


def mmdetection_settings(text: str, *, source: str, path: Path | None) -> dict[str, Any]:
    """The config as mmdetection itself would see it, bases merged."""
    return MmReader(fact=known_file, path=path).read(text, source=source, folder=path and path.parent)


def translate_mmdetection(settings: Mapping[str, Any], *, source: str) -> tuple[Config, ConfigReport]:
    """From mmdetection's dictionaries to our settings."""
    old = is_old(settings)
    config = _upgraded(settings, source) if old else dict(settings)
    mistakes = Mistakes(source)
    report = ConfigReport(source=source, dialect="mmdetection2" if old else "mmdetection3")
    reading = Reading(table=TYPES | RUN, tag="type", mistakes=mistakes, report=report, unknown=UNKNOWN)
    _check_top(settings if old else config, mistakes, report)
    content: Settings = {}
    with reading.guarded():
        if not isinstance(config.get("model"), Mapping):
            raise ConfigError(f"{source}: has no model=dict(...): it is a base for other configs, not a whole one")
        model = open_node(config["model"], path="model", kinds=_MODELS, reading=reading)
        run = MmRun(config, reading)
        run.read()
        if model:
            content = _content(MmModel(model), run)
    mistakes.raise_if_any()
    return validate(content, where=source), report


def _upgraded(settings: Mapping[str, Any], source: str) -> Settings:
    try:
        return upgrade(settings)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{source}: not of the form of mmdetection 2 ({error}); its parts are dict(...)") from None


def _content(model: MmModel, run: MmRun) -> Settings:
    section, test = model.sections()
    if not section:
        return {}
    if run.pipeline.is_polygon:
        section["conventions"]["mask_targets"] = "polygons"
    section["input"] = section["input"] | {"resize": run.resize()}
    if run.class_names and len(run.class_names) == section.get("num_classes"):
        section["class_names"] = run.class_names
    proposals = section.get("proposals") or {}
    if proposals.get("kind") == "precomputed":
        proposals["top_k"] |= {phase: count for phase, count in run.pipeline.top_k.items() if count}
    return {"model": section, "data": run.data, "train": run.train_section(model.weights), "test": test}


def _check_top(config: Mapping[str, Any], mistakes: Mistakes, report: ConfigReport) -> None:
    """A file may define names of its own; one that is nearly a name mmdetection reads is a mistake."""
    old = {
        "data",
        "optimizer",
        "optimizer_config",
        "lr_config",
        "runner",
        "evaluation",
        "checkpoint_config",
        "log_config",
    }
    for name, value in config.items():
        key = TOP.get(name)
        if key is not None:
            report.note(key, name)
            continue
        if name in old or name in ("fp16", "img_norm_cfg", "total_epochs"):
            report.translated.append((name, "as in mmdetection 3"))
            continue
        near = []
        if isinstance(value, dict) and len(report.ignored) < MOST_MISTAKES:
            near = get_close_matches(name, [known for known in TOP if known not in config], n=1, cutoff=0.85)
        if near:
            mistakes.add(name, f"is read by nothing, did you mean {near[0]}?")
        else:
            report.ignored.append((name, "a name of the file's own"))
