"""torchvision's detection weights <-> ours. The table is the documentation.

Background is class 0 there and last here; RetinaNet has a class 0 too, which is never anything. Older files miss an
inner index that newer ones have, so both spellings are read; the newer one is written.
"""

import math
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from boxwright.interop.tables.background import DELTAS, UNREAD, background_first, background_last
from boxwright.interop.tables.rename import Names, Pair, State, count
from boxwright.interop.torchvision.backbones import mobilenet_pairs, resnet_pairs

_RETINANET_SCORES = ("head.score.weight", "head.score.bias")
_PRIOR = -math.log((1 - 0.01) / 0.01)


def from_torchvision(state: Mapping[str, Tensor]) -> State:
    """torchvision's names -> ours."""
    levels = max(
        count(state, "backbone.fpn.inner_blocks.{i}.0.{*p}"), count(state, "backbone.fpn.inner_blocks.{i}.{*p}")
    )
    names = _names(state, levels=levels, fc_index=_fc_index(state))
    return _without_class_0(background_last(names.to_ours(_without_old_spelling(state))))


def to_torchvision(state: Mapping[str, Tensor]) -> State:
    """Our names -> torchvision's."""
    convs = count(state, "box_head.convs.{i}.{*p}")
    theirs = _names(state, levels=count(state, "neck.lateral.c{i}.{*p}"), fc_index=convs + 1 if convs else None)
    return theirs.from_ours(background_first(_with_class_0(state)))


def _without_class_0(state: State) -> State:
    """RetinaNet's scores, (anchors * classes, ...) with the classes innermost, without the class that nothing is."""
    if "head.delta.bias" not in state:
        return state
    changed, num_anchors = dict(state), len(state["head.delta.bias"]) // DELTAS
    for name in _RETINANET_SCORES:
        by_anchor = state[name].reshape(num_anchors, -1, *state[name].shape[1:])
        changed[name] = by_anchor[:, 1:].flatten(0, 1)
        changed[UNREAD + name] = by_anchor[:, 0]
    return changed


def _with_class_0(state: Mapping[str, Tensor]) -> State:
    """Where its numbers are not known, the prior that torchvision starts every class from, far below any threshold."""
    if "head.delta.bias" not in state:
        return dict(state)
    changed, num_anchors = dict(state), len(state["head.delta.bias"]) // DELTAS
    for name, start in zip(_RETINANET_SCORES, (0.0, _PRIOR), strict=True):
        by_anchor = state[name].reshape(num_anchors, -1, *state[name].shape[1:])
        unread = state.get(UNREAD + name, torch.full_like(by_anchor[:, 0], start))
        changed[name] = torch.cat((unread[:, None], by_anchor), dim=1).flatten(0, 1)
    return changed


def is_torchvision(keys: Iterable[str]) -> bool:
    """Whether the names are torchvision's."""
    return any(key.startswith(("backbone.body.", "rpn.head.", "head.classification_head.")) for key in keys)


def _names(keys: Iterable[str], *, levels: int, fc_index: int | None) -> Names:
    mobilenet = any(key.startswith(("backbone.body.0.", "backbone.blocks.")) for key in keys)
    body = mobilenet_pairs("backbone.body", "backbone") if mobilenet else resnet_pairs("backbone.body", "backbone")
    box = _plain_box() if fc_index is None else _conv_box(fc_index)
    first = (7 if mobilenet else 6) - levels  # the pyramid ends at c5, on MobileNet at the 1x1 convolution after it
    return Names("torchvision", (*body, *_pyramid(first), *box, *_OTHERS))


def torchvision_names() -> Names:
    """Of a ResNet with four pyramid levels and the box head of two linear layers."""
    return _names((), levels=4, fc_index=None)


def _sequence(theirs: str, ours: str) -> tuple[Pair, ...]:
    """torchvision's convolution blocks: the convolution is entry 0, a norm entry 1."""
    return ((f"{theirs}.0.{{*p}}", f"{ours}.{{*p}}"), (f"{theirs}.1.{{*p}}", f"{ours}.norm.{{*p}}"))


def _pyramid(first: int) -> tuple[Pair, ...]:
    return (
        *_sequence("backbone.fpn.inner_blocks.{i}", f"neck.lateral.c{{i+{first}}}"),
        *_sequence("backbone.fpn.layer_blocks.{i}", f"neck.output.p{{i+{first}}}"),
        ("backbone.fpn.extra_blocks.p{i}.{*p}", "neck.extra.p{i}.{*p}"),
    )


def _plain_box() -> tuple[Pair, ...]:
    return (("roi_heads.box_head.fc{i+6}.{*p}", "box_head.fcs.{i}.{*p}"),)


def _conv_box(fc_index: int) -> tuple[Pair, ...]:
    """Convolution blocks, a flattening, then linear layers with a ReLU after each."""
    return (
        *_sequence("roi_heads.box_head.{i}", "box_head.convs.{i}"),
        (f"roi_heads.box_head.{{2i+{fc_index}}}.{{*p}}", "box_head.fcs.{i}.{*p}"),
    )


_OTHERS: tuple[Pair, ...] = (
    *_sequence("rpn.head.conv.{i}", "rpn.head.convs.{i}"),
    ("rpn.head.cls_logits.{*p}", "rpn.head.score.{*p}"),
    ("rpn.head.bbox_pred.{*p}", "rpn.head.delta.{*p}"),
    ("roi_heads.box_predictor.cls_score.{*p}", "box_head.score.{*p}"),
    ("roi_heads.box_predictor.bbox_pred.{*p}", "box_head.delta.{*p}"),
    *_sequence("roi_heads.mask_head.{i}", "mask_head.convs.{i}"),
    ("roi_heads.mask_predictor.conv5_mask.{*p}", "mask_head.deconv.{*p}"),
    ("roi_heads.mask_predictor.mask_fcn_logits.{*p}", "mask_head.logits.{*p}"),
    ("roi_heads.keypoint_head.{2i}.{*p}", "keypoint_head.convs.{i}.{*p}"),
    ("roi_heads.keypoint_predictor.kps_score_lowres.{*p}", "keypoint_head.logits.{*p}"),
    *_sequence("head.classification_head.conv.{i}", "head.class_convs.{i}"),
    ("head.classification_head.cls_logits.{*p}", "head.score.{*p}"),
    *_sequence("head.regression_head.conv.{i}", "head.box_convs.{i}"),
    ("head.regression_head.bbox_reg.{*p}", "head.delta.{*p}"),
)

_OLD_SPELLINGS = (
    (r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)", r"\1.0.\2"),
    (r"rpn\.head\.conv\.(weight|bias)", r"rpn.head.conv.0.0.\1"),
    (r"roi_heads\.mask_head\.mask_fcn(\d+)\.(weight|bias)", None),
    (r"(head\.(?:classification|regression)_head\.conv)\.(\d+)\.(weight|bias)", None),
)


def _without_old_spelling(state: Mapping[str, Tensor]) -> State:
    return {_new_spelling(key): value for key, value in state.items()}


def _new_spelling(key: str) -> str:
    for pattern, replacement in _OLD_SPELLINGS:
        if match := re.fullmatch(pattern, key):
            if replacement is not None:
                return match.expand(replacement)
            if key.startswith("roi_heads"):
                return f"roi_heads.mask_head.{int(match[1]) - 1}.0.{match[2]}"
            return f"{match[1]}.{int(match[2]) // 2}.0.{match[3]}"  # every second entry was a ReLU
    return key


def _fc_index(keys: Iterable[str]) -> int | None:
    """Where the linear layers of a box head with convolutions start; None for the head of linear layers alone."""
    convs = count(keys, "roi_heads.box_head.{i}.0.{*p}")
    return convs + 1 if convs else None
