"""YOLO's texts: boxes, segments, poses; shares of the picture as pixels, and broken lines named by their number."""

import numpy as np
import pytest
import yaml

from boxwright.data.formats.reading import find_splits, read_dataset, read_splits
from boxwright.errors import DatasetError


@pytest.fixture
def yolo(tmp_path, picture):
    """-> a folder with data.yaml, images/train/a.png (60 wide, 40 high) and its text."""

    def make(text="0 0.5 0.5 0.5 0.25\n", **content):
        picture(tmp_path / "set" / "images" / "train" / "a.png")
        labels = tmp_path / "set" / "labels" / "train"
        labels.mkdir(parents=True)
        if text is not None:
            (labels / "a.txt").write_text(text)
        made = {"path": ".", "train": "images/train", "names": {0: "cat", 1: "dog"}} | content
        (tmp_path / "set" / "data.yaml").write_text(yaml.safe_dump(made))
        return tmp_path / "set"

    return make


def test_a_picture_without_a_text_has_no_objects(yolo):
    found = read_dataset(yolo(None))
    assert (len(found), found.num_objects, found.problems) == (1, 0, ())


def test_shares_become_pixels(yolo):
    found = read_dataset(yolo("0 0.5 0.5 0.5 0.25\n\n1 0.25 0.25 0.1 0.1\n"))
    first, second = found.objects(0)
    assert first.box_xywh == (15, 15, 30, 10)
    assert (second.label, found.class_names) == (1, ("cat", "dog"))
    assert found.image_id(0) == "images/train/a"


def test_a_segment_is_a_polygon_with_its_box(yolo):
    (info,) = read_dataset(yolo("1 0.1 0.1 0.5 0.1 0.5 0.5\n")).objects(0)
    np.testing.assert_allclose(info.segment[0], [6, 4, 30, 4, 30, 20])
    np.testing.assert_allclose(info.box_xywh, [6, 4, 24, 16])


@pytest.mark.parametrize(
    ("dimensions", "points", "expected"),
    [
        (3, "0.5 0.5 2 0.1 0.2 1 0.3 0.3 0", [[30, 20, 2], [6, 8, 1], [0, 0, 0]]),
        (2, "0.5 0.5 0.1 0.2 0 0", [[30, 20, 2], [6, 8, 2], [0, 0, 0]]),
    ],
)
def test_a_pose_has_keypoints_and_pairs(dimensions, points, expected, yolo):
    text = f"0 0.5 0.5 0.5 0.25 {points}\n"
    found = read_dataset(yolo(text, kpt_shape=[3, dimensions], flip_idx=[0, 2, 1]))
    (info,) = found.objects(0)
    np.testing.assert_allclose(info.keypoints, expected)
    assert found.flip_pairs == ((1, 2),)
    assert found.keypoint_names == ("point_0", "point_1", "point_2")


@pytest.mark.parametrize(
    ("line", "kind", "detail"),
    [
        ("cat 0.5 0.5 0.5 0.5", "malformed_object", "is not all numbers"),
        ("2 0.5 0.5 0.5 0.5", "unknown_category", "class 2; there are 2"),
        ("0.5 0.5 0.5 0.5 0.5", "unknown_category", "class 0.5; there are 2"),
        ("-1 0.5 0.5 0.5 0.5", "unknown_category", "class -1; there are 2"),
        ("0 0.5 nan 0.5 0.5", "malformed_object", "holds a number that is not finite"),
        ("inf 0.5 0.5 0.5 0.5", "unknown_category", "class inf; there are 2"),
        ("nan 0.5 0.5 0.5 0.5", "unknown_category", "class nan; there are 2"),
        ("0 0.5 0.5", "malformed_object", "2 numbers after the class; expected 4"),
        ("0 0.1 0.1 0.2 0.2 0.3 -99", "malformed_mask", "the polygon reaches far outside the image"),
        ("0 0.1 0.1 0.2 0.2 0.3", "malformed_mask", "5 numbers after the class; expected 4, or 3 and more points"),
    ],
)
def test_a_broken_line_is_left_out_and_named(line, kind, detail, yolo):
    found = read_dataset(yolo(f"0 0.5 0.5 0.5 0.25\n{line}\n"))
    (problem,) = found.problems
    assert problem["kind"] == kind
    assert problem["place"].endswith("labels/train/a.txt:2")
    assert detail in problem["detail"]
    assert found.num_objects == 1


def test_a_text_that_is_none_is_named(yolo):
    folder = yolo()
    (folder / "labels" / "train" / "a.txt").write_bytes(b"\xff\xfe\x00")
    assert [problem["kind"] for problem in read_dataset(folder).problems] == ["malformed_object"]


def test_a_picture_that_is_none_is_named(yolo):
    folder = yolo()
    (folder / "images" / "train" / "b.png").write_bytes(b"nothing")
    found = read_dataset(folder)
    assert [problem["kind"] for problem in found.problems] == ["corrupt_image"]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"names": {1: "cat"}}, "names is {1: 'cat'}; expected a list, or a mapping from 0 on"),
        ({"names": []}, "names is []; expected a list"),
        ({"kpt_shape": [3, 4]}, "kpt_shape is [3, 4]; expected [number of keypoints, 2 or 3]"),
        ({"kpt_shape": [3, 3], "flip_idx": [0, 1]}, "flip_idx is [0, 1]; expected each keypoint's number once"),
        (
            {"kpt_shape": [3, 3], "flip_idx": ["0", 1, 2]},
            "flip_idx is ['0', 1, 2]; expected each",
        ),
        ({"names": {0: "cat", "x": "dog"}}, "names is {0: 'cat', 'x': 'dog'}; expected a list"),
        ({"train": "pictures", "note": "long " * 1000}, "pictures does not exist"),
    ],
)
def test_a_yaml_that_makes_no_sense_is_one_error(content, message, yolo):
    with pytest.raises(DatasetError) as caught:
        read_dataset(yolo(**content))
    assert message in str(caught.value)


def test_a_yaml_that_is_none_is_one_line(yolo):
    folder = yolo()
    (folder / "data.yaml").write_text("names: [cat\ntrain: images\n")
    with pytest.raises(DatasetError) as caught:
        read_dataset(folder / "data.yaml")
    assert str(caught.value).startswith(f"{folder}/data.yaml cannot be read as YAML: ")
    assert "\n" not in str(caught.value)


def test_a_list_of_pictures_is_a_split(yolo, picture):
    folder = yolo(train="train.txt")
    (folder / "train.txt").write_text("./images/train/a.png\n")
    assert len(read_dataset(folder)) == 1
    picture(folder / "elsewhere" / "b.png")
    (folder / "train.txt").write_text("./images/train/a.png\n./elsewhere/b.png\n")
    assert len(read_dataset(folder)) == 2


def test_roboflow_s_path_beside_the_yaml_is_found(tmp_path, picture):
    picture(tmp_path / "train" / "images" / "a.png")
    (tmp_path / "train" / "labels").mkdir()
    (tmp_path / "train" / "labels" / "a.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"train": "../train/images", "names": ["cell"]}))
    (info,) = read_dataset(tmp_path).objects(0)
    assert info.box_xywh == (0, 0, 60, 40)


def test_folders_without_a_yaml_take_names_from_a_text_or_numbers(tmp_path, picture):
    for split in ("train", "val"):
        picture(tmp_path / "images" / split / "a.png")
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "labels" / split / "a.txt").write_text(f"{int(split == 'val')} 0.5 0.5 1 1\n")
    assert read_dataset(tmp_path, split="train").class_names == ("class_0", "class_1")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    splits = find_splits(tmp_path)
    assert sorted(splits) == ["train", "val"]
    assert read_splits([splits["val"]]).class_names == ("cat", "dog")


def test_a_changed_label_is_seen_below_another_folder_of_images(tmp_path, picture):
    root = tmp_path / "images" / "set"
    picture(root / "images" / "train" / "a.png")
    (root / "labels" / "train").mkdir(parents=True)
    (root / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 1 1\n")
    (root / "data.yaml").write_text(yaml.safe_dump({"train": "images/train", "names": ["cell"]}))
    assert read_dataset(root).num_objects == 1
    (root / "labels" / "train" / "a.txt").write_text("")
    assert read_dataset(root).num_objects == 0


def test_a_changed_label_is_seen_though_the_index_is_kept(yolo):
    folder = yolo()
    assert read_dataset(folder).num_objects == 1
    (folder / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.5 0.25\n1 0.5 0.5 0.5 0.5\n")
    assert read_dataset(folder).num_objects == 2
