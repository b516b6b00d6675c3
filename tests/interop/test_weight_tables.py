"""Every weight of every recorded model has a name with us, and goes back under its own."""

import pytest
import torch

from boxwright.errors import WeightsError
from boxwright.interop import (
    detectron2_weights,
    detectron_pytorch_weights,
    detectron_weights,
    efficientnet_weights,
    mmdetection_weights,
    torchvision_weights,
)
from boxwright.interop.weights import to_our_names
from tests.golden.recordings import recordings

TABLES = {
    "detectron2": (detectron2_weights.from_detectron2, detectron2_weights.to_detectron2, "Detectron2"),
    "torchvision": (torchvision_weights.from_torchvision, torchvision_weights.to_torchvision, "torchvision"),
    "mmdet": (mmdetection_weights.from_mmdetection, mmdetection_weights.to_mmdetection, "mmdetection"),
    "detectron_pytorch": (
        detectron_pytorch_weights.from_detectron_pytorch,
        detectron_pytorch_weights.to_detectron_pytorch,
        "Detectron.pytorch",
    ),
}


def numbered(shapes):
    """Small stand-ins with as many rows as the real weights and a value of their own."""
    return {
        name: torch.full((*shape[:1], *(1 for _ in shape[1:])), float(number))
        for number, (name, shape) in enumerate(shapes)
    }


@pytest.mark.parametrize("recording", recordings(), ids=lambda r: r.file.stem)
def test_every_weight_goes_in_and_comes_back(recording):
    read, write, source = TABLES[recording.program]
    state = numbered(recording.shapes())
    ours = read(state)
    again = write(ours)
    assert again.keys() == state.keys()
    assert to_our_names(state, where="x")[0] == source
    for name, value in state.items():
        assert again[name].shape == value.shape
        # what belongs to background where nothing reads it comes back as zeros
        assert torch.equal(again[name], value) or set(again[name].unique().tolist()) == {0.0, value.flatten()[0].item()}


@pytest.mark.parametrize("recording", recordings(), ids=lambda r: r.file.stem)
def test_a_model_wrapped_for_several_gpus_has_the_same_names(recording):
    state = {f"module.{name}": value for name, value in numbered(recording.shapes()).items()}
    assert to_our_names(state, where="x")[1].keys() == TABLES[recording.program][0](numbered(recording.shapes())).keys()


def test_an_unknown_weight_names_the_file():
    state = numbered([("backbone.bottom_up.stem.conv1.weight", (4,)), ("roi_heads.surprise.weight", (4,))])
    with pytest.raises(
        WeightsError, match=r"m\.pth: Detectron2: 1 of 2 weights are unknown, first: 'roi_heads\.surprise"
    ):
        to_our_names(state, where="m.pth")


def test_a_stranger_is_no_checkpoint():
    with pytest.raises(WeightsError, match=r"m\.pth: not a checkpoint of a known source; its first weights are a, b"):
        to_our_names(numbered([("a", ()), ("b", ())]), where="m.pth")


DETECTRON_BLOBS = {
    "conv1_w": "backbone.stem.weight",
    "res_conv1_bn_s": "backbone.stem.norm.weight",
    "res_conv1_bn_b": "backbone.stem.norm.bias",
    "res4_22_branch2b_w": "backbone.c4.22.conv2.weight",
    "res4_22_branch2b_bn_b": "backbone.c4.22.conv2.norm.bias",
    "res2_0_branch1_w": "backbone.c2.0.shortcut.weight",
    "res5_2_branch2c_gn_s": "backbone.c5.2.conv3.norm.weight",
    "fpn_inner_res5_2_sum_w": "neck.lateral.c5.weight",
    "fpn_inner_res4_22_sum_lateral_b": "neck.lateral.c4.bias",
    "fpn_inner_res3_3_sum_lateral_gn_s": "neck.lateral.c3.norm.weight",
    "fpn_res2_2_sum_w": "neck.output.p2.weight",
    "fpn_6_w": "neck.extra.p6.weight",
    "conv_rpn_fpn2_w": "rpn.convs.0.weight",
    "rpn_cls_logits_fpn2_b": "rpn.score.bias",
    "rpn_bbox_pred_fpn2_w": "rpn.delta.weight",
    "head_conv1_w": "box_head.convs.0.weight",
    "head_conv4_gn_b": "box_head.convs.3.norm.bias",
    "fc6_w": "box_head.fcs.0.weight",
    "cls_score_w": "box_head.score.weight",
    "bbox_pred_b": "box_head.delta.bias",
    "_[mask]_fcn1_w": "mask_head.convs.0.weight",
    "_[mask]_fcn4_gn_s": "mask_head.convs.3.norm.weight",
    "conv5_mask_w": "mask_head.deconv.weight",
    "mask_fcn_logits_b": "mask_head.logits.bias",
    "conv_fcn8_w": "keypoint_head.convs.7.weight",
    "kps_score_lowres_w": "keypoint_head.logits.weight",
    "retnet_cls_conv_n0_fpn3_w": "head.class_convs.0.weight",
    "retnet_bbox_pred_fpn3_b": "head.delta.bias",
}


@pytest.mark.parametrize(("blob", "ours"), DETECTRON_BLOBS.items())
def test_a_blob_of_detectron_has_a_name(blob, ours):
    context = numbered([("fc6_w", (4, 1)), ("rpn_bbox_pred_fpn2_w", (4, 1)), (blob, (8, 1))])
    assert ours in detectron_weights.from_detectron(context)


def test_a_c4_model_of_detectron_keeps_res5_in_its_head():
    blobs = numbered([("res5_0_branch1_w", (4, 1)), ("cls_score_w", (4, 1)), ("res5_0_branch1_w_momentum", (4, 1))])
    assert list(detectron_weights.from_detectron(blobs)) == ["box_head.c5.0.shortcut.weight", "box_head.score.weight"]


def test_an_imagenet_pickle_of_detectron_loses_its_classifier():
    blobs = numbered([("conv1_w", (4, 1)), ("res5_0_branch1_w", (4, 1)), ("pred_w", (4, 1)), ("fc1000_b", (4,))])
    assert list(detectron_weights.from_detectron(blobs)) == ["backbone.stem.weight", "backbone.c5.0.shortcut.weight"]


EFFICIENTNETS = [
    ("_conv_stem.weight", "_blocks.7._project_conv.weight", "backbone.blocks.7.project.weight"),
    ("_conv_stem.weight", "_blocks.7._bn2.running_var", "backbone.blocks.7.project.norm.running_var"),
    ("conv_stem.weight", "blocks.0.0.se.conv_reduce.bias", "backbone.blocks.0.squeeze.reduce.bias"),
    ("conv_stem.weight", "blocks.0.0.conv_pw.weight", "backbone.blocks.0.project.weight"),
    ("features.1.0.block.0.0.weight", "features.0.1.running_mean", "backbone.stem.norm.running_mean"),
    ("features.1.0.block.0.0.weight", "features.1.0.block.2.1.bias", "backbone.blocks.0.project.norm.bias"),
]


@pytest.mark.parametrize(("mark", "key", "ours"), EFFICIENTNETS)
def test_an_efficientnet_of_each_lineage_has_our_names(mark, key, ours):
    state = numbered([(mark, (4,)), (key, (4,))])
    assert efficientnet_weights.is_efficientnet(state)
    assert ours in efficientnet_weights.from_efficientnet(state)


OLD_TORCHVISION = [
    ("backbone.fpn.inner_blocks.3.weight", "neck.lateral.c5.weight"),
    ("rpn.head.conv.weight", "rpn.convs.0.weight"),
    ("roi_heads.mask_head.mask_fcn4.bias", "mask_head.convs.3.bias"),
    ("roi_heads.keypoint_head.14.weight", "keypoint_head.convs.7.weight"),
    ("head.regression_head.conv.6.bias", "head.box_convs.3.bias"),
]


@pytest.mark.parametrize(("key", "ours"), OLD_TORCHVISION)
def test_older_spellings_of_torchvision_are_read(key, ours):
    laterals = [(f"backbone.fpn.inner_blocks.{i}.bias", (4,)) for i in range(4)]
    assert ours in torchvision_weights.from_torchvision(numbered([*laterals, (key, (4,))]))


def test_an_rpn_with_softmax_has_object_and_background_side_by_side():
    theirs = {
        "RPN.RPN_cls_score.weight": torch.tensor(
            [[10.0], [11.0], [12.0], [20.0], [21.0], [22.0]]
        ),  # background, object
        "RPN.RPN_cls_score.bias": torch.tensor([10.0, 11.0, 12.0, 20.0, 21.0, 22.0]),
        "RPN.RPN_bbox_pred.bias": torch.zeros(12),
    }
    ours = detectron_pytorch_weights.from_detectron_pytorch(theirs)
    assert ours["rpn.score.bias"].tolist() == [20, 10, 21, 11, 22, 12]
    again = detectron_pytorch_weights.to_detectron_pytorch(ours)
    assert again["RPN.RPN_cls_score.weight"].flatten().tolist() == [10, 11, 12, 20, 21, 22]
