"""Detectron2's YAML and LazyConfig files: what its own code would build from them, and what cannot be honoured."""

import pytest

from boxwright.errors import ConfigError
from boxwright.interop.config import read_config, read_config_report


def at(config, path):
    value = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def read(tmp_path, text, name="config.yaml"):
    (tmp_path / name).write_text(text)
    return read_config(tmp_path / name)


# A setting of Detectron2 -> ours. Defaults are those of detectron2/config/defaults.py.
FACTS = [
    ("VERSION: 2", "test.score_threshold", 0.05),
    ("VERSION: 2", "test.max_detections", 100),
    ("VERSION: 2", "model.input.channels", "bgr"),
    ("VERSION: 2", "model.neck.kind", "none"),
    ("VERSION: 2", "train.lr", 0.001),
    ("MODEL: {RESNETS: {DEPTH: 101}}", "model.backbone.depth", 101),
    ("MODEL: {RESNETS: {STRIDE_IN_1X1: False}}", "model.backbone.stride_in_1x1", False),
    ("MODEL: {BACKBONE: {FREEZE_AT: 0}}", "model.backbone.frozen_stages", 0),
    ("MODEL: {RPN: {NMS_THRESH: 0.6}}", "model.proposals.nms_iou", 0.6),
    ("MODEL: {RPN: {IOU_THRESHOLDS: [0.2, 0.8]}}", "model.proposals.matching.negative_iou", 0.2),
    ("MODEL: {ROI_HEADS: {NUM_CLASSES: 3}}", "model.num_classes", 3),
    ("MODEL: {ROI_HEADS: {IOU_THRESHOLDS: [0.6]}}", "model.box_head.matching.positive_iou", 0.6),
    (
        "MODEL: {ROI_BOX_HEAD: {BBOX_REG_WEIGHTS: '(5.0, 5.0, 2.5, 2.5)'}}",
        "model.box_head.box_weights",
        (5.0, 5.0, 2.5, 2.5),
    ),
    ("TEST: {DETECTIONS_PER_IMAGE: 7}", "test.max_detections", 7),
    ("SOLVER: {STEPS: '(10, 20)', MAX_ITER: 30}", "train.schedule.decay.steps", (10, 20)),
    ("SOLVER: {LR_SCHEDULER_NAME: WarmupCosineLR}", "train.schedule.decay.kind", "cosine"),
    ("SOLVER: {CLIP_GRADIENTS: {ENABLED: True, CLIP_TYPE: full_model, CLIP_VALUE: 2.0}}", "train.clip", "norm"),
    ("SOLVER: {IMS_PER_BATCH: '8'}", "train.batch", 8),
    ("DATALOADER: {REPEAT_THRESHOLD: 0.001, SAMPLER_TRAIN: RepeatFactorTrainingSampler}", "data.repeat_factor", 0.001),
    ("DATASETS: {TRAIN: [a, b]}", "data.train", "a:b"),
    ("INPUT: {MIN_SIZE_TEST: 600, MAX_SIZE_TEST: 1000}", "model.input.resize.short_test", 600),
    ("INPUT: {MASK_FORMAT: bitmask}", "model.conventions.mask_targets", "bitmaps"),
]


@pytest.mark.parametrize(("text", "path", "value"), FACTS)
def test_a_setting_has_its_meaning(tmp_path, text, path, value):
    text = text if "VERSION" in text else f"VERSION: 2\n{text}"
    assert at(read(tmp_path, f"{text}\n"), path) == value


MISTAKES = [
    ("MODEL: {MASK_OM: True}", r"MODEL\.MASK_OM: unknown key, did you mean MODEL\.MASK_ON"),
    ("MODEL: {RESNETS: {DEPTH: 51}}", r"MODEL\.RESNETS\.DEPTH|depth"),
    ("MODEL: {META_ARCHITECTURE: PanopticFPN}", "not in the family"),
    ("SOLVER: {BASE_LR: fast}", r"SOLVER\.BASE_LR: is 'fast'; expected a float"),
    ("SOLVER: {STEPS: 5}", r"SOLVER\.STEPS: is 5; expected a list"),
    ("MODEL: 5", "MODEL: is a group of settings"),
    ("MODEL: {DENSEPOSE_ON: True}", "DENSEPOSE_ON|unknown"),
    ("_BASE_: nowhere.yaml", "the base 'nowhere.yaml' is not there"),
    ("_BASE_: config.yaml", "leads back to itself"),
    ("MODEL: {MASK_OM: 1, KEYPOINT_OM: 1}", "2 mistakes"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_setting_that_cannot_be_honoured_is_an_error_with_its_place(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, f"VERSION: 2\n{text}\n")
    assert "config.yaml" in str(caught.value)


def test_bases_follow_each_other_and_the_zoos_own_need_no_file(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "base.yaml").write_text(
        "_BASE_: ../../configs/Base-RCNN-FPN.yaml\nSOLVER: {BASE_LR: 0.5, GAMMA: 0.2}\n"
    )
    config = read(tmp_path, "_BASE_: a/base.yaml\nSOLVER: {GAMMA: 0.3}\n")
    assert config.model.neck.kind == "fpn"
    assert (config.train.lr, config.train.schedule.decay.gamma) == (0.5, 0.3)


def test_settings_of_version_1_are_brought_to_2(tmp_path):
    config = read(tmp_path, "VERSION: 1\nMODEL: {WEIGHT: x.pkl, RPN: {ANCHOR_SIZES: [[64, 128]]}}\n")
    assert config.train.weights == "x.pkl"
    assert config.model.anchors.sizes == ((64, 128),)


def test_each_key_is_in_the_report_with_what_became_of_it(tmp_path):
    (tmp_path / "c.yaml").write_text("VERSION: 2\nOUTPUT_DIR: out\nMODEL: {WEIGHTS: w.pkl}\nSOLVER: {BASE_LR: 0.1}\n")
    report = read_config_report(tmp_path / "c.yaml")[1]
    assert ("SOLVER.BASE_LR", "train.lr") in report.translated
    assert "OUTPUT_DIR" in dict(report.ignored)
    assert all(reason for _, reason in report.ignored)
    assert report.weights == "w.pkl"


# --- LazyConfig

HEAD = """\
from detectron2.config import LazyCall as L
from ..common.models.mask_rcnn_fpn import model
from ..common.train import train
from ..common.optim import SGD as optimizer
from ..common.data.coco import dataloader
from ..common.coco_schedule import lr_multiplier_1x as lr_multiplier
"""
LAZY = [
    ("", "model.mask_head.convs", (256,) * 4),
    ("", "train.schedule.max_steps", 90000),
    ("model.backbone.bottom_up.stages.depth = 101", "model.backbone.depth", 101),
    ("model.roi_heads.num_classes = 2 + 3", "model.num_classes", 5),
    (
        "model.backbone.bottom_up.stem.norm = model.backbone.bottom_up.stages.norm = 'GN'",
        "model.backbone.norm.kind",
        "gn",
    ),
    ("model.roi_heads.box_predictor.test_score_thresh = 1 / 4", "test.score_threshold", 0.25),
    ("train.max_iter //= 2", "train.schedule.max_steps", 45000),
    ("optimizer.lr = 0.01 if True else 1", "train.lr", 0.01),
    ("dataloader.train.total_batch_size = len([1, 2, 3])", "train.batch", 3),
    ("model.roi_heads.box_head.fc_dims = [d * 2 for d in (64, 64)]", "model.box_head.features.fcs", (128, 128)),
    (
        "del model.roi_heads.mask_head, model.roi_heads.mask_pooler, model.roi_heads.mask_in_features",
        "model.mask_head",
        None,
    ),
]


@pytest.mark.parametrize(("text", "path", "value"), LAZY)
def test_a_statement_of_a_lazy_file_has_its_meaning(tmp_path, text, path, value):
    found = at(read(tmp_path, f"{HEAD}{text}\n", "config.py"), path)
    assert found == value


LAZY_MISTAKES = [
    ("import os; os.system('true')", r"config\.py:7"),
    ("open('x')", r"config\.py:7"),
    ("model.roi_heads.num_clases = 3", "num_clases: unknown key, did you mean"),
    ("model.backbone = L(RegNet)(depth=3)", r"config\.py:7|RegNet"),
    ("while True: pass", r"config\.py:7"),
    ("from .nowhere import x", "nowhere"),
    ("x = undefined", r"config\.py:7: the name undefined is not defined"),
]


@pytest.mark.parametrize(("text", "message"), LAZY_MISTAKES)
def test_what_is_code_or_unknown_in_a_lazy_file_is_an_error_with_its_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, f"{HEAD}{text}\n", "config.py")
