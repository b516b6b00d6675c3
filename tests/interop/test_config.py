"""Any config by its content: files that lie about their names, names alone, text alone, and what is none."""

import pytest

from boxwright.config import diff, dump, preset
from boxwright.errors import ConfigError
from boxwright.interop.config import read_config, read_config_report, read_config_text
from tests.interop.detectron_text import FPN, with_keys

DETECTRON2 = """
VERSION: 2
MODEL:
  MASK_ON: true
SOLVER:
  BASE_LR: 0.0025
"""
DETECTRON = with_keys(FPN, {"SOLVER.BASE_LR": 0.0025})
FLAT = "\n".join(
    (
        "MODEL.CONV_BODY = ResNet.ResNet50_conv4_body",
        "MODEL.FASTER_RCNN = True",
        "MODEL.NUM_CLASSES = 81",
        "FAST_RCNN.ROI_BOX_HEAD = ResNet.add_ResNet_roi_conv5_head",
        "SOLVER.BASE_LR = 0.0025",
    )
)
MM3 = "_base_ = './faster-rcnn_r50_fpn_1x_coco.py'\noptim_wrapper = dict(optimizer=dict(lr=0.0025))\n"
MM2 = "_base_ = './faster_rcnn_r50_fpn_1x_coco.py'\noptimizer = dict(lr=0.0025)\n"
MM_JSON = '{"_base_": "./faster-rcnn_r50_fpn_1x_coco.py", "optim_wrapper": {"optimizer": {"lr": 0.0025}}}'
LAZY = (
    "from detectron2.config import LazyCall as L\n"
    "from ..common.models.mask_rcnn_fpn import model\n"
    "from ..common.optim import SGD as optimizer\n"
    "optimizer.lr = 0.0025\n"
)
OURS = "base: mask_rcnn_r50_fpn\ntrain:\n  lr: 0.0025\n"

DIALECTS = {
    "detectron2": (DETECTRON2, "detectron2"),
    "detectron": (DETECTRON, "detectron"),
    "printed": (FLAT, "detectron"),
    "mmdetection 3": (MM3, "mmdetection3"),
    "mmdetection 2": (MM2, "mmdetection2"),
    "mmdetection as JSON": (MM_JSON, "mmdetection3"),
    "lazy": (LAZY, "detectron2_lazy"),
    "ours": (OURS, "boxwright"),
}


@pytest.mark.parametrize("ending", [".txt", ".yaml", ".py"])
@pytest.mark.parametrize(("text", "dialect"), DIALECTS.values(), ids=DIALECTS)
def test_a_file_is_known_by_its_content_whatever_its_name(text, dialect, ending, tmp_path):
    (tmp_path / f"config{ending}").write_text(text)
    config, report = read_config_report(tmp_path / f"config{ending}")
    assert report.dialect == dialect
    assert config.train.lr == 0.0025


@pytest.mark.parametrize(("text", "dialect"), DIALECTS.values(), ids=DIALECTS)
def test_text_alone_is_enough(text, dialect):
    config, report = read_config_text(text, source="here")
    assert (config.train.lr, report.dialect, report.source) == (0.0025, dialect, "here")


def test_a_byte_order_mark_and_windows_lines_change_nothing(tmp_path):
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbf" + DETECTRON2.replace("\n", "\r\n").encode())
    assert read_config(tmp_path / "c.yaml").train.lr == 0.0025


NAMES = {
    "mask_rcnn_r50_fpn": "boxwright",
    "torchvision/maskrcnn_resnet50_fpn_v2": "torchvision",
    "maskrcnn_resnet50_fpn(num_classes=5)": "torchvision",
    "detectron/e2e_mask_rcnn_R-50-FPN_1x": "detectron",
    "detectron2/COCO-Detection/rpn_R_50_FPN_1x": "detectron2",
    "detectron2/new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ": "detectron2_lazy",
    "mmdet/faster_rcnn_r50_fpn_1x_coco": "mmdetection3",
}


@pytest.mark.parametrize(("name", "dialect"), NAMES.items())
def test_a_name_is_enough(name, dialect):
    assert read_config_report(name)[1].dialect == dialect


def test_our_own_dump_is_read_back_with_overrides():
    config = preset("mask_rcnn_r50_fpn")
    assert diff(read_config(dump(config)), config) == []
    assert read_config(dump(config), ["train.lr=0.5"]).train.lr == 0.5


NONE = {
    "just a word\nand another": "config text: ",
    "a: 1\nb: 2\n": r"of no known dialect \(it has a, b\); known are Boxwright, Detectron",
    "mask_rcnn_r50_fpm": "neither a file, nor a preset, .*did you mean mask_rcnn_r50_fpn",
    "detectron2/COCO-Detection/faster_rcnn_R_50_FPM_3x": "faster_rcnn_R_50_FPN_3x",
    "- 1\n- 2\n": "expected settings, found list",
    "a\0b: 1\n": "is not text",
}


@pytest.mark.parametrize(("text", "message"), NONE.items())
def test_what_is_no_config_is_an_error_that_says_so(text, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        read_config(text)


def test_a_checkpoint_given_as_a_config_is_told_apart(tmp_path):
    (tmp_path / "m.pth").write_bytes(b"PK\x03\x04\xff\xfe" + bytes(100))
    with pytest.raises(ConfigError, match="is not text; a checkpoint is given as weights"):
        read_config(tmp_path / "m.pth")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: neither a file"):
        read_config(tmp_path / "nowhere.yaml")


COCO = {
    "detectron2/COCO-Detection/faster_rcnn_R_50_FPN_3x": ("person", "toothbrush"),
    "detectron/e2e_keypoint_rcnn_R-50-FPN_1x": ("person", "person"),
    "mmdet/faster_rcnn_r50_fpn_1x_coco": ("person", "toothbrush"),
    "torchvision/maskrcnn_resnet50_fpn": ("person", "toothbrush"),
    "torchvision/keypointrcnn_resnet50_fpn": ("person", "person"),
}


@pytest.mark.parametrize(("name", "ends"), COCO.items())
def test_a_model_of_coco_has_the_names_of_its_classes(name, ends):
    names = read_config(name).model.class_names
    assert (names[0], names[-1]) == ends


def test_torchvision_has_a_place_for_every_id_of_coco():
    names = read_config("torchvision/maskrcnn_resnet50_fpn").model.class_names
    assert [names[number - 1] for number in (1, 12, 13, 44, 90)] == [
        *("person", "unused 12", "stop sign", "bottle", "toothbrush"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "fasterrcnn_resnet50_fpn()",
        "detectron2/Cityscapes/mask_rcnn_R_50_FPN",
        "detectron2/PascalVOC-Detection/faster_rcnn_R_50_C4",
    ],
)
def test_models_of_other_data_get_no_names_of_coco(name):
    assert "toothbrush" not in read_config(name).model.class_names
