"""Cityscapes' polygons: nearer ones cover farther ones, groups are crowds, stuff is no object."""

import json

import numpy as np
import pytest

from boxwright.data.formats.reading import find_splits, read_dataset


def square(label, x, y, side):
    return {"label": label, "polygon": [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]}


@pytest.fixture
def cityscapes(tmp_path, picture):
    def make(entries, **fields):
        stem = "ulm_000000_000019"
        picture(tmp_path / "leftImg8bit" / "train" / "ulm" / f"{stem}_leftImg8bit.png")
        path = tmp_path / "gtFine" / "train" / "ulm" / f"{stem}_gtFine_polygons.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"imgHeight": 40, "imgWidth": 60, "objects": entries} | fields))
        return tmp_path

    return make


def test_a_picture_without_objects_is_there(cityscapes):
    found = read_dataset(cityscapes([square("road", 0, 20, 10)]))
    assert (len(found), found.num_objects, found.class_names) == (1, 0, ())


def test_objects_have_the_classes_in_cityscapes_own_order(cityscapes):
    found = read_dataset(cityscapes([square("sky", 0, 0, 40), square("bicycle", 30, 5, 8), square("person", 2, 2, 9)]))
    assert found.class_names == ("person", "bicycle")
    assert [category.id for category in found.categories] == [24, 33]
    bicycle, person = found.objects(0)
    assert (bicycle.label, bicycle.box_xywh) == (1, (30, 5, 8, 8))
    assert person.label == 0
    assert found.path(0).is_file()
    assert found.format == "cityscapes"


def test_what_is_covered_is_not_part_of_the_object_and_the_hidden_is_none(cityscapes):
    folder = cityscapes([square("car", 10, 10, 5), square("car", 5, 5, 20), square("pole", 0, 0, 15)])
    found = read_dataset(folder)
    (info,) = found.objects(0)
    bitmap = found.target(0, with_masks=True).masks.bitmaps()[0].numpy()
    assert not bitmap[:16, :16].any()
    assert bitmap[16:26, 5:26].all()
    assert info.box_xywh == (5, 5, 21, 21)


def test_a_group_is_a_crowd(cityscapes):
    (info,) = read_dataset(cityscapes([square("cargroup", 1, 1, 9)])).objects(0)
    assert info.is_crowd


def test_other_classes_are_sorted(cityscapes):
    assert read_dataset(cityscapes([square("zebra", 1, 1, 9), square("ape", 20, 1, 9)])).class_names == ("ape", "zebra")


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"label": "car"}, "malformed_object"),
        ("car", "malformed_object"),
        ({"label": "car", "polygon": [[1, 2], [3, 4]]}, "malformed_mask"),
        ({"label": "car", "polygon": [[1, 2], [3, 4], [5]]}, "malformed_object"),
        ({"label": "car", "polygon": [[1, 2, 3]] * 3}, "malformed_mask"),
        ({"label": "car", "polygon": [[1, 2], [3, 4], [-1e21, 3]]}, "malformed_mask"),
    ],
)
def test_a_broken_object_is_named_and_the_others_are_kept(entry, kind, cityscapes):
    found = read_dataset(cityscapes([square("car", 1, 1, 9), entry]))
    (problem,) = found.problems
    assert problem["kind"] == kind
    assert problem["place"].endswith("_gtFine_polygons.json: objects[1]")
    assert found.num_objects == 1


@pytest.mark.parametrize(
    "fields", [{"imgHeight": 0}, {"imgHeight": 2**31}, {"imgWidth": 1e400}, {"imgWidth": "wide"}, {"objects": 3}]
)
def test_a_broken_file_is_named(fields, cityscapes):
    found = read_dataset(cityscapes([square("car", 1, 1, 9)], **fields))
    assert [problem["kind"] for problem in found.problems] == ["malformed_image"]


def test_a_file_that_is_no_json_is_named(cityscapes):
    folder = cityscapes([square("car", 1, 1, 9)])
    path = next(folder.rglob("*_polygons.json"))
    path.with_name("ulm_000001_000019_gtFine_polygons.json").write_text("{")
    found = read_dataset(folder)
    assert [problem["kind"] for problem in found.problems] == ["malformed_image"]
    assert len(found) == 1


def test_splits_are_the_folders(cityscapes):
    assert sorted(find_splits(cityscapes([]))) == ["train"]


def test_the_outline_is_kept_where_nothing_covers_it(cityscapes):
    (info,) = read_dataset(cityscapes([square("car", 1, 1, 9)])).objects(0)
    np.testing.assert_array_equal(info.segment[0], [1, 1, 10, 1, 10, 10, 1, 10])
