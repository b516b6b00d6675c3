"""The table of published models: complete rows, names found in every spelling, unknown ones with the nearest."""

import re

import pytest

from boxwright.errors import WeightsError
from boxwright.interop.download import cached_path
from boxwright.interop.zoo import Checksum, all_models, find_model, is_model_name

FAMILIES = {
    "faster_rcnn",
    "mask_rcnn",
    "keypoint_rcnn",
    "cascade_rcnn",
    "cascade_mask_rcnn",
    "fast_rcnn",
    "rpn",
    "retinanet",
    "backbone",
}


def test_every_row_is_complete_and_of_its_own():
    models = all_models()
    assert len(models) > 300
    assert len({model.name for model in models}) == len({model.url for model in models}) == len(models)
    for model in models:
        assert model.url.startswith("https://"), model
        assert re.search(r"\.(pkl|pth)$", model.url), model
        assert model.family in FAMILIES, model
        assert all(0 < value < 1 for value in model.ap.values()), model
        assert set(model.ap) <= {"box", "mask", "keypoint", "proposals", "box50", "top1"}, model
        assert model.ap or model.family == "backbone", model


def test_checksums_are_the_ones_in_the_file_names():
    for model in all_models():
        if model.source in ("torchvision", "mmdet", "open-mmlab", "mmcls", "efficientnet-pytorch"):
            assert model.checksum is not None, model
            assert model.checksum.algorithm == "sha256"
            assert model.file_name.endswith(f"-{model.checksum.prefix}.pth")
        elif model.source == "detectron2" and model.family != "backbone":
            assert model.checksum is not None, model
            assert model.checksum.algorithm == "md5"
            assert model.file_name.endswith(f"_{model.checksum.prefix}.pkl")
        else:
            assert model.checksum is None, model


def test_every_address_is_one_that_can_be_asked():
    assert [model.url for model in all_models() if not model.url.isprintable() or " " in model.url] == []


def test_every_model_has_a_place_of_its_own_in_the_cache():
    places = {cached_path(model.url) for model in all_models()}
    assert len(places) == len(all_models())


@pytest.mark.parametrize(
    ("name", "family", "ap"),
    [
        ("detectron2/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x", "mask_rcnn", {"box": 0.41, "mask": 0.372}),
        ("torchvision/maskrcnn_resnet50_fpn_v2", "mask_rcnn", {"box": 0.474, "mask": 0.418}),
        ("torchvision/keypointrcnn_resnet50_fpn", "keypoint_rcnn", {"box": 0.546, "keypoint": 0.65}),
        ("mmdet/faster_rcnn_r50_fpn_1x_coco", "faster_rcnn", {"box": 0.374}),
        ("mmdet/cascade_mask_rcnn_r50_fpn_1x_coco", "cascade_mask_rcnn", {"box": 0.412, "mask": 0.359}),
        ("detectron/e2e_mask_rcnn_R-50-FPN_1x", "mask_rcnn", {"box": 0.377, "mask": 0.339}),
        ("detectron/rpn_R-50-C4_1x", "rpn", {"proposals": 0.516}),
        ("detectron2/PascalVOC-Detection/faster_rcnn_R_50_C4", "faster_rcnn", {"box": 0.519, "box50": 0.803}),
    ],
)
def test_published_accuracy_is_in_the_table(name, family, ap):
    model = find_model(name)
    assert model.name == name
    assert (model.family, model.ap) == (family, ap)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("mmdet/faster-rcnn_r50_fpn_1x_coco", "mmdet/faster_rcnn_r50_fpn_1x_coco"),
        ("mmdet/faster_rcnn_r50_fpn_1x_coco.py", "mmdet/faster_rcnn_r50_fpn_1x_coco"),
        ("mmdet/mask-rcnn_r50-caffe_fpn_ms-poly-3x_coco", "mmdet/mask_rcnn_r50_caffe_fpn_mstrain-poly_3x_coco"),
        ("mmdet/faster_rcnn_r50_fpn_giou_1x_coco", "mmdet/faster-rcnn_r50_fpn_giou_1x_coco"),
        ("detectron/e2e_mask_rcnn_R-50-FPN_1x.yaml", "detectron/e2e_mask_rcnn_R-50-FPN_1x"),
        ("Detectron2/coco-keypoints/keypoint_rcnn_r_50_fpn_3x", "detectron2/COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x"),
        ("detectron2://ImageNetPretrained/MSRA/R-50.pkl", "detectron2/ImageNetPretrained/MSRA/R-50"),
        ("catalog://ImageNetPretrained/FAIR/R-50-GN", "detectron/ImageNetPretrained/FAIR/R-50-GN"),
        (
            "https://s3-us-west-2.amazonaws.com/detectron/ImageNetPretrained/MSRA/R-101.pkl",
            "detectron/ImageNetPretrained/MSRA/R-101",
        ),
        ("torchvision://resnet50", "torchvision/resnet50"),
        ("torchvision/resnet50/IMAGENET1K_V1", "torchvision/resnet50"),
        ("torchvision/resnet50/IMAGENET1K_V2", "torchvision/resnet50/IMAGENET1K_V2"),
        ("open-mmlab://detectron2/resnet50_caffe", "open-mmlab/detectron2/resnet50_caffe"),
        ("open-mmlab://resnet50_caffe", "open-mmlab/detectron/resnet50_caffe"),
        (
            "https://download.pytorch.org/models/resnet50-0676ba61.pth",
            "torchvision/resnet50",
        ),
    ],
)
def test_a_model_is_found_in_every_spelling(spelling, name):
    assert find_model(spelling).name == name
    assert is_model_name(spelling)


def test_every_alias_and_address_finds_its_model():
    for model in all_models():
        for name in (model.name, model.url, *model.aliases):
            assert find_model(name) is model, name


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(WeightsError, match=r"'mmdet/maskrcnn_r50_fpn_1x'.*Nearest: mmdet/mask_rcnn_r50_fpn_1x_coco"):
        find_model("mmdet/maskrcnn_r50_fpn_1x")
    with pytest.raises(WeightsError, match=r"is called ''\. `boxwright zoo list`"):
        find_model("")
    assert not is_model_name("weights.pth")


def test_a_model_tells_its_source_and_file():
    model = find_model("torchvision/fasterrcnn_resnet50_fpn")
    assert model.source == "torchvision"
    assert model.file_name == "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"
    assert model.checksum == Checksum("sha256", "258fb6c6")
