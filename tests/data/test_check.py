"""Every kind of problem is found where it was put; the repaired copy is clean and the original untouched."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from boxwright.data import check_images
from boxwright.data.check import check_dataset
from boxwright.data.formats.reading import read_dataset
from boxwright.data.image_files import list_images
from boxwright.data.problems import KINDS
from boxwright.data.repair import repair_dataset


def first_object(**fields):
    return lambda content, folder: content["annotations"][0].update(fields)


def first_image(**fields):
    return lambda content, folder: content["images"][0].update(fields)


def ring(*points):
    return {"segmentation": [list(points)]}


def add_copy_of_object(content, folder):
    content["annotations"].append({**content["annotations"][0], "id": 99})


def repeat_object_id(content, folder):
    content["annotations"].append({**content["annotations"][0], "bbox": [3, 3, 9, 18], "segmentation": []})


def repeat_image_id(content, folder):
    content["images"].append({**content["images"][0], "file_name": "b.png"})


def add_class(content, folder):
    content["categories"].append({"id": 50, "name": "unicorn"})


def repeat_class(content, folder):
    content["categories"].append({"id": 12, "name": "wolf"})


def point_outside(content, folder):
    (folder / "images" / "a.png").rename(folder.parent / "a.png")
    content["images"][0]["file_name"] = "../../a.png"


def remove_picture(content, folder):
    (folder / "images" / "a.png").unlink()


def break_picture(content, folder):
    (folder / "images" / "a.png").write_bytes(b"no picture")


def cut_jpeg(content, folder):
    _, encoded = cv2.imencode(".jpg", np.zeros((40, 60, 3), dtype=np.uint8))
    (folder / "images" / "a.jpg").write_bytes(encoded.tobytes()[:-40])
    (folder / "images" / "a.png").unlink()
    content["images"][0]["file_name"] = "a.jpg"


def turn_picture(content, folder):
    """Stored 40 high and 60 wide, as the annotations say, with a tag that turns it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(folder / "images" / "a.png").save(folder / "images" / "a.jpg", exif=exif, quality=95)
    (folder / "images" / "a.png").unlink()
    content["images"][0]["file_name"] = "a.jpg"


def copy_picture(content, folder):
    data = (folder / "images" / "a.png").read_bytes()
    (folder / "images" / "c.png").write_bytes(data)
    content["images"].append({"id": 11, "file_name": "c.png", "height": 40, "width": 60})


def leak_picture(content, folder):
    (folder / "images" / "c.png").write_bytes((folder / "images" / "a.png").read_bytes())
    image = {"id": 11, "file_name": "c.png", "height": 40, "width": 60}
    (folder / "val.json").write_text(json.dumps({"images": [image], "annotations": [], "categories": []}))


def add_picture(content, folder):
    cv2.imwrite(str(folder / "images" / "new.png"), np.zeros((9, 9, 3), dtype=np.uint8))


def move_keypoint(content, folder):
    content["categories"][0]["keypoints"] = ["tip", "base"]
    content["annotations"][0]["keypoints"] = [3, 4, 2, 25, 49, 2]


def break_keypoints(content, folder):
    move_keypoint(content, folder)
    content["annotations"][0]["keypoints"] = [1]


def add_tiny_ring(content, folder):
    content["annotations"][0]["segmentation"].append([3, 3, 3.5, 3, 3.5, 3.5])


CASES = [
    ("malformed_image", first_image(height=None)),
    ("malformed_object", first_object(iscrowd="no")),
    ("malformed_box", first_object(bbox=[1, 2])),
    ("malformed_mask", first_object(**ring(1, 2, 3))),
    ("malformed_keypoints", break_keypoints),
    ("wrong_rle", first_object(segmentation={"size": [30, 50], "counts": [1500]})),
    ("unknown_image", first_object(image_id=404)),
    ("unknown_category", first_object(category_id=404)),
    ("duplicate_image_id", repeat_image_id),
    ("duplicate_object_id", repeat_object_id),
    ("duplicate_category", repeat_class),
    ("duplicate_object", add_copy_of_object),
    ("unused_category", add_class),
    ("missing_image", remove_picture),
    ("corrupt_image", break_picture),
    ("corrupt_image", cut_jpeg),
    ("wrong_size", first_image(height=41)),
    ("exif_rotation", turn_picture),
    ("duplicate_image", copy_picture),
    ("leaked_image", leak_picture),
    ("unlisted_image", add_picture),
    ("outside_image", point_outside),
    ("nan_box", first_object(bbox=[float("nan"), 2, 10, 20])),
    ("empty_box", first_object(bbox=[1.5, 2, 0, 20])),
    ("empty_box", first_object(bbox=[1.5, 2, -10, 20])),
    ("outside_box", first_object(bbox=[25, 2, 10, 20], **ring(25, 2, 30, 2, 30, 22, 25, 22))),
    ("tiny_polygon", add_tiny_ring),
    ("crossing_polygon", first_object(**ring(1.5, 2, 11.5, 22, 11.5, 2, 1.5, 18))),
    ("outside_polygon", first_object(bbox=[20, 2, 10, 20], **ring(20, 2, 35, 2, 35, 22, 20, 22))),
    ("mask_without_box", first_object(bbox=[18, 30, 10, 18])),
    ("outside_keypoints", move_keypoint),
]  # fmt: skip
NAMES = [f"{kind}-{number}" for number, (kind, _) in enumerate(CASES)]


@pytest.fixture
def broken(coco_folder):
    """-> the folder with one thing changed in it."""

    def make(change):
        folder = coco_folder()
        content = json.loads((folder / "train.json").read_text())
        change(content, folder)
        (folder / "train.json").write_text(json.dumps(content))
        return folder

    return make


def test_a_clean_set_is_clean(coco_folder):
    report = check_dataset(coco_folder())
    assert report.is_clean
    assert report.problems.counts() == {}
    assert report.plain()["splits"] == {"train": {"images": 2, "objects": 3, "format": "coco"}}


@pytest.mark.parametrize(("kind", "change"), CASES, ids=NAMES)
def test_each_kind_is_found_alone(kind, change, broken):
    counts = check_dataset(broken(change)).problems.counts()
    allowed = {
        "malformed_image": {"unknown_image", "unlisted_image", "unused_category"},  # its objects, picture and class
        "wrong_size": {"wrong_rle"},  # run lengths are as large as the image
    }
    assert counts.pop(kind) >= 1
    assert set(counts) <= allowed.get(kind, set())


def test_every_kind_but_voc_s_missing_file_has_a_case():
    assert {kind for kind, _ in CASES} | {"missing_annotation"} == set(KINDS)


@pytest.mark.parametrize(("kind", "change"), CASES, ids=NAMES)
def test_the_repaired_copy_is_clean_and_the_original_untouched(kind, change, broken, tmp_path):
    folder = broken(change)
    before = digest(folder)
    repair_dataset(check_dataset(folder), tmp_path / "fixed")
    again = check_dataset(tmp_path / "fixed")
    assert again.is_clean, again.problems.found
    assert kind not in again.problems.counts() or kind in ("unused_category", "crossing_polygon", "outside_keypoints")
    assert digest(folder) == before
    assert sum(len(part) for part in again.splits.values()) >= 1


def digest(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_examples_say_where(broken):
    folder = broken(first_object(bbox=[25, 2, 10, 20], **ring(25, 2, 30, 2, 30, 22, 25, 22)))
    report = check_dataset(folder).plain()
    assert report["clean"] is False
    (example,) = report["problems"]["outside_box"]["examples"]
    assert example == {
        "kind": "outside_box",
        "split": "train",
        "place": "b.png: object[0] (id 1)",
        "detail": "x, y, width, height [25.0, 2.0, 10.0, 20.0]; the image is 30 wide, 50 high",
    }


def test_a_repaired_box_is_clipped_and_a_broken_one_drawn_around_its_mask(broken, tmp_path):
    folder = broken(first_object(bbox=[float("nan"), 2, 10, 20]))
    repair_dataset(check_dataset(folder), tmp_path / "fixed")
    (info,) = read_dataset(tmp_path / "fixed").objects(1)
    assert info.box_xywh == (1.5, 2, 10, 20)


def test_a_turned_picture_keeps_its_pixels_where_they_were(broken, tmp_path):
    folder = broken(turn_picture)
    repair_dataset(check_dataset(folder), tmp_path / "fixed")
    (written,) = (tmp_path / "fixed").rglob("a.jpg")
    with Image.open(folder / "images" / "a.jpg") as old, Image.open(written) as new:
        assert new.getexif().get(0x0112) == 1
        np.testing.assert_array_equal(np.asarray(old), np.asarray(new))
    assert read_dataset(tmp_path / "fixed").size(0) == (40, 60)


def test_a_keypoint_outside_the_image_is_unlabelled_by_the_repair(broken, tmp_path):
    def change(content, folder):
        move_keypoint(content, folder)
        content["annotations"][0]["keypoints"] = [3, 4, 2, 35, 49, 2]

    repair_dataset(check_dataset(broken(change)), tmp_path / "fixed")
    (info,) = read_dataset(tmp_path / "fixed").objects(1)
    assert info.keypoints.tolist() == [[3, 4, 2], [0, 0, 0]]


def test_without_pictures_only_the_annotations_are_checked(broken):
    report = check_dataset(broken(remove_picture), with_images=False)
    assert report.problems.counts() == {}


@pytest.mark.parametrize("name", ["bccd", "coco_person_kp"])
def test_real_sets_repair_to_clean_ones(name, real, tmp_path):
    repair_dataset(check_dataset(real(name) / "val.json"), tmp_path / "fixed")
    assert check_dataset(tmp_path / "fixed").is_clean


def test_pictures_outside_are_named_and_nothing_is_looked_for_beside_them(coco_folder, tmp_path, monkeypatch):
    for name in ("photo.png", "neighbour.png"):
        (tmp_path / name).write_bytes((coco_folder() / "images" / "a.png").read_bytes())
    names = iter([str(tmp_path / "photo.png"), "/nonexistent.png"])
    folder = coco_folder(lambda content: [entry.update(file_name=next(names)) for entry in content["images"]])
    looked_into = []
    monkeypatch.setattr(check_images, "list_images", lambda place: looked_into.append(place) or list_images(place))
    report = check_dataset(folder)
    assert all(place.is_relative_to(folder) for place in looked_into)
    found = {problem.place: problem.kind for problem in report.problems if problem.kind.endswith("_image")}
    assert found["/nonexistent.png"] == "missing_image"
    outside = {problem.place for problem in report.problems.of("outside_image")}
    assert outside == {str(tmp_path / "photo.png"), "/nonexistent.png"}
    assert not any("neighbour" in problem.place for problem in report.problems)


def test_a_joined_set_may_have_folders_of_its_own_and_nothing_else(coco_folder, tmp_path):
    folder = coco_folder(lambda content: content["images"][0].update(file_name="/nonexistent.png"))
    report = check_dataset(f"{folder},{coco_folder(name='other')}")
    assert [problem.place for problem in report.problems.of("outside_image")] == ["/nonexistent.png"]
    assert {Path(problem.place).name for problem in report.problems.of("unlisted_image")} == {"a.png"}
