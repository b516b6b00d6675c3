"""Caffe2 Detectron's blobs -> ours: detectors and ImageNet ResNets. The table is the documentation.

A blob's name ends in `_w` or `_b`; norms in `_bn_s`, `_bn_b` (a scale and a bias), `_gn_s`, `_gn_b`. Background is
class 0. Momentum blobs and the classifier of ImageNet are dropped.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor

from boxwright.interop.tables.background import background_last
from boxwright.interop.tables.rename import Names, Pair, State

_ENDINGS = (
    ("_w", ".weight"),
    ("_b", ".bias"),
    *(
        (f"_{norm}_{letter}", f".norm.{ours}")
        for norm in ("bn", "gn")
        for letter, ours in (("s", "weight"), ("b", "bias"))
    ),
    *((f"_bn_{letter}", f".norm.{ours}") for letter, ours in (("rm", "running_mean"), ("riv", "running_var"))),
    *((f"_bn_{theirs}", f".norm.{ours}") for theirs, ours in (("gamma", "weight"), ("beta", "bias"))),
    *((f"_bn_{ours}", f".norm.{ours}") for ours in ("running_mean", "running_var")),
)


def from_detectron(blobs: Mapping[str, Tensor]) -> State:
    """Detectron's names -> ours."""
    kept = {key: value for key, value in blobs.items() if not key.endswith("_momentum")}
    has_own_box_layers = any(key.startswith(("fc6_", "head_conv1_")) for key in kept)
    is_detector = any(key.startswith(("cls_score_", "rpn_bbox_pred", "retnet_")) for key in kept)
    c5_in_head = "cls_score_w" in kept and not has_own_box_layers
    names = detectron_names(c5="box_head.c5" if c5_in_head else "backbone.c5")
    return background_last(names.to_ours(kept)) if is_detector else names.to_ours(kept)


def is_detectron(keys: Iterable[str]) -> bool:
    """Whether the names are Detectron's."""
    known = ("conv1_w", "res2_0_branch2a_w", "conv_rpn_w", "conv_rpn_fpn2_w")
    return any(key in known for key in keys)


def detectron_names(*, c5: str) -> Names:
    """The table of Detectron's names for these weights."""
    layers: list[Pair] = [
        ("conv1", "backbone.stem"),
        ("res_conv1", "backbone.stem"),  # the stem's norm is named apart from its convolution
        *_stage("res5", c5),
        *_stage("res{l}", "backbone.c{l}"),
        *_stage("_[mask]_res5", "mask_head.c5"),
        *_pyramid(),
        ("conv_rpn", "rpn.head.convs.0"),
        ("rpn_cls_logits", "rpn.head.score"),
        ("rpn_bbox_pred", "rpn.head.delta"),
        *(
            (f"{theirs}_fpn{{l}}", ours)
            for theirs, ours in (("conv_rpn", "rpn.head.convs.0"), ("rpn_cls_logits", "rpn.head.score"))
        ),
        ("rpn_bbox_pred_fpn{l}", "rpn.head.delta"),
        ("head_conv{i+1}", "box_head.convs.{i}"),
        ("fc{i+6}", "box_head.fcs.{i}"),
        ("cls_score", "box_head.score"),
        ("bbox_pred", "box_head.delta"),
        ("_[mask]_fcn{i+1}", "mask_head.convs.{i}"),
        ("_mask_fcn{i+1}", "mask_head.convs.{i}"),
        ("conv5_mask", "mask_head.deconv"),
        ("mask_fcn_logits", "mask_head.logits"),
        ("conv_fcn{i+1}", "keypoint_head.convs.{i}"),
        ("kps_deconv", "keypoint_head.deconv"),
        ("kps_score_lowres", "keypoint_head.logits"),
        *_retinanet(),
    ]
    spelled = [(theirs + end, ours + ending) for theirs, ours in layers if ours is not None for end, ending in _ENDINGS]
    return Names("Detectron", (*_DROPPED, *spelled))


_DROPPED: tuple[Pair, ...] = (
    *((f"{name}_{end}", None) for name in ("pred", "fc1000", "kps_score", "mask_fcn_logits_up") for end in "wb"),
    ("lr", None),
    ("weight_order", None),
)


def _stage(theirs: str, ours: str) -> tuple[Pair, ...]:
    branches = (("branch1", "shortcut"), ("branch2a", "conv1"), ("branch2b", "conv2"), ("branch2c", "conv3"))
    return tuple((f"{theirs}_{{b}}_{branch}", f"{ours}.{{b}}.{part}") for branch, part in branches)


def _pyramid() -> tuple[Pair, ...]:
    return (
        ("fpn_inner_res{l}_{b}_sum_lateral", "neck.lateral.c{l}"),
        ("fpn_inner_res{l}_{b}_sum", "neck.lateral.c{l}"),
        ("fpn_res{l}_{b}_sum", "neck.output.p{l}"),
        ("fpn_{l}", "neck.extra.p{l}"),
    )


def _retinanet() -> tuple[Pair, ...]:
    """One set of weights for all levels, named after the finest."""
    return (
        ("retnet_cls_conv_n{i}_fpn{l}", "head.class_convs.{i}"),
        ("retnet_bbox_conv_n{i}_fpn{l}", "head.box_convs.{i}"),
        ("retnet_cls_pred_fpn{l}", "head.score"),
        ("retnet_bbox_pred_fpn{l}", "head.delta"),
    )
