"""YAML of Detectron and Detectron.pytorch: what their own code would build from it, and what cannot be honoured."""

import pytest

from boxwright.config import diff
from boxwright.errors import ConfigError
from boxwright.interop.config import read_config, read_config_text
from tests.interop.detectron_text import FPN, PYTORCH


def read(text):
    return read_config_text(text, source="c.yaml")[0]


def at(config, path):
    value = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


FACTS = [
    ("", "model.conventions.box_offset", 1),
    ("", "model.backbone.stride_in_1x1", True),
    ("", "model.num_classes", 80),
    ("", "train.batch", 16),
    ("", "train.schedule.decay.steps", (60000, 80000)),
    ("", "train.bias_lr_factor", 2.0),
    ("", "train.weights", "R-50.pkl"),
    ("", "model.box_head.pooling.aligned", False),
    ("RESNETS: {NUM_GROUPS: 32, WIDTH_PER_GROUP: 8, STRIDE_1X1: False}", "model.backbone.groups", 32),
    ("TEST: {NMS: 0.4}", "test.nms_iou", 0.4),
    ("TEST: {SOFT_NMS: {ENABLED: True, METHOD: gaussian}}", "test.nms", "gaussian"),
    ("TEST: {BBOX_VOTE: {ENABLED: True, VOTE_TH: 0.7}}", "test.box_voting_iou", 0.7),
    ("TEST: {RPN_POST_NMS_TOP_N: 500}", "model.proposals.post_nms_top_k.test", 500),
    ("RNG_SEED: 5", "train.seed", 5),
]


@pytest.mark.parametrize(("text", "path", "value"), FACTS)
def test_a_setting_has_its_meaning(text, path, value):
    assert at(read(f"{FPN}{text}\n"), path) == value


def test_module_names_may_have_the_add_of_detectron_or_not():
    theirs, ours = read(FPN), read(PYTORCH)
    assert [change for change in diff(theirs, ours) if change[0].startswith("test")] == []
    assert theirs.model.box_head == ours.model.box_head
    assert theirs.model.neck == ours.model.neck
    assert ours.train.weights == "data/pretrained_model/resnet50_caffe.pth"


def test_imagenet_weights_can_be_switched_off():
    assert (
        read(PYTORCH.replace("MODEL:\n", "MODEL:\n  LOAD_IMAGENET_PRETRAINED_WEIGHTS: False\n")).train.weights is None
    )


def test_the_two_programs_have_their_own_conventions():
    assert read(FPN).model.conventions.box_offset == read(PYTORCH).model.conventions.box_offset == 1
    assert read_config("detectron/e2e_mask_rcnn_R-50-FPN_1x").model.mask_head is not None


MISTAKES = [
    ("TEST: {NMSS: 0.4}", r"c\.yaml: TEST\.NMSS: unknown key, did you mean TEST\.NMS"),
    ("SOLVER: {TYPE: Adam}", "SOLVER.TYPE: is Adam; SGD is known"),
    ("RETINANET: {SOFTMAX: True}", "RETINANET.SOFTMAX"),
    ("MODEL: {CONV_BODY: VGG.add_VGG16_conv5_body}", "CONV_BODY"),
    ("TRAIN: {DATASET: coco}", "TRAIN.DATASET: was renamed to TRAIN.DATASETS"),
    ("TEST: {NMS: high}", r"TEST\.NMS: is 'high'; expected a float"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_setting_that_cannot_be_honoured_is_an_error(text, message):
    lines = text.partition(": ")
    inner = lines[2].strip("{}")
    merged = (
        FPN.replace(f"{lines[0]}:\n", f"{lines[0]}:\n  {inner}\n")
        if f"\n{lines[0]}:\n" in f"\n{FPN}"
        else f"{FPN}{text}\n"
    )
    name = inner.partition(":")[0]
    if merged.count(f"  {name}:") > 1:  # in the place of the one that is there
        merged = "\n".join(line for line in merged.splitlines() if f"  {name}:" not in line or inner in line)
    with pytest.raises(ConfigError, match=message):
        read(merged)
