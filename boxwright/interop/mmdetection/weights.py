"""mmdetection's detection weights (2.x and 3.x) <-> ours. The table is the documentation.

Background is last in both. Levels are counted from the first that the neck uses; box targets are divided by standard
deviations of 0.1 and 0.2, which are our weights of 10 and 5 and leave the weights as they are.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor

from boxwright.interop.tables.background import without_unread
from boxwright.interop.tables.rename import Names, Pair, State, count


def from_mmdetection(state: Mapping[str, Tensor]) -> State:
    """mmdetection's names -> ours."""
    levels = max(count(state, "neck.lateral_convs.{i}.conv.{*p}"), count(state, "neck.lateral_convs.{i}.{*p}"))
    return mmdetection_names(levels=levels, retinanet=_is_retinanet(state), norm=_resnet_norm(state)).to_ours(state)


def to_mmdetection(state: Mapping[str, Tensor]) -> State:
    """Our names -> mmdetection's."""
    levels = count(state, "neck.lateral.c{i}.{*p}")
    group_norm = "backbone.stem.norm.running_mean" not in state
    names = mmdetection_names(levels=levels, retinanet="head.score.weight" in state, norm="gn" if group_norm else "bn")
    return names.from_ours(without_unread(state))


def is_mmdetection(keys: Iterable[str]) -> bool:
    """Whether the names are mmdetection's."""
    return any(key.startswith(("rpn_head.", "roi_head.", "bbox_head.", "neck.lateral_convs.")) for key in keys)


def mmdetection_names(*, levels: int, retinanet: bool, norm: str) -> Names:
    """`levels` laterals end at c5; `norm` is what the source calls the backbone's norms, bn or gn."""
    heads = _RETINANET if retinanet else _TWO_STAGE
    return Names(
        "mmdetection",
        (
            ("backbone.conv1.{*p}", "backbone.stem.{*p}"),
            (f"backbone.{norm}1.{{*p}}", "backbone.stem.norm.{*p}"),
            *_stage("backbone.layer{l}", "backbone.c{l+1}", norm),
            *_stage("roi_head.shared_head.layer4", "box_head.c5", norm),
            *_neck(levels),
            *heads,
            ("data_preprocessor.{*c}", None),
        ),
    )


def _stage(theirs: str, ours: str, norm: str) -> tuple[Pair, ...]:
    return (
        (f"{theirs}.{{b}}.conv{{i}}.{{*p}}", f"{ours}.{{b}}.conv{{i}}.{{*p}}"),
        (f"{theirs}.{{b}}.conv{{i}}.conv_offset.{{*p}}", f"{ours}.{{b}}.conv{{i}}.offset.{{*p}}"),
        (f"{theirs}.{{b}}.{norm}{{i}}.{{*p}}", f"{ours}.{{b}}.conv{{i}}.norm.{{*p}}"),
        (f"{theirs}.{{b}}.downsample.0.{{*p}}", f"{ours}.{{b}}.shortcut.{{*p}}"),
        (f"{theirs}.{{b}}.downsample.1.{{*p}}", f"{ours}.{{b}}.shortcut.norm.{{*p}}"),
    )


def _conv_module(theirs: str, ours: str) -> tuple[Pair, ...]:
    return (
        (f"{theirs}.conv.{{*p}}", f"{ours}.{{*p}}"),
        (f"{theirs}.bn.{{*p}}", f"{ours}.norm.{{*p}}"),
        (f"{theirs}.gn.{{*p}}", f"{ours}.norm.{{*p}}"),
    )


def _neck(levels: int) -> tuple[Pair, ...]:
    first = 6 - levels
    pairs: list[Pair] = []
    for i in range(levels):
        pairs += _conv_module(f"neck.lateral_convs.{i}", f"neck.lateral.c{first + i}")
        pairs += _conv_module(f"neck.fpn_convs.{i}", f"neck.output.p{first + i}")
        pairs += _conv_module(f"neck.downsample_convs.{i}", f"neck.down.p{first + i + 1}")
        pairs += _conv_module(f"neck.pafpn_convs.{i}", f"neck.path.p{first + i + 1}")
    for i in range(2):
        pairs += _conv_module(f"neck.fpn_convs.{levels + i}", f"neck.extra.p{6 + i}")
    return tuple(pairs)


def _box(theirs: str, ours: str) -> tuple[Pair, ...]:
    return (
        *_conv_module(f"{theirs}.shared_convs.{{i}}", f"{ours}.convs.{{i}}"),
        (f"{theirs}.shared_fcs.{{i}}.{{*p}}", f"{ours}.fcs.{{i}}.{{*p}}"),
        (f"{theirs}.fc_cls.{{*p}}", f"{ours}.score.{{*p}}"),
        (f"{theirs}.fc_reg.{{*p}}", f"{ours}.delta.{{*p}}"),
    )


def _mask(theirs: str, ours: str) -> tuple[Pair, ...]:
    return (
        *_conv_module(f"{theirs}.convs.{{i}}", f"{ours}.convs.{{i}}"),
        (f"{theirs}.upsample.{{*p}}", f"{ours}.deconv.{{*p}}"),
        (f"{theirs}.conv_logits.{{*p}}", f"{ours}.logits.{{*p}}"),
    )


_TWO_STAGE: tuple[Pair, ...] = (
    ("rpn_head.rpn_conv.{*p}", "rpn.head.convs.0.{*p}"),
    ("rpn_head.rpn_conv.{i}.conv.{*p}", "rpn.head.convs.{i}.{*p}"),
    ("rpn_head.rpn_cls.{*p}", "rpn.head.score.{*p}"),
    ("rpn_head.rpn_reg.{*p}", "rpn.head.delta.{*p}"),
    *_box("roi_head.bbox_head", "box_head"),
    *_box("roi_head.bbox_head.{s}", "box_stages.{s}"),
    *_mask("roi_head.mask_head", "mask_head"),
    *_mask("roi_head.mask_head.{s}", "mask_stages.{s}"),
)
_RETINANET: tuple[Pair, ...] = (
    *_conv_module("bbox_head.cls_convs.{i}", "head.class_convs.{i}"),
    *_conv_module("bbox_head.reg_convs.{i}", "head.box_convs.{i}"),
    ("bbox_head.retina_cls.{*p}", "head.score.{*p}"),
    ("bbox_head.retina_reg.{*p}", "head.delta.{*p}"),
)


def _is_retinanet(keys: Iterable[str]) -> bool:
    return any(key.startswith("bbox_head.retina_") for key in keys)


def _resnet_norm(keys: Iterable[str]) -> str:
    return "gn" if any(key.startswith("backbone.gn1.") for key in keys) else "bn"
