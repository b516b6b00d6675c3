"""Detectron2's detection weights <-> ours. The table is the documentation.

Both call a convolution and its norm `conv1` and `conv1.norm`, have background last and four deltas a class, so the
numbers stay as they are.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor

from boxwright.interop.tables.background import without_unread
from boxwright.interop.tables.rename import Names, Pair, State


def from_detectron2(state: Mapping[str, Tensor]) -> State:
    """Detectron2's names -> ours."""
    has_norm = "head.cls_subnet.1.weight" in state  # where a ReLU stands otherwise
    pyramid = any(".bottom_up." in key for key in state)
    return detectron2_names(pyramid=pyramid, head_norm=has_norm).to_ours(state)


def to_detectron2(state: Mapping[str, Tensor]) -> State:
    """Our names -> Detectron2's."""
    has_norm = "head.class_convs.0.norm.weight" in state
    pyramid = any(key.startswith("neck.") for key in state)
    return detectron2_names(pyramid=pyramid, head_norm=has_norm).from_ours(without_unread(state))


def is_detectron2(keys: Iterable[str]) -> bool:
    """Whether the names are Detectron2's."""
    return any(
        key.startswith(("proposal_generator.", "roi_heads.box_predictor.", "backbone.bottom_up.")) for key in keys
    )


def detectron2_names(*, pyramid: bool, head_norm: bool = False) -> Names:
    """`head_norm`: RetinaNet's head has a norm after each convolution."""
    body = "backbone.bottom_up" if pyramid else "backbone"
    heads = (*_resnet("roi_heads", "box_head"), *_subnet("cls", "class", head_norm), *_subnet("bbox", "box", head_norm))
    return Names("Detectron2", (*_resnet(body, "backbone"), *heads, *_OTHERS))


def _subnet(theirs: str, ours: str, has_norm: bool) -> tuple[Pair, ...]:
    """Convolution, ReLU, convolution, ...; or convolution, norm, ReLU, convolution, ..."""
    if not has_norm:
        return ((f"head.{theirs}_subnet.{{2i}}.{{*p}}", f"head.{ours}_convs.{{i}}.{{*p}}"),)
    return (
        (f"head.{theirs}_subnet.{{3i}}.{{*p}}", f"head.{ours}_convs.{{i}}.{{*p}}"),
        (f"head.{theirs}_subnet.{{3i+1}}.{{*p}}", f"head.{ours}_convs.{{i}}.norm.{{*p}}"),
    )


def _resnet(theirs: str, ours: str) -> tuple[Pair, ...]:
    return (
        *_conv(f"{theirs}.stem.conv1", f"{ours}.stem"),
        *_conv(f"{theirs}.res{{l}}.{{b}}.conv{{i}}", f"{ours}.c{{l}}.{{b}}.conv{{i}}"),
        *_conv(f"{theirs}.res{{l}}.{{b}}.shortcut", f"{ours}.c{{l}}.{{b}}.shortcut"),
        (f"{theirs}.res{{l}}.{{b}}.conv2_offset.{{*p}}", f"{ours}.c{{l}}.{{b}}.conv2.offset.{{*p}}"),
    )


def _conv(theirs: str, ours: str) -> tuple[Pair, ...]:
    """A convolution or linear layer, with a norm or without."""
    return ((f"{theirs}.{{*p}}", f"{ours}.{{*p}}"), (f"{theirs}.norm.{{*p}}", f"{ours}.norm.{{*p}}"))


def _box(theirs: str, ours: str, stage: str) -> tuple[Pair, ...]:
    return (
        *_conv(f"roi_heads.box_head{stage}.conv{{i+1}}", f"{ours}.convs.{{i}}"),
        (f"roi_heads.box_head{stage}.fc{{i+1}}.{{*p}}", f"{ours}.fcs.{{i}}.{{*p}}"),
        (f"roi_heads.box_predictor{stage}.cls_score.{{*p}}", f"{ours}.score.{{*p}}"),
        (f"roi_heads.box_predictor{stage}.bbox_pred.{{*p}}", f"{ours}.delta.{{*p}}"),
    )


_OTHERS: tuple[Pair, ...] = (
    *_conv("backbone.fpn_lateral{l}", "neck.lateral.c{l}"),
    *_conv("backbone.fpn_output{l}", "neck.output.p{l}"),
    ("backbone.top_block.p{l}.{*p}", "neck.extra.p{l}.{*p}"),
    ("proposal_generator.rpn_head.conv.{*p}", "rpn.head.convs.0.{*p}"),
    ("proposal_generator.rpn_head.conv.conv{i}.{*p}", "rpn.head.convs.{i}.{*p}"),
    ("proposal_generator.rpn_head.objectness_logits.{*p}", "rpn.head.score.{*p}"),
    ("proposal_generator.rpn_head.anchor_deltas.{*p}", "rpn.head.delta.{*p}"),
    *_box("", "box_head", ""),
    *_box("", "box_stages.{s}", ".{s}"),
    *_conv("roi_heads.mask_head.mask_fcn{i+1}", "mask_head.convs.{i}"),
    ("roi_heads.mask_head.deconv.{*p}", "mask_head.deconv.{*p}"),
    ("roi_heads.mask_head.predictor.{*p}", "mask_head.logits.{*p}"),
    *_conv("roi_heads.keypoint_head.conv_fcn{i+1}", "keypoint_head.convs.{i}"),
    ("roi_heads.keypoint_head.score_lowres.{*p}", "keypoint_head.logits.{*p}"),
    ("head.cls_score.{*p}", "head.score.{*p}"),
    ("head.bbox_pred.{*p}", "head.delta.{*p}"),
    ("backbone.stem.fc.{*p}", None),  # of a classifier, named so by the script that converts torchvision's
    ("pixel_mean", None),
    ("pixel_std", None),
    ("proposal_generator.anchor_generator.cell_anchors.{i}", None),
    ("anchor_generator.cell_anchors.{i}", None),
)
