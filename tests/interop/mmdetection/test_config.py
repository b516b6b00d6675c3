"""mmdetection's Python configs: bases, deletion, references, the two versions, and what is refused."""

import json

import pytest

from boxwright.config import diff
from boxwright.errors import ConfigError
from boxwright.interop.config import read_config, read_config_report

FASTER = "_base_ = './faster-rcnn_r50_fpn_1x_coco.py'\n"
MASK = "_base_ = './mask-rcnn_r50_fpn_1x_coco.py'\n"


def at(config, path):
    value = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def read(tmp_path, text, name="config.py"):
    (tmp_path / name).write_text(text)
    return read_config(tmp_path / name)


# Defaults are those of mmdetection 3.3's `_base_` files.
FACTS = [
    ("", "model.input.channels", "rgb"),
    ("", "model.conventions.box_offset", 0),
    ("", "test.score_threshold", 0.05),
    ("", "train.lr", 0.02),
    ("", "train.batch", 16),
    ("", "data.augment.flip", 0.5),
    ("model = dict(backbone=dict(depth=101))", "model.backbone.depth", 101),
    ("model = dict(backbone=dict(style='caffe'))", "model.backbone.stride_in_1x1", True),
    ("model = dict(backbone=dict(frozen_stages=-1))", "model.backbone.frozen_stages", 0),
    ("model = dict(roi_head=dict(bbox_head=dict(num_classes=5)))", "model.num_classes", 5),
    ("model = dict(test_cfg=dict(rcnn=dict(max_per_img=7)))", "test.max_detections", 7),
    ("model = dict(test_cfg=dict(rcnn=dict(nms=dict(type='soft_nms'))))", "test.nms", "linear"),
    (
        "model = dict(rpn_head=dict(anchor_generator=dict(scales=[4])))",
        "model.anchors.sizes",
        ((16,), (32,), (64,), (128,), (256,)),
    ),
    (
        "model = dict(train_cfg=dict(rcnn=dict(sampler=dict(type='OHEMSampler'))))",
        "model.box_head.sampling.kind",
        "ohem",
    ),
    ("optim_wrapper = dict(optimizer=dict(lr=0.02 / 8))", "train.lr", 0.0025),
    ("optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))", "train.clip", "norm"),
    ("a = 2\nb = a ** 2\nmodel = dict(roi_head=dict(bbox_head=dict(num_classes=b)))", "model.num_classes", 4),
    ("x = dict(num_classes=3)\nmodel = dict(roi_head=dict(bbox_head=dict(**x)))", "model.num_classes", 3),
    ("model = dict(roi_head=dict(bbox_head=dict(num_classes=len([i for i in range(6)]))))", "model.num_classes", 6),
    (
        "root = 'd'\ntrain_dataloader = dict(dataset=dict(ann_file=f'{root}/a.json', data_root=''))",
        "data.train",
        "d/a.json",
    ),
    (
        "model = dict(roi_head=dict(bbox_head=dict(reg_decoded_bbox=True,"
        " loss_bbox=dict(_delete_=True, type='GIoULoss', loss_weight=10.0))))",
        "model.box_head.box_loss.kind",
        "giou",
    ),
    (
        "classes = ('a', 'b')\nmodel = dict(roi_head=dict(bbox_head=dict(num_classes=2)))\n"
        "train_dataloader = dict(dataset=dict(metainfo=dict(classes=classes)))",
        "model.class_names",
        ("a", "b"),
    ),
]


@pytest.mark.parametrize(("text", "path", "value"), FACTS)
def test_a_setting_has_its_meaning(tmp_path, text, path, value):
    found = at(read(tmp_path, f"{FASTER}{text}\n"), path)
    assert found == value


MISTAKES = [
    ("model = dict(bakbone=dict())", "model.bakbone: unknown key, did you mean model.backbone"),
    ("model = dict(backbone=dict(depht=3))", "model.backbone.depht: unknown key, did you mean model.backbone.depth"),
    (
        "model = dict(backbone=dict(_delete_=True, type='HRNet'))",
        "model.backbone: is a HRNet; which is not in the family",
    ),
    ("import os\nmodel = os.environ", r"config\.py: model is environ, which is code"),
    ("model = open('x')", r"config\.py:2: calls open, and a config is only read, never run"),
    ("def f():\n    pass", r"config\.py:2: a function is code"),
    ("class A:\n    pass", r"config\.py:2: a class is code"),
    ("model = (lambda: 1)()", r"config\.py:2"),
    ("for i in range(3):\n    pass", r"config\.py:2"),
    ("model = dict(", r"config\.py:2: not valid Python"),
    ("model = undefined", r"config\.py:2: the name undefined is not defined"),
    ("model = ''.__class__.__mro__", r"config\.py:2"),
    ("model = dict(a=9**9**9)", r"config\.py:2"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_what_is_code_or_unknown_is_an_error_with_its_place(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, f"{FASTER}{text}\n")


def test_nothing_in_a_config_is_run(tmp_path):
    marker = tmp_path / "ran"
    with pytest.raises(ConfigError):
        read(tmp_path, f"{FASTER}__import__('pathlib').Path({str(marker)!r}).touch()\n")
    assert not marker.exists()


def test_bases_on_disk_win_over_known_ones_and_may_be_several(tmp_path):
    (tmp_path / "faster-rcnn_r50_fpn_1x_coco.py").write_text(
        "_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'\nmodel = dict(backbone=dict(depth=101))\n"
    )
    (tmp_path / "plan.py").write_text("rate = 0.5\n")
    bases = "_base_ = ['./faster-rcnn_r50_fpn_1x_coco.py', './plan.py']\nlr = {{_base_.rate}}\n"
    config = read(tmp_path, f"{bases}optim_wrapper = dict(optimizer=dict(lr=lr * 2))\n", "mine.py")
    assert (config.model.backbone.depth, config.train.lr) == (101, 1.0)


def test_a_base_that_is_nowhere_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"somewhere\.py"):
        read(tmp_path, "_base_ = './somewhere.py'\n")


def test_version_2_means_what_version_3_means(tmp_path):
    old = (
        "_base_ = './faster_rcnn_r50_fpn_1x_coco.py'\n"
        "optimizer = dict(type='SGD', lr=0.04, momentum=0.9, weight_decay=0.0001)\n"
        "data = dict(samples_per_gpu=2, workers_per_gpu=1)\n"
        "runner = dict(type='EpochBasedRunner', max_epochs=24)\nlr_config = dict(step=[16, 22])\n"
    )
    new = (
        f"{FASTER}optim_wrapper = dict(optimizer=dict(lr=0.04))\n"
        "train_dataloader = dict(batch_size=2, num_workers=1)\n"
        "train_cfg = dict(max_epochs=24)\n"
        "param_scheduler = [dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),\n"
        "    dict(type='MultiStepLR', begin=0, end=24, by_epoch=True, milestones=[16, 22], gamma=0.1)]\n"
    )
    first, second = read(tmp_path, old, "old.py"), read(tmp_path, new, "new.py")
    assert read_config_report(tmp_path / "old.py")[1].dialect == "mmdetection2"
    assert read_config_report(tmp_path / "new.py")[1].dialect == "mmdetection3"
    assert diff(first, second) == []


def test_both_spellings_of_a_name_are_one_model():
    assert (
        diff(read_config("mmdet/faster_rcnn_r50_fpn_1x_coco"), read_config("mmdet/faster-rcnn_r50_fpn_1x_coco")) == []
    )


def test_a_dump_as_json_is_the_same_config(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"_base_": "./mask-rcnn_r50_fpn_1x_coco.py"}))
    assert diff(read_config(tmp_path / "c.json"), read(tmp_path, MASK)) == []


def test_a_cascade_has_three_stages(tmp_path):
    config = read(tmp_path, "_base_ = './cascade-mask-rcnn_r50_fpn_1x_coco.py'\n")
    stages = config.model.box_head.cascade
    assert [stage.positive_iou for stage in stages] == [0.5, 0.6, 0.7]
    assert config.model.mask_head.per_stage
