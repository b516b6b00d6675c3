"""Folders told by what lies in them, Detectron's names, files given alone; what is missing is one clear error."""

import json

import pytest

from boxwright.data.formats.folder import canonical_split, recognise
from boxwright.data.formats.known import find_known
from boxwright.data.formats.reading import find_dataset, find_splits, read_all_splits, read_dataset
from boxwright.errors import DatasetError

EMPTY = '{"images": [], "annotations": [], "categories": []}'


def touch(root, *paths, text=EMPTY):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def places(root):
    return {
        name: (split.format, str(split.annotations.relative_to(root)), str(split.images.relative_to(root)))
        for name, split in recognise(root).items()
    }


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("valid", "val"),
        ("validation", "val"),
        ("instances_val2017", "val"),
        ("instances_minival2014", "minival"),
        ("instances_valminusminival2014", "valminusminival"),
        ("image_info_test-dev2017", "test-dev"),
        ("trainval", "trainval"),
        ("lvis_v1_train", "train"),
        ("strained", "strained"),
        ("all", "all"),
    ],
)
def test_the_word_of_the_split_is_found(name, split):
    assert canonical_split(name) == split


def test_pictures_beside_train_and_val(tmp_path):
    touch(tmp_path, "images/a.jpg", "train.json", "val.json")
    assert places(tmp_path) == {
        "train": ("coco", "train.json", "images"),
        "val": ("coco", "val.json", "images"),
    }


def test_coco_s_own_layout(tmp_path):
    touch(tmp_path, "train2017/a.jpg", "val2017/b.jpg")
    for split in ("train", "val"):
        for kind in ("instances", "captions", "person_keypoints"):
            touch(tmp_path, f"annotations/{kind}_{split}2017.json")
    touch(tmp_path, "annotations/image_info_test2017.json", "annotations/panoptic_val2017.json")
    assert places(tmp_path) == {
        "train": ("coco", "annotations/instances_train2017.json", "train2017"),
        "val": ("coco", "annotations/instances_val2017.json", "val2017"),
    }
    assert recognise(tmp_path, keypoints=True)["val"].annotations.name == "person_keypoints_val2017.json"


def test_the_halves_of_val2014_share_its_pictures(tmp_path):
    touch(tmp_path, "coco_train2014/a.jpg", "coco_val2014/b.jpg")
    touch(tmp_path, *(f"annotations/instances_{split}2014.json" for split in ("train", "minival", "valminusminival")))
    found = places(tmp_path)
    assert found["minival"][2] == found["valminusminival"][2] == "coco_val2014"
    assert found["train"][2] == "coco_train2014"
    minival = tmp_path / "annotations" / "instances_minival2014.json"
    minival.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    assert read_dataset(tmp_path, split="val").source == str(minival)


def test_roboflow_s_coco_layout(tmp_path):
    touch(
        tmp_path, *(f"{split}/{name}" for split in ("train", "valid") for name in ("a.jpg", "_annotations.coco.json"))
    )
    assert places(tmp_path) == {
        "train": ("coco", "train/_annotations.coco.json", "train"),
        "val": ("coco", "valid/_annotations.coco.json", "valid"),
    }


def test_an_archive_with_one_folder_inside_is_looked_into(tmp_path):
    touch(tmp_path, "set/images/a.jpg", "set/train.json")
    assert places(tmp_path) == {"train": ("coco", "set/train.json", "set/images")}


def test_two_files_for_one_split_ask_for_one(tmp_path):
    touch(tmp_path, "a.jpg", "train_a.json", "train_b.json")
    with pytest.raises(DatasetError, match=r"2 files for the split 'train': train_a\.json, train_b\.json; give"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("name", "annotations", "images"),
    [
        ("coco_2014_minival", "coco/annotations/instances_minival2014.json", "coco/coco_val2014"),
        ("coco_2014_valminusminival", "coco/annotations/instances_valminusminival2014.json", "coco/coco_val2014"),
        ("coco_2017_train", "coco/annotations/instances_train2017.json", "coco/train2017"),
        ("coco_2017_val_100", "coco/annotations/instances_val2017_100.json", "coco/val2017"),
        ("keypoints_coco_2017_train", "coco/annotations/person_keypoints_train2017.json", "coco/train2017"),
        ("keypoints_coco_2014_minival", "coco/annotations/person_keypoints_minival2014.json", "coco/coco_val2014"),
        ("coco_2017_val", "annotations/instances_val2017.json", "val2017"),
        ("lvis_v1_train", "lvis/lvis_v1_train.json", "coco"),
        ("voc_2007_trainval", "VOC2007", "VOC2007"),
        ("voc_2012_train", "VOCdevkit/VOC2012", "VOCdevkit/VOC2012"),
        ("cityscapes_fine_instance_seg_val", "cityscapes", "cityscapes"),
    ],
)
def test_detectron_s_names_are_found_under_the_root(name, annotations, images, tmp_path):
    (tmp_path / images).mkdir(parents=True, exist_ok=True)
    if annotations.endswith(".json"):
        touch(tmp_path, annotations)
    elif "VOC" in annotations:
        touch(tmp_path, f"{annotations}/ImageSets/Main/{name.split('_')[-1]}.txt")
    else:
        (tmp_path / annotations / "gtFine" / "val").mkdir(parents=True)
    split = find_known(name, root=tmp_path)
    assert (split.annotations, split.images) == (tmp_path / annotations, tmp_path / images)


def test_the_root_may_be_named_by_the_environment(tmp_path, monkeypatch):
    touch(tmp_path, "coco/annotations/instances_val2017.json")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert sorted(find_splits("coco_2017_val")) == ["val"]
    assert len(read_dataset("coco_2017_val")) == 0


def test_a_known_name_that_is_not_there_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(DatasetError) as caught:
        read_dataset("coco_2017_val", root=tmp_path)
    assert f"{tmp_path}/coco/annotations/instances_val2017.json" in str(caught.value)
    assert "data.root or $BOXWRIGHT_DATA" in str(caught.value)


def test_a_folder_with_nothing_known_lists_what_is_known(tmp_path):
    with pytest.raises(DatasetError, match=r"no known data layout\. Known are images/ with train\.json and val\.json"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing", "is neither a folder, a file nor a known data set such as coco_2017_val"),
        ("notes.txt", "expected a folder, a COCO .json or a YOLO .yaml"),
    ],
)
def test_a_source_that_is_none_is_one_error(source, message, tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DatasetError) as caught:
        read_dataset(tmp_path / source)
    assert str(caught.value).startswith(str(tmp_path / source))
    assert message in str(caught.value)


def test_a_split_that_is_missing_names_those_there_are(tmp_path):
    touch(tmp_path, "a.jpg", "train.json", "val.json")
    with pytest.raises(DatasetError, match="has no split 'test'; it has train, val"):
        read_dataset(tmp_path, split="test")


def test_classes_can_be_given_and_unknown_ones_are_an_error(coco_folder):
    folder = coco_folder()
    found = read_dataset(folder, class_names=["bird", "cat", "dog"])
    assert [info.label for info in found.objects(0)] == [2, 1]
    with pytest.raises(DatasetError, match="dog"):
        read_dataset(folder, class_names=["cat"])


def test_sets_are_joined_by_class_names(coco_folder):
    def change(content):
        for category in content["categories"]:
            category["id"] = {30: 1, 12: 2}[category["id"]]
        for entry in content["annotations"]:
            entry["category_id"] = {30: 1, 12: 2}[entry["category_id"]]

    first, second = coco_folder(name="one"), coco_folder(change, name="two")
    joined = read_dataset(f"{first}, {second}")
    names = [[joined.class_names[info.label] for info in joined.objects(index)] for index in range(4)]
    assert names == [["dog", "cat"], ["cat"], ["dog", "cat"], ["cat"]]
    assert [joined.image_id(index) for index in range(4)] == ["0/7", "0/9", "1/7", "1/9"]


def test_sets_are_joined_split_by_split(coco_folder):
    first, second = coco_folder(name="one"), coco_folder(name="two")
    (second / "val.json").write_text((second / "train.json").read_text())
    splits = read_all_splits(f"{first},{second}")
    assert {name: len(part) for name, part in splits.items()} == {"train": 4, "val": 2}
    assert len(read_dataset(f"{first},{second}", split="val")) == 2
    with pytest.raises(DatasetError, match="one has no split 'test'"):
        read_dataset(f"{first},{second}", split="test")


@pytest.mark.parametrize(
    ("files", "source", "expected"),
    [
        (["train.json", "val.json"], ".", True),
        (["instances_train2014.json", "instances_minival2014.json"], ".", True),
        (["train.json", "test.json"], ".", False),
        (["val.json"], ".", False),  # a single split is what is trained on
        (["train.json", "val.json"], "val.json", False),
    ],
)
def test_what_is_found_tells_whether_there_is_a_part_to_measure_on(files, source, expected, tmp_path):
    touch(tmp_path, "a.jpg", *files)
    assert find_dataset(tmp_path / source).has_val == expected
    assert find_dataset(f"{tmp_path / source},{tmp_path / source}").has_val == expected


def test_a_folder_s_own_name_may_hold_a_comma(coco_folder):
    assert len(read_dataset(coco_folder(name="cats, dogs"))) == 2


def test_sets_with_a_strange_class_are_not_joined(coco_folder):
    first = coco_folder(name="one")
    second = coco_folder(lambda content: content["categories"][0].update(name="cow"), name="two")
    with pytest.raises(DatasetError, match="has objects of cow"):
        read_dataset(f"{first},{second}")


def test_a_file_alone_finds_its_pictures(tmp_path, picture):
    picture(tmp_path / "val2017" / "b.png")
    image = {"id": 1, "file_name": "b.png", "height": 40, "width": 60}
    text = json.dumps({"images": [image], "annotations": [], "categories": []})
    touch(tmp_path, "annotations/instances_val2017.json", text=text)
    assert read_dataset(tmp_path / "annotations" / "instances_val2017.json").path(0).is_file()
