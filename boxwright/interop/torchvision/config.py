"""torchvision's detection builders by name and keyword arguments, as in `maskrcnn_resnet50_fpn(num_classes=5)`.

A bare name is the published model (weights="DEFAULT"); a call has torchvision's own defaults, `weights=None` among
them. Nothing is imported or called.
"""

import ast
import re
from dataclasses import dataclass
from typing import Any

from boxwright.config.load import validate
from boxwright.config.schema import Config
from boxwright.errors import ConfigError
from boxwright.interop.tables.keys import ConfigReport, Key, Mistakes, nearest
from boxwright.interop.texts.python_values import PythonValues, parse
from boxwright.interop.texts.unfolded import check_unfolded
from boxwright.interop.texts.work import Work
from boxwright.interop.torchvision.keys import BOX, BUILDER, KEYPOINT, MASK, RETINANET, TRANSFORM
from boxwright.interop.torchvision.model import TorchvisionModel

PREFIX = "torchvision/"
_WEIGHTS = ("DEFAULT", "COCO_V1", "COCO_LEGACY")


@dataclass(frozen=True, slots=True)
class ModelBuilder:
    """One of torchvision's functions: what it makes and its own defaults."""

    family: str  # faster, mask, keypoint, retinanet
    body: str = "resnet50"
    version: int = 1
    classes: int = 91
    defaults: tuple[tuple[str, Any], ...] = ()  # defaults that differ from the class's

    @property
    def keys(self) -> tuple[Key, ...]:
        """The arguments that the builder takes."""
        parts = {"faster": BOX, "mask": BOX + MASK, "keypoint": BOX + KEYPOINT, "retinanet": RETINANET}
        return BUILDER + TRANSFORM + parts[self.family]


_NO_BACKBONE = (("weights_backbone", None),)
BUILDERS = {
    "fasterrcnn_resnet50_fpn": ModelBuilder("faster"),
    "fasterrcnn_resnet50_fpn_v2": ModelBuilder("faster", version=2, defaults=_NO_BACKBONE),
    "fasterrcnn_mobilenet_v3_large_fpn": ModelBuilder("faster", body="mobilenet"),
    "fasterrcnn_mobilenet_v3_large_320_fpn": ModelBuilder(
        "faster",
        body="mobilenet",
        defaults=(
            ("min_size", 320),
            ("max_size", 640),
            ("rpn_pre_nms_top_n_test", 150),
            ("rpn_post_nms_top_n_test", 150),
            ("rpn_score_thresh", 0.05),
        ),
    ),
    "maskrcnn_resnet50_fpn": ModelBuilder("mask"),
    "maskrcnn_resnet50_fpn_v2": ModelBuilder("mask", version=2, defaults=_NO_BACKBONE),
    "keypointrcnn_resnet50_fpn": ModelBuilder(
        "keypoint", classes=2, defaults=(("min_size", (640, 672, 704, 736, 768, 800)),)
    ),
    "retinanet_resnet50_fpn": ModelBuilder("retinanet"),
    "retinanet_resnet50_fpn_v2": ModelBuilder("retinanet", version=2, defaults=_NO_BACKBONE),
}
_DUMP = re.compile(r"\A# weights=(?P<weights>[\w.]+)\n# builder signature: (?P<name>\w+)\(")


def is_torchvision(text: str) -> bool:
    """Whether `text` names one of the builders, alone or called."""
    name = re.match(r"\s*(?:torchvision/|torchvision\.models\.detection\.)?(\w+)\s*(?:\(|\Z)", text)
    return bool(name and name[1] in BUILDERS) or _DUMP.match(text) is not None


def read_torchvision(text: str, *, source: str) -> tuple[Config, ConfigReport]:
    """Our settings from a builder's name or call."""
    name, arguments = _parse_call(text, source=source)
    builder = BUILDERS[name]
    mistakes = Mistakes(source)
    report = ConfigReport(source=source, dialect="torchvision")
    known = {key.path: key for key in builder.keys}
    for argument, value in arguments.items():
        key = known.get(argument)
        if key is None:
            mistakes.unknown(argument, known)
        elif key.allowed is not None and value not in key.allowed:
            mistakes.add(argument, f"is {value!r}: {key.reason}")
        else:
            report.note(key, argument)
    mistakes.raise_if_any()
    values = {key.path: key.default for key in builder.keys} | dict(builder.defaults) | arguments
    try:
        content = TorchvisionModel(values, builder.family, builder.body, builder.version, builder.classes).sections()
    except (TypeError, ValueError, IndexError) as error:
        raise ConfigError(f"{source}: an argument cannot be translated ({error})") from None
    report.weights = f"{PREFIX}{name}" if values["weights"] is not None else ""
    report.notes.append("a builder says nothing about training: the schedule is that of torchvision's references")
    return validate(content, where=source), report


def _parse_call(text: str, *, source: str) -> tuple[str, dict[str, Any]]:
    """The builder's name and its arguments."""
    dump = _DUMP.match(text)
    if dump:
        return dump["name"], {"weights": dump["weights"].rpartition(".")[2]}
    text = text.strip().removeprefix(PREFIX)
    if re.fullmatch(r"[\w.]+", text):
        return _known(text.rpartition(".")[2], source), {"weights": "DEFAULT"}
    tree = parse(text, source=source, mode="eval").body
    if not isinstance(tree, ast.Call) or tree.args or not isinstance(tree.func, ast.Name | ast.Attribute):
        raise ConfigError(f"{source}: expected a builder called with keyword arguments, such as {_EXAMPLE}")
    name = tree.func.id if isinstance(tree.func, ast.Name) else tree.func.attr
    values = _Arguments(source=source, scope={}, work=Work())
    given = {keyword.arg: values.value(keyword.value) for keyword in tree.keywords if keyword.arg}
    check_unfolded(given, source=source)
    if len(given) != len(tree.keywords):
        raise ConfigError(f"{source}: ** has no meaning here; write the arguments one by one")
    for argument, now in (("pretrained", "weights"), ("pretrained_backbone", "weights_backbone")):
        if argument in given:
            given[now] = "DEFAULT" if given.pop(argument) else None
    return _known(name, source), given


_EXAMPLE = "maskrcnn_resnet50_fpn(num_classes=5, min_size=480)"


class _Arguments(PythonValues):
    """Weights may be written as members of torchvision's enums: the member's name is taken."""

    def _Attribute(self, node: ast.Attribute) -> Any:  # noqa: N802
        if "Weights" in self.written(node) and (node.attr in _WEIGHTS or node.attr.startswith("IMAGENET")):
            return node.attr
        return super()._Attribute(node)


def _known(name: str, source: str) -> str:
    if name not in BUILDERS:
        raise ConfigError(f"{source}: torchvision has no builder {name} of this family{nearest(name, BUILDERS)}")
    return name
