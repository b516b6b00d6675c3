"""torchvision's builders as configs: its defaults, its arguments, its names for weights."""

import pytest

from boxwright.errors import ConfigError
from boxwright.interop.torchvision.config import BUILDERS, is_torchvision, read_torchvision


def read(text):
    return read_torchvision(text, source="here")[0]


def at(config, path):
    value = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize("name", BUILDERS)
def test_every_builder_has_its_published_model(name):
    config, report = read_torchvision(name, source="here")
    assert config.model.conventions.box_offset == 0
    assert config.model.input.channels == "rgb"
    assert config.model.num_classes == (1 if "keypoint" in name else 90)
    assert report.weights == f"torchvision/{name}"


FACTS = [  # as in torchvision 0.28's signatures
    ("fasterrcnn_resnet50_fpn()", "model.box_head.sampling.size", 512),
    ("fasterrcnn_resnet50_fpn()", "model.proposals.post_nms_top_k.test", 1000),
    ("fasterrcnn_resnet50_fpn()", "test.max_detections", 100),
    ("fasterrcnn_resnet50_fpn(weights='DEFAULT')", "model.backbone.norm.eps", 0.0),
    ("fasterrcnn_resnet50_fpn_v2(weights='DEFAULT')", "model.backbone.norm.eps", 1e-5),
    ("fasterrcnn_mobilenet_v3_large_320_fpn()", "model.input.resize.short_test", 320),
    ("fasterrcnn_mobilenet_v3_large_320_fpn()", "model.proposals.pre_nms_top_k.test", 150),
    ("maskrcnn_resnet50_fpn(num_classes=5)", "model.num_classes", 4),
    ("maskrcnn_resnet50_fpn(min_size=480, max_size=640)", "model.input.resize.long_test", 640),
    ("maskrcnn_resnet50_fpn(box_score_thresh=0.5)", "test.score_threshold", 0.5),
    ("maskrcnn_resnet50_fpn(box_nms_thresh=2/5)", "test.nms_iou", 0.4),
    ("maskrcnn_resnet50_fpn(trainable_backbone_layers=5, weights=None)", "model.backbone.frozen_stages", 0),
    ("keypointrcnn_resnet50_fpn(num_keypoints=5)", "model.keypoint_head.num_keypoints", 5),
    ("retinanet_resnet50_fpn(detections_per_img=7)", "test.max_detections", 7),
    ("models.detection.retinanet_resnet50_fpn(num_classes=4)", "model.num_classes", 3),
    ("fasterrcnn_resnet50_fpn(image_mean=[0, 0, 0])", "model.input.mean", (0.0, 0.0, 0.0)),
]


@pytest.mark.parametrize(("call", "path", "value"), FACTS)
def test_a_default_or_an_argument_has_its_meaning(call, path, value):
    found = at(read(call), path)
    assert (tuple(found) if isinstance(found, list) else found) == value


@pytest.mark.parametrize(
    ("call", "source"),
    [
        ("fasterrcnn_resnet50_fpn()", ""),
        ("fasterrcnn_resnet50_fpn(weights='DEFAULT')", "torchvision/fasterrcnn_resnet50_fpn"),
        ("fasterrcnn_resnet50_fpn(pretrained=True)", "torchvision/fasterrcnn_resnet50_fpn"),
        (
            "fasterrcnn_resnet50_fpn(weights=FasterRCNN_ResNet50_FPN_Weights.COCO_V1)",
            "torchvision/fasterrcnn_resnet50_fpn",
        ),
        ("torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None)", ""),
    ],
)
def test_the_weights_asked_for_are_told(call, source):
    assert read_torchvision(call, source="here")[1].weights == source


MISTAKES = {
    "fasterrcnn_resnet50_fpm()": "did you mean fasterrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn(min_sise=3)": "min_sise: unknown key, did you mean min_size",
    "maskrcnn_resnet50_fpn(5)": "keyword arguments",
    "maskrcnn_resnet50_fpn(**options)": "no meaning here",
    "maskrcnn_resnet50_fpn(box_head=MyHead())": "here",
    "maskrcnn_resnet50_fpn(num_classes=open('x'))": "here",
    "maskrcnn_resnet50_fpn(fixed_size=(3, 3))": "images keep their aspect ratio",
    "maskrcnn_resnet50_fpn(num_classes='many')": "here",
}


@pytest.mark.parametrize(("call", "message"), MISTAKES.items())
def test_a_call_that_cannot_be_honoured_is_an_error(call, message):
    with pytest.raises(ConfigError, match=message):
        read(call)


@pytest.mark.parametrize("text", ["", "model = dict()", "MODEL:\n  MASK_ON: true", "print(1)"])
def test_other_texts_are_no_builders(text):
    assert not is_torchvision(text)
