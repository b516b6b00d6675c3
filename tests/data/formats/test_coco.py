"""COCO and LVIS files read and written; each way in which an entry can be broken is named with its place."""

import json
import math

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from boxwright.data.formats.coco import read_coco
from boxwright.data.formats.coco_write import write_coco
from boxwright.data.formats.reading import read_dataset
from boxwright.errors import DatasetError


def read(folder):
    return read_coco(folder / "train.json", image_root=folder / "images")


def test_a_file_without_images_and_objects_is_empty(tmp_path):
    (tmp_path / "train.json").write_text('{"images": [], "categories": []}')
    found = read(tmp_path)
    assert (len(found), found.num_objects, found.class_names, found.problems) == (0, 0, (), ())


def test_classes_follow_their_ids_and_objects_their_images(coco_folder):
    found = read(coco_folder())
    assert found.class_names == ("dog", "cat")
    assert [category.id for category in found.categories] == [12, 30]
    assert [found.image_id(index) for index in range(2)] == [7, 9]
    assert [[info.id for info in found.objects(index)] for index in range(2)] == [[2, 3], [1]]
    assert found.problems == ()


def test_an_object_comes_back_as_it_was_written(coco_folder):
    found = read(coco_folder())
    (cat,) = found.objects(1)
    assert (cat.label, cat.box_xywh, cat.area, cat.is_crowd, cat.extra) == (1, (1.5, 2, 10, 20), 150.25, False, None)
    np.testing.assert_array_equal(cat.segment[0], [1.5, 2, 11.5, 2, 11.5, 22, 1.5, 22])
    dog, crowd = found.objects(0)
    assert dog.extra == {"score": 0.5}
    assert [len(ring) for ring in dog.segment] == [8, 6]
    assert crowd.is_crowd
    assert found.image(0).extra == {"license": 3}


def test_both_forms_of_run_lengths_are_the_same_mask(coco_folder):
    bitmap = np.zeros((40, 60), dtype=np.uint8)
    bitmap[:, 0] = 1
    packed = coco_mask.encode(np.asfortranarray(bitmap))["counts"].decode()

    def change(content):
        copy = {**content["annotations"][2], "id": 4, "segmentation": {"size": [40, 60], "counts": packed}}
        content["annotations"].append(copy)

    found = read(coco_folder(change))
    _, first, second = found.objects(0)
    assert first.segment == second.segment
    np.testing.assert_array_equal(coco_mask.decode(first.segment), bitmap)


def test_a_hole_in_run_lengths_stays_a_hole(coco_folder):
    bitmap = np.zeros((40, 60), dtype=np.uint8)
    bitmap[5:20, 5:25] = 1
    bitmap[8:12, 10:15] = 0
    counts = coco_mask.encode(np.asfortranarray(bitmap))["counts"].decode()

    def change(content):
        content["annotations"][1]["segmentation"] = {"size": [40, 60], "counts": counts}

    target = read(coco_folder(change)).target(0, with_masks=True)
    np.testing.assert_array_equal(target.masks.bitmaps()[0].numpy(), bitmap.astype(bool))


def test_the_target_has_corners_clipped_to_the_image(coco_folder):
    def change(content):
        content["annotations"][0]["bbox"] = [-5, 10, 100, 100]

    target = read(coco_folder(change)).target(1)
    assert target.boxes.tolist() == [[0, 10, 30, 50]]
    assert (target.labels.tolist(), target.image_id, target.size) == ([1], 9, (50, 30))


def keypoints(content):
    content["categories"][0] |= {
        "keypoints": ["nose", "left_ear", "right_ear"],
        "skeleton": [[1, 2], [1, 3]],
    }
    content["annotations"][0]["keypoints"] = [3, 4, 2, 5, 6, 1, 0, 0, 0]


def test_keypoints_keep_their_names_skeleton_and_pairs(coco_folder):
    found = read(coco_folder(keypoints))
    assert found.keypoint_names == ("nose", "left_ear", "right_ear")
    assert found.categories[1].skeleton == ((0, 1), (0, 2))
    assert found.flip_pairs == ((1, 2),)
    target = found.target(1, with_keypoints=True, keypoint_offset=0.5)
    assert target.keypoints.tolist() == [[[3.5, 4.5, 2], [5.5, 6.5, 1], [0, 0, 0]]]
    assert found.target(0, with_keypoints=True).keypoints.shape == (2, 3, 3)


def test_an_image_without_objects_has_an_empty_target(coco_folder):
    found = read(coco_folder(lambda content: (keypoints(content), content["annotations"].__delitem__(slice(1, None)))))
    target = found.target(0, with_masks=True, with_keypoints=True)
    assert (len(target), target.masks.segments, target.keypoints.shape) == (0, [], (0, 3, 3))
    assert len(found.target(1, with_masks=True, with_keypoints=True)) == 1
    nameless = read(coco_folder(lambda content: content["annotations"].clear(), name="nameless"))
    assert nameless.target(0, with_keypoints=True).keypoints.shape == (0, 0, 3)


def test_pairs_that_names_do_not_tell_are_read_and_written(coco_folder, tmp_path):
    def change(content):
        keypoints(content)
        content["categories"][0] |= {"keypoints": ["tip", "base", "stem"], "flip_pairs": [[0, 2]]}

    found = read(coco_folder(change))
    assert found.flip_pairs == ((0, 2),)
    write_coco(found, tmp_path / "out.json", file_names=["a.png", "b.png"])
    again = read_coco(tmp_path / "out.json", image_root=tmp_path)
    assert again.categories == found.categories


def test_keypoints_without_names_are_counted_from_the_objects(coco_folder):
    def change(content):
        content["annotations"][0]["keypoints"] = [3, 4, 2, 5, 6, 1]

    found = read(coco_folder(change))
    assert (found.num_keypoints, found.keypoint_names) == (2, ())


def test_sizes_that_are_not_given_come_from_the_pictures(coco_folder):
    def change(content):
        del content["images"][1]["height"], content["images"][1]["width"]

    assert read(coco_folder(change)).size(1) == (50, 30)


BROKEN_OBJECTS = [
    ({"image_id": 8}, "unknown_image", "image_id is 8"),
    ({"category_id": 31}, "unknown_category", "category_id is 31"),
    ({"category_id": [30]}, "unknown_category", "category_id is [30]"),
    ({"bbox": [1, 2, 3]}, "malformed_box", "bbox has 3 numbers; expected [x, y, width, height]"),
    ({"bbox": None}, "malformed_box", "bbox is None; expected [x, y, width, height]"),
    ({"bbox": ["1", 2, 3, 4]}, "malformed_box", "bbox is ['1', 2, 3, 4]; expected [x, y, width, height]"),
    ({"segmentation": [[1, 2, 3, 4]]}, "malformed_mask", "segmentation[0] has 4 usable coordinates"),
    ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "malformed_mask", "segmentation[0] has 7 usable coordinates"),
    ({"segmentation": [[1, 2, 1e9, 4, 5, 6]]}, "malformed_mask", "segmentation[0] reaches far outside the image"),
    ({"segmentation": "all"}, "malformed_mask", "segmentation is a str"),
    ({"segmentation": [["a"] * 6]}, "malformed_mask", "segmentation[0] is not a list of numbers"),
    ({"segmentation": {"size": [30, 50], "counts": [1500]}}, "wrong_rle", "size is [30, 50]; the image has [50, 30]"),
    ({"segmentation": {"size": [50, 30], "counts": [1, 2]}}, "wrong_rle", "run lengths"),
    ({"segmentation": {"size": [50, 30], "counts": "\u00ff"}}, "wrong_rle", "run lengths"),
    ({"segmentation": {"size": [50, 30]}}, "wrong_rle", "run lengths are a NoneType; expected a list or a text"),
    ({"iscrowd": 2}, "malformed_object", "iscrowd is 2; expected 0 or 1"),
    ({"area": "big"}, "malformed_object", "area is 'big'; expected a number"),
]


@pytest.mark.parametrize(("fields", "kind", "detail"), BROKEN_OBJECTS)
def test_a_broken_object_is_left_out_and_named(fields, kind, detail, coco_folder):
    folder = coco_folder(lambda content: content["annotations"][0].update(fields))
    found = read(folder)
    (problem,) = found.problems
    assert problem["kind"] == kind
    assert problem["place"] == f"{folder}/train.json: annotations[0] (id 1)"
    assert problem["detail"].startswith(detail)
    assert found.num_objects == 2


@pytest.mark.parametrize("points", [[1, 2, 2], [1, 2, math.nan] * 3, ["x"] * 9])
def test_broken_keypoints_are_named(points, coco_folder):
    def change(content):
        keypoints(content)
        content["annotations"][0]["keypoints"] = points

    assert [problem["kind"] for problem in read(coco_folder(change)).problems] == ["malformed_keypoints"]


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"id": None}, "id is None"),
        ({"id": True}, "id is True"),
        ({"file_name": ""}, "no file_name"),
        ({"height": 0}, "height 0, width 30"),
        ({"height": 1.5}, "height 1.5, width 30"),
        ({"width": "30"}, "height 50, width '30'"),
        ({"width": 2**30}, "height 50, width 1073741824"),
        ({"id": 2**63}, "id is 9223372036854775808"),
        ({"file_name": "b\0.png"}, r"file_name is 'b\x00.png'"),
    ],
)
def test_a_broken_image_is_left_out_with_its_objects(fields, detail, coco_folder):
    folder = coco_folder(lambda content: content["images"][1].update(fields))
    found = read(folder)
    assert found.problems[0] | {"place": ""} == {"kind": "malformed_image", "place": "", "detail": detail}
    assert found.problems[0]["place"] == f"{folder}/train.json: images[1]"
    assert len(found) == 1
    assert found.num_objects == 2


@pytest.mark.parametrize("fields", [{"file_name": "\ud800.png"}, {"id": "\ud800"}])
def test_text_that_cannot_be_written_is_no_name(fields, coco_folder):
    found = read(coco_folder(lambda content: content["images"][1].update(fields)))
    assert [problem["kind"] for problem in found.problems] == ["malformed_image", "unknown_image"]


def test_ids_that_are_given_twice_are_named(coco_folder):
    def change(content):
        content["images"].append({**content["images"][0], "file_name": "c.png"})
        content["annotations"].append({**content["annotations"][0]})
        content["categories"].append({"id": 12, "name": "horse"})

    found = read(coco_folder(change))
    kinds = [problem["kind"] for problem in found.problems]
    assert sorted(kinds) == ["duplicate_category", "duplicate_image_id", "duplicate_object_id"]
    assert found.class_names == ("dog", "cat")
    assert found.image(0).file_name == "a.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "holds a list; expected a COCO object with images, annotations and categories"),
        ('{"images": []}', "has no list 'categories'; it is no COCO annotation file"),
        ('{"images": {}, "categories": []}', "has no list 'images'"),
        ('{"images": [], "categories": [], "annotations": {}}', "'annotations' is a dict; expected a list"),
        ('{"images": [], "categories": [{"id": 1}]}', "categories[0] cannot be read (no name); it needs an id"),
        ('{"images": [], "categories": [{"id": "1", "name": "a"}]}', "categories[0] cannot be read"),
        ("[" * 100_000, "is not JSON"),
        (r'{"images": [], "categories": [{"id": 1, "name": "\ud800"}]}', "surrogates not allowed); it needs an id"),
        (
            '{"images": [], "categories": [{"id": 1, "name": "a", "keypoints": ["b"], "flip_pairs": [[0, 1]]}]}',
            "flip_pairs names a keypoint that is not among the 1 named ones",
        ),
        (
            '{"images": [], "categories": [{"id": 1, "name": "a", "keypoints": ["b"], "skeleton": [[1, 1e999]]}]}',
            "categories[0] cannot be read",
        ),
    ],
)
def test_a_file_of_another_kind_is_one_error(text, message, tmp_path):
    path = tmp_path / "train.json"
    path.write_text(text)
    with pytest.raises(DatasetError) as caught:
        read(tmp_path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"train\.json does not exist"):
        read(tmp_path)


def test_reading_and_writing_change_nothing(coco_folder, tmp_path, content):
    def change(content):
        keypoints(content)
        content["annotations"][0]["num_keypoints"] = 2

    write_coco(read(coco_folder(change)), tmp_path / "out.json", file_names=["a.png", "b.png"])
    expected = content()
    change(expected)
    written = json.loads((tmp_path / "out.json").read_text())
    crowd = coco_mask.frPyObjects(expected["annotations"][2]["segmentation"], 40, 60)
    expected["annotations"][2]["segmentation"] = {"size": [40, 60], "counts": crowd["counts"].decode()}
    for name in ("images", "annotations", "categories"):
        expected[name].sort(key=lambda entry: entry["id"])
        written[name].sort(key=lambda entry: entry["id"])
    assert written == expected


def test_lvis_names_files_by_their_url_and_keeps_its_fields(tmp_path, content, picture):
    made = content()
    made["annotations"] = made["annotations"][:2]
    for image in made["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/val2017/{image.pop('file_name')}"
        image |= {"neg_category_ids": [12], "not_exhaustive_category_ids": []}
    for category in made["categories"]:
        category["frequency"] = "r"
    (tmp_path / "lvis_v1_val.json").write_text(json.dumps(made))
    found = read_coco(tmp_path / "lvis_v1_val.json", image_root=tmp_path)
    assert found.format == "lvis"
    assert found.image(0).file_name == "val2017/a.png"
    assert found.image(0).extra["neg_category_ids"] == [12]
    assert found.categories[0].extra == {"frequency": "r"}


def test_writing_lvis_counts_images_and_drops_crowds(coco_folder, tmp_path):
    losses = write_coco(read(coco_folder()), tmp_path / "out.json", file_names=["a.png", "b.png"], lvis=True)
    written = json.loads((tmp_path / "out.json").read_text())
    assert losses["crowd regions (LVIS has none)"] == 1
    assert [entry["id"] for entry in written["annotations"]] == [2, 1]
    assert [(entry["image_count"], entry["frequency"]) for entry in written["categories"]] == [(1, "r"), (1, "r")]
    assert written["images"][1]["neg_category_ids"] == []


@pytest.mark.parametrize("name", ["bccd", "coco_person_kp", "nuclei_dsb2018", "glue_tubes_kp"])
def test_real_sets_equal_what_pycocotools_reads(name, real, capsys):
    folder = real(name)
    found, judge = read_dataset(folder, split="val"), COCO(str(folder / "val.json"))
    capsys.readouterr()
    assert found.problems == ()
    assert sorted(judge.imgs) == sorted(found.image_id(index) for index in range(len(found)))
    for index in range(0, len(found), 5):
        expected = {entry["id"]: entry for entry in judge.imgToAnns[found.image_id(index)]}
        size = found.size(index)
        for info in found.objects(index):
            entry = expected.pop(info.id)
            assert info.box_xywh == tuple(entry["bbox"])
            assert found.categories[info.label].id == entry["category_id"]
            if "keypoints" in entry:
                assert info.keypoints.reshape(-1).tolist() == entry["keypoints"]
            if info.segment is not None:
                ours = coco_mask.merge(coco_mask.frPyObjects([ring.tolist() for ring in info.segment], *size))
                assert ours == judge.annToRLE(entry)
        assert not expected


def test_two_halves_of_an_index_are_the_whole(coco_folder):
    folder = coco_folder()
    joined = read_dataset(f"{folder}/train.json,{folder}/train.json")
    assert len(joined) == 4
    assert joined.num_objects == 6
    assert joined.path(0) == joined.path(2) == folder / "images" / "a.png"
