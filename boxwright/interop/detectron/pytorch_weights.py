"""Detectron.pytorch's detection weights <-> ours. The table is the documentation.

Background is class 0 there and last here. Norms are a scale and a bias (`AffineChannel2d`) or group norm; the levels
of its FPN are counted from coarse to fine.
"""

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from boxwright.interop.tables.background import background_first, background_last
from boxwright.interop.tables.rename import Names, Pair, State


def from_detectron_pytorch(state: Mapping[str, Tensor]) -> State:
    """Detectron.pytorch's names -> ours."""
    names = detectron_pytorch_names(
        pyramid=any(".conv_body." in key for key in state), group_norm=any(".gn1." in key for key in state)
    )
    return _objects_beside_background(background_last(names.to_ours(state)))


def to_detectron_pytorch(state: Mapping[str, Tensor]) -> State:
    """Frozen batch norms must be folded to scale and bias before: the source has no running statistics."""
    names = detectron_pytorch_names(
        pyramid=any(key.startswith("neck.") for key in state),
        group_norm="neck.lateral.c5.norm.weight" in state,
    )
    return names.from_ours(_backgrounds_first(background_first(dict(state))))


def is_detectron_pytorch(keys: Iterable[str]) -> bool:
    """Whether the names are Detectron.pytorch's."""
    return any(key.startswith(("Conv_Body.", "RPN.", "Box_Head.", "Box_Outs.")) for key in keys)


def detectron_pytorch_names(*, pyramid: bool, group_norm: bool) -> Names:
    """The table of Detectron.pytorch's names for these weights."""
    body = "Conv_Body.conv_body" if pyramid else "Conv_Body"
    with_norm = _gn_sequence if group_norm else _plain_sequence
    return Names(
        "Detectron.pytorch",
        (
            (f"{body}.res1.conv1.{{*p}}", "backbone.stem.{*p}"),
            (f"{body}.res1.bn1.{{*p}}", "backbone.stem.norm.{*p}"),
            (f"{body}.res1.gn1.{{*p}}", "backbone.stem.norm.{*p}"),
            *_stage(f"{body}.res{{l}}", "backbone.c{l}"),
            *_stage("Box_Head.res5", "box_head.c5"),
            *_stage("Mask_Head.res5", "mask_head.c5"),
            *(_gn_pyramid() if group_norm else _plain_pyramid()),
            *with_norm("Box_Head.convs", "box_head.convs"),
            *with_norm("Mask_Head.conv_fcn", "mask_head.convs"),
            *_plain_sequence("Keypoint_Head.conv_fcn", "keypoint_head.convs"),
            *_rpn("RPN.FPN_RPN" if pyramid else "RPN.RPN"),
            *_OTHERS,
        ),
    )


def _objects_beside_background(state: State) -> State:
    """The RPN with softmax: A logits of background, then A of object -> object and background of each anchor."""
    return _with_two_logits(
        state, lambda value: value.reshape(2, -1, *value.shape[1:]).flip(0).transpose(0, 1).flatten(0, 1)
    )


def _backgrounds_first(state: State) -> State:
    return _with_two_logits(
        state, lambda value: value.reshape(-1, 2, *value.shape[1:]).transpose(0, 1).flip(0).flatten(0, 1)
    )


def _with_two_logits(state: State, change: Callable[[Tensor], Tensor]) -> State:
    """`change` applied to the RPN's logits where each anchor, of four deltas, has two."""
    if "rpn.head.score.bias" not in state or 2 * len(state["rpn.head.score.bias"]) != len(state["rpn.head.delta.bias"]):
        return state
    return state | {name: change(state[name]) for name in ("rpn.head.score.weight", "rpn.head.score.bias")}


def _stage(theirs: str, ours: str) -> tuple[Pair, ...]:
    return (
        (f"{theirs}.{{b}}.conv{{i}}.{{*p}}", f"{ours}.{{b}}.conv{{i}}.{{*p}}"),
        (f"{theirs}.{{b}}.bn{{i}}.{{*p}}", f"{ours}.{{b}}.conv{{i}}.norm.{{*p}}"),
        (f"{theirs}.{{b}}.gn{{i}}.{{*p}}", f"{ours}.{{b}}.conv{{i}}.norm.{{*p}}"),
        (f"{theirs}.{{b}}.downsample.0.{{*p}}", f"{ours}.{{b}}.shortcut.{{*p}}"),
        (f"{theirs}.{{b}}.downsample.1.{{*p}}", f"{ours}.{{b}}.shortcut.norm.{{*p}}"),
    )


def _plain_pyramid() -> tuple[Pair, ...]:
    return (
        ("Conv_Body.conv_top.{*p}", "neck.lateral.c5.{*p}"),
        *(
            (f"Conv_Body.topdown_lateral_modules.{i}.conv_lateral.{{*p}}", f"neck.lateral.c{4 - i}.{{*p}}")
            for i in range(3)
        ),
        *((f"Conv_Body.posthoc_modules.{i}.{{*p}}", f"neck.output.p{5 - i}.{{*p}}") for i in range(4)),
        ("Conv_Body.extra_pyramid_modules.{i}.{*p}", "neck.extra.p{i+6}.{*p}"),
    )


def _gn_pyramid() -> tuple[Pair, ...]:
    """Each convolution and its group norm are entries 0 and 1 of a sequence."""
    return tuple(
        (theirs.replace(".{*p}", f".{position}.{{*p}}"), ours.replace(".{*p}", f"{suffix}.{{*p}}"))
        for theirs, ours in _plain_pyramid()
        if ours is not None
        for position, suffix in ((0, ""), (1, ".norm"))
    )


def _rpn(theirs: str) -> tuple[Pair, ...]:
    return (
        (f"{theirs}_conv.{{*p}}", "rpn.head.convs.0.{*p}"),
        (f"{theirs}_cls_score.{{*p}}", "rpn.head.score.{*p}"),
        (f"{theirs}_bbox_pred.{{*p}}", "rpn.head.delta.{*p}"),
    )


def _plain_sequence(theirs: str, ours: str) -> tuple[Pair, ...]:
    """Convolution, ReLU, convolution, ..."""
    return ((f"{theirs}.{{2i}}.{{*p}}", f"{ours}.{{i}}.{{*p}}"),)


def _gn_sequence(theirs: str, ours: str) -> tuple[Pair, ...]:
    """Convolution, group norm, ReLU, convolution, ..."""
    return (
        (f"{theirs}.{{3i}}.{{*p}}", f"{ours}.{{i}}.{{*p}}"),
        (f"{theirs}.{{3i+1}}.{{*p}}", f"{ours}.{{i}}.norm.{{*p}}"),
    )


_OTHERS: tuple[Pair, ...] = (
    ("Box_Head.fc{i+1}.{*p}", "box_head.fcs.{i}.{*p}"),
    ("Box_Head.fc.{*p}", "box_head.fcs.0.{*p}"),
    ("Box_Outs.cls_score.{*p}", "box_head.score.{*p}"),
    ("Box_Outs.bbox_pred.{*p}", "box_head.delta.{*p}"),
    ("Mask_Head.upconv.{*p}", "mask_head.deconv.{*p}"),
    ("Mask_Head.upconv5.{*p}", "mask_head.deconv.{*p}"),
    ("Mask_Outs.classify.{*p}", "mask_head.logits.{*p}"),
    ("Mask_Outs.upsample.upconv.{*p}", "mask_head.upsample.{*p}"),
    ("Keypoint_Outs.deconv.{*p}", "keypoint_head.deconv.{*p}"),
    ("Keypoint_Outs.classify.{*p}", "keypoint_head.logits.{*p}"),
    ("Keypoint_Outs.upsample.upconv.{*p}", "keypoint_head.upsample.{*p}"),
)
