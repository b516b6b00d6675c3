"""The COCO-sized files, made small here: they are what a reader expects, and their masks and boxes agree."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from boxwright.data import synth


@pytest.mark.parametrize(("images", "annotations"), [(1, 0), (3, 1), (40, 300)])
def test_annotations_are_a_coco_file(tmp_path, images, annotations):
    path = synth.annotations(tmp_path / "train.json", images=images, annotations=annotations)
    content = json.loads(path.read_text())
    assert (len(content["images"]), len(content["annotations"])) == (images, annotations)
    ids = {image["id"] for image in content["images"]}
    assert len(ids) == images
    categories = {category["id"] for category in content["categories"]}
    assert len(categories) == 80
    assert max(categories) > 80
    for annotation in content["annotations"]:
        assert annotation["image_id"] in ids
        assert annotation["category_id"] in categories


def test_annotations_fit_into_their_pictures_and_some_are_crowds(tmp_path):
    content = json.loads(synth.annotations(tmp_path / "train.json", images=50, annotations=2000).read_text())
    sizes = {image["id"]: [image["height"], image["width"]] for image in content["images"]}
    crowds = [annotation for annotation in content["annotations"] if annotation["iscrowd"]]
    assert 5 < len(crowds) < 50
    for crowd in crowds:
        assert crowd["segmentation"]["size"] == sizes[crowd["image_id"]]
        assert sum(crowd["segmentation"]["counts"]) == np.prod(sizes[crowd["image_id"]])
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        rows, columns = sizes[annotation["image_id"]]
        assert x >= 0
        assert y >= 0
        assert x + width <= columns
        assert y + height <= rows


def test_files_are_the_same_for_the_same_seed(tmp_path):
    first = synth.annotations(tmp_path / "a.json", images=20, annotations=100, seed=5).read_bytes()
    assert synth.annotations(tmp_path / "b.json", images=20, annotations=100, seed=5).read_bytes() == first
    assert synth.annotations(tmp_path / "c.json", images=20, annotations=100, seed=6).read_bytes() != first
    one = synth.detections(tmp_path / "one", images=4, annotations=20, per_image=10)
    two = synth.detections(tmp_path / "two", images=4, annotations=20, per_image=10)
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


@pytest.mark.parametrize("masks", [False, True])
def test_detections_are_scored_by_pycocotools_neither_nothing_nor_all(tmp_path, masks):
    truth, results = synth.detections(tmp_path, images=30, annotations=200, per_image=20, masks=masks)
    rows = json.loads(results.read_text())
    assert len(rows) == 600
    assert ("segmentation" in rows[0]) == masks
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(truth)
        evaluation = COCOeval(coco, coco.loadRes(rows), "segm" if masks else "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert 0.1 < evaluation.stats[1] < 0.95


def test_a_detection_s_box_is_about_that_of_its_mask(tmp_path):
    _, results = synth.detections(tmp_path, images=3, annotations=5, per_image=10)
    for row in json.loads(results.read_text()):
        assert np.abs(coco_mask.toBbox(row["segmentation"]) - row["bbox"]).max() <= 2


def test_no_images_give_empty_files(tmp_path):
    truth, results = synth.detections(tmp_path, images=0, annotations=5)
    assert json.loads(truth.read_text())["annotations"] == []
    assert json.loads(results.read_text()) == []
