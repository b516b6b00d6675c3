"""A published model's name is enough for its settings: nothing is read or fetched."""

import pytest

from boxwright.errors import ConfigError
from boxwright.interop.zoo import all_models
from boxwright.interop.zoo.configs import read_published

BY_NAME = [
    m.name for m in all_models() if m.source in ("detectron", "detectron2", "torchvision") and m.family != "backbone"
]


@pytest.mark.parametrize("name", BY_NAME)
def test_every_name_gives_a_model_of_its_family(name):
    model = read_published(name)[0].model
    has_masks = "mask" in name.rpartition("/")[2] or "InstanceSegmentation" in name
    if model.kind == "rcnn":
        assert (model.mask_head is not None) == has_masks
        assert (model.keypoint_head is not None) == ("keypoint" in name.lower() and "rpn" not in name)
        assert bool(model.box_head and model.box_head.cascade) == ("cascade" in name)
    else:
        assert "retinanet" in name


FACTS = [
    ("detectron2/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x", "train.schedule.max_steps", 270000),
    ("detectron2/COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x", "model.backbone.groups", 32),
    ("detectron2/LVISv0.5-InstanceSegmentation/mask_rcnn_R_50_FPN_1x", "model.num_classes", 1230),
    ("detectron2/Misc/scratch_mask_rcnn_R_50_FPN_9x_gn", "model.backbone.frozen_stages", 0),
    ("detectron2/Misc/scratch_mask_rcnn_R_50_FPN_9x_gn", "train.weights", None),
    (
        "detectron2/COCO-Detection/retinanet_R_101_FPN_3x",
        "train.weights",
        "detectron2://ImageNetPretrained/MSRA/R-101.pkl",
    ),
    ("detectron2/new_baselines/mask_rcnn_R_101_FPN_400ep_LSJ", "train.schedule.max_steps", 737500),
    ("detectron2/new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ", "data.augment.scale_jitter", (0.1, 2.0)),
    ("mmdet/mask_rcnn_r50_fpn_fp16_dconv_c3-c5_1x_coco", "train.precision", "fp16"),
    ("mmdet/faster_rcnn_r50_fpn_mdconv_c3-c5_group4_1x_coco", "model.backbone.deformable.groups", 4),
    ("detectron/e2e_mask_rcnn_R-50-FPN_1x", "model.conventions.box_offset", 1),
    ("detectron/e2e_mask_rcnn_X-152-32x8d-FPN-IN5k_1.44x", "test.box_voting_iou", 0.9),
    ("detectron/e2e_faster_rcnn_R-50-C4_2x", "model.neck.kind", "none"),
    ("torchvision/maskrcnn_resnet50_fpn_v2", "model.input.value_range", 1),
    ("mmdet/faster_rcnn_r50_fpn_1x_coco", "model.conventions.delta_clip", "both"),
]


@pytest.mark.parametrize(("name", "path", "value"), FACTS)
def test_a_fact_of_the_original_config_holds(name, path, value):
    here = read_published(name)[0]
    for step in path.split("."):
        here = getattr(here, step)
    assert here == value


def test_a_backbone_is_no_detector():
    with pytest.raises(ConfigError, match="is a backbone, not a detector"):
        read_published("torchvision/resnet50")
