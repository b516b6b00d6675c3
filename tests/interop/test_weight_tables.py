"""Every weight of every recorded model has a name with us, and goes back under its own."""

import pytest
import torch
from torch import nn

from boxwright.errors import WeightsError
from boxwright.interop.classifiers import efficientnet as efficientnet_weights
from boxwright.interop.detectron import pytorch_weights as detectron_pytorch_weights
from boxwright.interop.detectron import weights as detectron_weights
from boxwright.interop.detectron2 import weights as detectron2_weights
from boxwright.interop.mmdetection import weights as mmdetection_weights
from boxwright.interop.torchvision import weights as torchvision_weights
from boxwright.interop.weights import Weights, load_state, to_our_names, with_channels_swapped
from boxwright.models.backbones.mobilenet import MobileNetV3Large
from boxwright.models.backbones.vgg import VGG16
from boxwright.models.upsampling import FixedUpsample
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
    """Small stand-ins with as many rows as the real weights, and values of their own."""
    return {name: stand_in(name, shape, number) for number, (name, shape) in enumerate(shapes)}


def stand_in(name, shape, number):
    if "upsample" in name and len(shape) == 4 and shape[0] == shape[1]:  # a fixed kernel: the same for every class
        return torch.eye(shape[0]).reshape(*shape[:2], 1, 1) * number
    rows = torch.arange(shape[0] if shape else 1) / 4096 + number
    is_constant = name.endswith("upconv.bias")
    rows = torch.full_like(rows, float(number)) if is_constant else rows
    return rows.reshape((*shape[:1], *(1 for _ in shape[1:])))


@pytest.mark.parametrize("recording", recordings(), ids=lambda r: r.file.stem)
def test_every_weight_goes_in_and_comes_back(recording):
    read, write, source = TABLES[recording.program]
    state = numbered(recording.shapes())
    ours = read(state)
    again = write(ours)
    assert again.keys() == state.keys()
    assert to_our_names(state, where="x")[0] == source
    for name, value in state.items():
        assert torch.equal(again[name], value), name


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
    "conv_rpn_fpn2_w": "rpn.head.convs.0.weight",
    "rpn_cls_logits_fpn2_b": "rpn.head.score.bias",
    "rpn_bbox_pred_fpn2_w": "rpn.head.delta.weight",
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
    ("rpn.head.conv.weight", "rpn.head.convs.0.weight"),
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
    assert ours["rpn.head.score.bias"].tolist() == [20, 10, 21, 11, 22, 12]
    again = detectron_pytorch_weights.to_detectron_pytorch(ours)
    assert again["RPN.RPN_cls_score.weight"].flatten().tolist() == [10, 11, 12, 20, 21, 22]


def test_what_nothing_reads_of_the_background_is_kept_beside_the_weights_and_zero_after_a_training():
    theirs = {
        "roi_heads.box_predictor.cls_score.bias": torch.tensor([9.0, 1.0, 2.0]),
        "roi_heads.box_predictor.bbox_pred.bias": torch.arange(12.0) + 1,
        "roi_heads.mask_predictor.mask_fcn_logits.bias": torch.tensor([7.0, 1.0, 2.0]),
    }
    ours = torchvision_weights.from_torchvision(theirs)
    assert ours["box_head.score.bias"].tolist() == [1, 2, 9]
    assert ours["box_head.delta.bias"].tolist() == [5, 6, 7, 8, 9, 10, 11, 12]
    assert ours["mask_head.logits.bias"].tolist() == [1, 2]
    assert ours["background.box_head.delta.bias"].tolist() == [1, 2, 3, 4]
    again = torchvision_weights.to_torchvision(ours)
    assert {name: value.tolist() for name, value in again.items()} == {
        name: value.tolist() for name, value in theirs.items()
    }
    trained = {name: value for name, value in ours.items() if not name.startswith("background.")}
    assert torchvision_weights.to_torchvision(trained)["roi_heads.mask_predictor.mask_fcn_logits.bias"].tolist() == [
        *(0, 1, 2),
    ]


def test_the_class_that_nothing_is_of_torchvisions_retinanet_is_cut_out_of_every_anchor():
    theirs = {
        "head.classification_head.cls_logits.weight": torch.arange(6.0)[:, None],  # 2 anchors of 3 classes
        "head.classification_head.cls_logits.bias": torch.arange(6.0),
        "head.regression_head.bbox_reg.bias": torch.zeros(8),
    }
    ours = torchvision_weights.from_torchvision(theirs)
    assert ours["head.score.bias"].tolist() == [1, 2, 4, 5]
    again = torchvision_weights.to_torchvision(ours)
    assert [name for name, value in theirs.items() if not torch.equal(again[name], value)] == []
    trained = {name: value for name, value in ours.items() if not name.startswith("background.")}
    bias = torchvision_weights.to_torchvision(trained)["head.classification_head.cls_logits.bias"]
    assert bias[[1, 2, 4, 5]].tolist() == [1, 2, 4, 5]
    assert bias[[0, 3]].sigmoid().tolist() == pytest.approx([0.01, 0.01])


def test_a_cascade_of_mmdetection_has_a_mask_head_per_stage():
    keys = [
        (f"roi_head.mask_head.{stage}.{part}.weight", (4,))
        for stage in range(3)
        for part in ("convs.3.conv", "upsample", "conv_logits")
    ]
    ours = mmdetection_weights.from_mmdetection(numbered([("neck.lateral_convs.0.conv.weight", (4,)), *keys]))
    assert "mask_stages.2.convs.3.weight" in ours
    assert "mask_stages.0.deconv.weight" in ours
    assert "mask_stages.1.logits.weight" in ours


def test_the_last_layer_of_a_keypoint_head_is_logits_whatever_its_convolution():
    for read, keys in (
        (detectron2_weights.from_detectron2, ["roi_heads.keypoint_head.score_lowres.weight"]),
        (torchvision_weights.from_torchvision, ["roi_heads.keypoint_predictor.kps_score_lowres.weight"]),
        (detectron_pytorch_weights.from_detectron_pytorch, ["Keypoint_Outs.classify.weight"]),
        (detectron_weights.from_detectron, ["kps_score_lowres_w"]),
    ):
        assert list(read(numbered([(key, (4,)) for key in keys]))) == ["keypoint_head.logits.weight"]


def test_a_fixed_kernel_is_as_large_as_the_classes_and_may_be_absent():
    kernel = FixedUpsample(3, 2)
    theirs = {"Mask_Outs.upsample.upconv.weight": kernel.weight, "Mask_Outs.upsample.upconv.bias": kernel.bias}
    ours = detectron_pytorch_weights.from_detectron_pytorch(theirs)
    expected = FixedUpsample(2, 2).state_dict()
    assert torch.equal(ours["mask_head.upsample.weight"], expected["weight"])
    scores = {"mask_head.logits.bias": torch.zeros(2), "box_head.score.bias": torch.zeros(3)}
    again = detectron_pytorch_weights.to_detectron_pytorch(ours | scores)
    assert torch.equal(again["Mask_Outs.upsample.upconv.weight"], kernel.weight)
    model = nn.ModuleDict({"keypoint_head": nn.ModuleDict({"upsample": FixedUpsample(2, 2)})})
    assert load_state(model, Weights({}, "Detectron")).missing == []


IMAGENET = [
    ("layer1.0.conv1.weight", "layer4.2.bn3.running_var", "backbone.c5.2.conv3.norm.running_var"),
    ("layer1.0.conv1.weight", "layer1.0.gn2.weight", "backbone.c2.0.conv2.norm.weight"),
    ("layer1.0.conv1.weight", "gn1.bias", "backbone.stem.norm.bias"),
    ("backbone.layer1.0.conv1.weight", "backbone.layer2.0.downsample.1.bias", "backbone.c3.0.shortcut.norm.bias"),
    ("backbone.conv1.conv.weight", "backbone.layer4.se.conv2.conv.bias", "backbone.blocks.3.squeeze.expand.bias"),
    ("backbone.conv1.conv.weight", "backbone.layer16.bn.weight", "backbone.head.norm.weight"),
    ("features.4.block.2.fc1.weight", "features.1.block.0.1.bias", "backbone.blocks.0.depthwise.norm.bias"),
    ("features.28.weight", "features.14.bias", "backbone.c3.conv3.bias"),
    ("features.28.weight", "classifier.3.weight", "box_head.fcs.1.weight"),
    ("stem.conv1.weight", "res4.22.conv3.norm.running_mean", "backbone.c4.22.conv3.norm.running_mean"),
]


@pytest.mark.parametrize(("mark", "key", "ours"), IMAGENET)
def test_an_imagenet_network_of_each_source_has_our_names(mark, key, ours):
    assert ours in to_our_names(numbered([(mark, (4,)), (key, (4,))]), where="x")[1]


@pytest.mark.parametrize("key", ["fc.weight", "head.fc.bias"])
def test_a_classifier_is_dropped(key):
    state = numbered([("layer1.0.conv1.weight", (4,)), (key, (4,))])
    assert list(to_our_names(state, where="x")[1]) == ["backbone.c2.0.conv1.weight"]


def test_every_weight_of_our_mobilenet_and_vgg_is_in_torchvisions_classifiers():
    """Names as torchvision 0.28 has them: entry 0 the stem, 1 to 15 the blocks, 16 the last convolution."""
    theirs = {f"features.{i}.{j}.weight": torch.zeros(1) for i in (0, 16) for j in (0, 1)}
    theirs["features.4.block.2.fc1.weight"] = torch.zeros(1)
    ours = to_our_names(theirs, where="x")[1]
    own = {f"backbone.{name}" for name in MobileNetV3Large(norm=nn.BatchNorm2d).state_dict()}
    assert ours.keys() <= own
    convs = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    vgg = to_our_names({f"features.{i}.{p}": torch.zeros(1) for i in convs for p in ("weight", "bias")}, where="x")[1]
    assert vgg.keys() == {f"backbone.{name}" for name in VGG16().state_dict()}


def test_a_c4_model_takes_the_last_stage_of_an_imagenet_network_into_its_heads():
    part = nn.ModuleDict({"c5": nn.Linear(2, 2, bias=False)})
    model = nn.ModuleDict({"box_head": part})
    report = load_state(model, Weights({"backbone.c5.weight": torch.full((2, 2), 3.0)}, "ImageNet"))
    assert report.loaded == ["box_head.c5.weight"]
    assert part["c5"].weight.tolist() == [[3, 3], [3, 3]]


def test_the_first_convolution_can_be_turned_from_bgr_to_rgb():
    weights = Weights({"backbone.stem.weight": torch.arange(6.0).reshape(2, 3, 1, 1), "other": torch.ones(1)}, "x")
    swapped = with_channels_swapped(weights)
    assert swapped.state["backbone.stem.weight"].flatten().tolist() == [2, 1, 0, 5, 4, 3]
    assert torch.equal(swapped.state["other"], torch.ones(1))
    with pytest.raises(WeightsError, match="no first convolution"):
        with_channels_swapped(Weights({}, "x"))


def test_a_retinanet_of_detectron2_may_have_norms_in_its_head():
    plain = numbered([(f"head.cls_subnet.{i}.weight", (4,)) for i in (0, 2, 4, 6)])
    assert list(detectron2_weights.from_detectron2(plain)) == [f"head.class_convs.{i}.weight" for i in range(4)]
    normed = numbered([(f"head.bbox_subnet.{i}.weight", (4,)) for i in (0, 1, 3, 4)])
    normed |= numbered([("head.cls_subnet.1.weight", (4,)), ("head.cls_subnet.0.weight", (4,))])
    ours = detectron2_weights.from_detectron2(normed)
    assert {"head.box_convs.1.norm.weight", "head.class_convs.0.norm.weight"} <= ours.keys()
    assert detectron2_weights.to_detectron2(ours).keys() == normed.keys()


def test_a_part_that_another_program_lacks_is_named():
    message = r"^writing for torchvision: it has no place for 1 of 1 weights, first: 'neck\.down\.p3\.weight'"
    with pytest.raises(WeightsError, match=message):
        torchvision_weights.to_torchvision({"neck.down.p3.weight": torch.zeros(4)})
