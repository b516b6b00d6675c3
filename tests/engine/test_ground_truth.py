"""A data set that was read into columns is compared with as its own file is, to the last bit."""

import json
from dataclasses import fields

import numpy as np
import pytest

from boxwright.data.formats.coco import read_coco
from boxwright.engine.ground_truth import ground_truth_of
from boxwright.errors import DatasetError
from boxwright.evaluation.ground_truth import read_ground_truth

L_SHAPE = [0.0, 0.0, 20.0, 0.0, 20.0, 10.0, 10.0, 10.0, 10.0, 20.0, 0.0, 20.0]


def content():
    """Images, classes and objects in no order, with gaps in their ids."""
    return {
        "images": [
            {"id": 9, "file_name": "b.png", "height": 50, "width": 30},
            {"id": 7, "file_name": "a.png", "height": 40, "width": 60},
            {"id": 8, "file_name": "c.png", "height": 10, "width": 10},
        ],
        "categories": [{"id": 30, "name": "cat"}, {"id": 12, "name": "dog"}, {"id": 4, "name": "eel"}],
        "annotations": [
            {"id": 5, "image_id": 9, "category_id": 30, "bbox": [1.5, 2, 10, 20], "area": 150.25},
            {"id": 2, "image_id": 7, "category_id": 30, "bbox": [0.1, 0.2, 20, 20], "area": 300, "difficult": 1},
            {"id": 3, "image_id": 7, "category_id": 12, "bbox": [0, 0, 1.1, 40], "area": 40, "iscrowd": 1},
            {"id": 1, "image_id": 7, "category_id": 30, "bbox": [3, 3, 4, 4], "area": 16},
        ],
    }


def with_masks(written):
    masks = [[L_SHAPE], [L_SHAPE, [30, 30.5, 35, 30, 35, 35.123456]], {"size": [40, 60], "counts": [0, 40, 2360]}, []]
    for entry, mask in zip(written["annotations"], masks, strict=True):
        entry["segmentation"] = mask


def with_keypoints(written):
    written["categories"][0]["keypoints"] = ["nose", "tail"]
    written["annotations"][0]["keypoints"] = [1.25, 1, 2, 0, 0, 0]
    written["annotations"][1]["keypoints"] = [3, 4, 1, 5, 6, 2]


def with_the_fields_of_lvis(written):
    for number, image in enumerate(written["images"]):
        image["neg_category_ids"] = [4, 12][:number]
        image["not_exhaustive_category_ids"] = [30, 99]
    for category, frequency in zip(written["categories"], "rcf", strict=True):
        category["frequency"] = frequency


def with_an_id_that_is_zero(written):
    written["annotations"][1]["id"] = 0


def with_images_of_text(written):
    for image in written["images"]:
        image["id"] = f"image {image['id']}"
    for entry in written["annotations"]:
        entry["image_id"] = f"image {entry['image_id']}"


def empty(written):
    written["annotations"].clear()


def read(written, tmp_path):
    (tmp_path / "set.json").write_text(json.dumps(written))
    return ground_truth_of(read_coco(tmp_path / "set.json", image_root=tmp_path))


def assert_equal(found, expected):
    for one in fields(expected):
        value, wanted = getattr(found, one.name), getattr(expected, one.name)
        if isinstance(wanted, np.ndarray):
            assert (value.dtype, value.shape) == (wanted.dtype, wanted.shape), one.name
            assert value.tobytes() == wanted.tobytes(), one.name
        elif one.name == "federated" and wanted is not None:
            assert_equal(value, wanted)
        elif one.name == "segmentations":
            assert [mask is None for mask in value] == [mask is None for mask in wanted]
        else:
            assert value == wanted, one.name


@pytest.mark.parametrize(
    "change",
    [
        empty,
        lambda written: None,
        with_masks,
        with_keypoints,
        with_the_fields_of_lvis,
        with_an_id_that_is_zero,
        with_images_of_text,
    ],
)
def test_the_truth_of_a_data_set_is_that_of_its_file(change, tmp_path):
    written = content()
    change(written)
    found, expected = read(written, tmp_path), read_ground_truth(written)
    assert_equal(found, expected)
    if change is with_masks:
        for name in ("text", "first", "sizes", "area"):
            np.testing.assert_array_equal(getattr(found.runs, name), getattr(expected.runs, name))


def test_what_an_object_does_not_say_is_found(tmp_path):
    written = content()
    first, second, crowd, last = written["annotations"]
    del first["id"], first["area"], second["area"]
    crowd["id"] = last["id"] = 3
    second["segmentation"] = [L_SHAPE]
    found = read(written, tmp_path)
    by_id = {int(number): float(area) for number, area in zip(found.ids, found.area, strict=True)}
    # Free numbers are given in the order of the file: first the object of image 9.
    assert by_id == {4: 10 * 20, 2: 300, 3: 40, 5: 16}


def test_a_box_that_is_not_finite_is_named_with_its_file(tmp_path):
    written = content()
    written["annotations"][3]["bbox"] = [0, 0, float("nan"), 3]
    with pytest.raises(DatasetError, match=r"set\.json: annotation 1 has the bbox .*nan.*; expected finite numbers"):
        read(written, tmp_path)
