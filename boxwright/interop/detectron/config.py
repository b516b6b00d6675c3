"""Reads YAML configs of Detectron and of Detectron.pytorch."""

from collections.abc import Mapping, Sequence
from typing import Any

from boxwright.config.load import validate
from boxwright.config.schema import Config
from boxwright.interop.detectron.keys import KEYS, PYTORCH_ONLY, RENAMED, RETIRED
from boxwright.interop.detectron.model import DetectronModel
from boxwright.interop.detectron.run import data_section, test_section, train_section
from boxwright.interop.tables.keys import ConfigReport, Mistakes, leaves
from boxwright.interop.tables.yacs import YacsTree, merge_overrides, translating


def read_detectron(
    content: Mapping[Any, Any], *, source: str, overrides: Sequence[str] = ()
) -> tuple[Config, ConfigReport]:
    """Our settings from the content of a YAML file, with the original's own overrides such as "TEST.NMS=0.5"."""
    settings, mistakes, is_pytorch = _detectron_settings(content, source=source, overrides=overrides)
    report = ConfigReport(source=source, dialect="detectron_pytorch" if is_pytorch else "detectron")
    with translating(settings, mistakes):
        model = DetectronModel(settings, mistakes)
        sections = {
            "model": model.section(),
            "data": data_section(settings),
            "train": train_section(settings, mistakes, is_pytorch=is_pytorch),
            "test": test_section(settings, mistakes),
        }
    mistakes.raise_if_any()
    settings.report(report)
    report.ignored += [(name, "no longer read by the original") for name in RETIRED if name in _paths(content)]
    report.weights = settings["TEST.WEIGHTS"]
    if settings["MODEL.NUM_CLASSES"] == -1:
        classes = sections["model"]["num_classes"]
        report.notes.append(f"MODEL.NUM_CLASSES is left to the data set in the original; COCO's {classes} is taken")
    return validate(sections, where=source), report


def _detectron_settings(
    content: Mapping[Any, Any], *, source: str, overrides: Sequence[str] = ()
) -> tuple[YacsTree, Mistakes, bool]:
    """The complete settings of the original, and whether it is Detectron.pytorch's."""
    mistakes = Mistakes(source)
    settings = YacsTree(KEYS)
    kept = _without(content, RETIRED)
    for path in _paths(kept):
        if path in RENAMED:
            mistakes.add(path, f"was renamed to {RENAMED[path]}")
    settings.merge(_without(kept, tuple(RENAMED)), mistakes)
    merge_overrides(settings, overrides, mistakes)
    settings.check_fixed(mistakes)
    is_pytorch = _is_pytorch(settings)
    if is_pytorch and "TRAIN.SNAPSHOT_ITERS" not in settings.given:
        settings.tree["TRAIN"]["SNAPSHOT_ITERS"] = 20000
    return settings, mistakes, is_pytorch


def _is_pytorch(settings: YacsTree) -> bool:
    """Detectron's module names start with add_; Detectron.pytorch has keys of its own."""
    names = [settings[path] for path in ("MODEL.CONV_BODY", "FAST_RCNN.ROI_BOX_HEAD", "KRCNN.ROI_KEYPOINTS_HEAD")]
    if any(".add_" in name for name in names):
        return False
    return any(path in settings.given for path in PYTORCH_ONLY) or "TRAIN.WEIGHTS" not in settings.given


def _paths(content: Mapping[Any, Any]) -> set[str]:
    return {path for path, _ in leaves({str(name): value for name, value in content.items()})}


def _without(content: Mapping[Any, Any], names: Sequence[str], prefix: str = "") -> dict[Any, Any]:
    kept: dict[Any, Any] = {}
    for name, value in content.items():
        path = f"{prefix}{name}"
        if path not in names:
            kept[name] = _without(value, names, f"{path}.") if isinstance(value, Mapping) else value
    return kept
