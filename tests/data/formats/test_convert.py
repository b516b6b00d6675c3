"""All ways between the formats: what both can hold comes back, what the new one cannot is counted."""

import itertools
import json
import math

import numpy as np
import pytest

from boxwright.data.formats.convert import FORMATS, write_dataset
from boxwright.data.formats.reading import read_all_splits, read_dataset
from boxwright.data.synth import generate
from boxwright.errors import ConfigError, DatasetError
from boxwright.geometry.masks import segment_to_bitmap


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "set"
    generate(folder, kind="shapes", images=6, seed=3, size=96, val_fraction=0.34)
    return folder


def convert(source, out, **options):
    return write_dataset(read_all_splits(source), out, **options)


def objects_by_image(annotations):
    """Stem of the picture -> (class name, box) of its objects without crowds, sorted."""
    found = {}
    for index in range(len(annotations)):
        stem = annotations.path(index).stem.removesuffix("_leftImg8bit")
        rows = [
            (annotations.class_names[info.label], *info.box_xywh)
            for info in annotations.objects(index)
            if not info.is_crowd
        ]
        found[stem] = sorted(rows)
    return found


def assert_same_objects(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for stem, rows in expected.items():
        assert len(found[stem]) == len(rows)
        unmatched = list(found[stem])
        for name, *box in rows:
            gaps = [np.abs(np.subtract(other, box)).max() if key == name else np.inf for key, *other in unmatched]
            assert min(gaps) <= tolerance, (stem, name, box, unmatched)
            del unmatched[int(np.argmin(gaps))]


# A segment of YOLO's has no box: it is drawn around the points, where the source's is drawn around whole pixels.
TOLERANCE = {"coco": 0.0, "lvis": 0.0, "voc": 1e-4, "yolo": 1.5}


@pytest.mark.parametrize("to", [name for name in FORMATS if name != "cityscapes"])
def test_boxes_and_classes_survive_each_format(to, shapes, tmp_path):
    before = read_all_splits(shapes)
    written = convert(shapes, tmp_path / "out", to=to)
    after = read_all_splits(tmp_path / "out")
    assert written.splits == {name: len(part) for name, part in before.items()} == {"train": 4, "val": 2}
    assert after.keys() == before.keys()
    for name, part in before.items():
        assert after[name].format == to
        assert all(after[name].path(index).is_file() for index in range(len(part)))
        assert_same_objects(objects_by_image(after[name]), objects_by_image(part), TOLERANCE[to])


def test_cityscapes_keeps_what_is_not_covered(shapes, tmp_path):
    before = read_all_splits(shapes)
    convert(shapes, tmp_path / "out", to="cityscapes")
    after = read_all_splits(tmp_path / "out")
    assert after.keys() == before.keys()
    for name, part in before.items():
        assert set(after[name].class_names) <= set(part.class_names)
        stems = {path.stem.removesuffix("_leftImg8bit"): index for index, path in enumerate(paths_of(after[name]))}
        for index, path in enumerate(paths_of(part)):
            cover, again = (union(*one) for one in ((part, index), (after[name], stems[path.stem])))
            assert (cover != again).sum() <= 0.08 * cover.sum()  # polygons are drawn with their border


def paths_of(annotations):
    return [annotations.path(index) for index in range(len(annotations))]


def union(annotations, index):
    size = annotations.size(index)
    bitmaps = [segment_to_bitmap(info.segment, size) for info in annotations.objects(index) if info.segment]
    return np.any([np.zeros(size, dtype=bool), *bitmaps], axis=0)


@pytest.mark.parametrize(("first", "second"), list(itertools.product(FORMATS, repeat=2)))
def test_every_format_is_converted_into_every_other(first, second, shapes, tmp_path):
    convert(shapes, tmp_path / "one", to=first, images="link")
    written = convert(tmp_path / "one", tmp_path / "two", to=second, images="link")
    assert written.splits == {"train": 4, "val": 2}
    after = read_all_splits(tmp_path / "two")
    assert all(part.problems == () for part in after.values())
    without_crowds = sum(len(rows) for part in after.values() for rows in objects_by_image(part).values())
    assert without_crowds == sum(
        len(rows) for part in read_all_splits(tmp_path / "one").values() for rows in objects_by_image(part).values()
    )


def test_names_lose_the_folders_of_the_old_layout(shapes, tmp_path):
    convert(shapes, tmp_path / "one", to="yolo")
    for to, place, count in (("yolo", "images/val", 2), ("voc", "JPEGImages", 6), ("coco", "images/val", 2)):
        convert(tmp_path / "one", tmp_path / to, to=to)
        assert len(list((tmp_path / to / place).glob("*.jpg"))) == count


@pytest.mark.parametrize("to", FORMATS)
def test_a_split_of_another_name_keeps_it(to, shapes, tmp_path):
    (shapes / "train.json").rename(shapes / "minival.json")
    try:
        convert(shapes, tmp_path / "out", to=to)
    finally:
        (shapes / "minival.json").rename(shapes / "train.json")
    assert {name: len(part) for name, part in read_all_splits(tmp_path / "out").items()} == {"minival": 4, "val": 2}


def test_folders_that_tell_pictures_apart_stay(coco_folder, tmp_path, picture):
    folder = coco_folder(
        lambda content: [image.update(file_name=f"day {image['id']}/images/a.png") for image in content["images"]]
    )
    for number, size in ((7, (40, 60)), (9, (50, 30))):
        picture(folder / "images" / f"day {number}" / "images" / "a.png", size)
    for to in ("yolo", "coco", "voc"):
        convert(folder, tmp_path / to, to=to)
        found = read_dataset(tmp_path / to)
        assert (len(found), found.problems) == (2, ())
        assert sorted(len(rows) for rows in map(found.objects, range(2))) == [1, 2 if to == "coco" else 1]


def test_objects_are_counted_without_those_left_out(shapes, tmp_path):
    for to in FORMATS:
        written = convert(shapes, tmp_path / to, to=to)
        after = read_all_splits(tmp_path / to)
        assert written.objects == sum(part.num_objects for part in after.values())


def test_masks_survive_yolo_to_the_area(shapes, tmp_path):
    convert(shapes, tmp_path / "out", to="yolo")
    before, after = read_dataset(shapes), read_dataset(tmp_path / "out")
    stems = {path.stem: index for index, path in enumerate(paths_of(after))}
    for index, path in enumerate(paths_of(before)):
        ours = [info for info in before.objects(index) if not info.is_crowd]
        for info, other in zip(ours, after.objects(stems[path.stem]), strict=True):
            bitmaps = [segment_to_bitmap(one.segment, before.size(index)) for one in (info, other)]
            assert (bitmaps[0] != bitmaps[1]).mean() < 0.002


def test_keypoints_go_to_yolo_and_back(tmp_path):
    generate(tmp_path / "set", kind="figures", images=3, seed=5, size=160, val_fraction=0.0)
    convert(tmp_path / "set", tmp_path / "yolo", to="yolo")
    before, after = read_dataset(tmp_path / "set"), read_dataset(tmp_path / "yolo")
    assert after.keypoint_names == before.keypoint_names
    assert set(after.flip_pairs) == {tuple(sorted(pair)) for pair in before.flip_pairs}
    count = 0
    for index in range(3):
        ours = [info for info in before.objects(index) if not info.is_crowd]
        for info, other in zip(ours, after.objects(index), strict=True):
            if info.keypoints is not None:
                labelled = info.keypoints * (info.keypoints[:, 2:] > 0)
                np.testing.assert_allclose(other.keypoints, labelled, atol=1e-4)
                count += 1
    assert count > 0


def test_keypoints_in_one_split_alone_go_to_yolo_and_back(tmp_path):
    generate(tmp_path / "set", kind="figures", images=2, seed=5, size=96, val_fraction=0.5)
    content = json.loads((tmp_path / "set" / "train.json").read_text())
    for entry in content["annotations"]:
        entry.pop("keypoints", None)
    (tmp_path / "set" / "train.json").write_text(json.dumps(content))
    convert(tmp_path / "set", tmp_path / "yolo", to="yolo")
    train, val = (read_dataset(tmp_path / "yolo", split=split) for split in ("train", "val"))
    assert (train.problems, val.problems) == ((), ())
    assert train.num_keypoints == val.num_keypoints == 17


@pytest.mark.parametrize("to", FORMATS)
def test_boxes_that_are_not_finite_are_left_out_and_counted(to, coco_folder, tmp_path):
    folder = coco_folder(
        lambda content: (
            content["annotations"][0].update(bbox=[1, 2, math.nan, 5], segmentation=[]),
            content["images"][0].update(note=math.inf),
        )
    )
    written = convert(folder, tmp_path / "out", to=to)
    assert written.losses["objects whose box is not finite, left out"] == 1
    after = read_dataset(tmp_path / "out")
    assert (after.num_objects, after.problems) == (written.objects, ())
    if to == "coco":
        assert after.image(0).extra == {"license": 3, "note": None}


def test_classes_that_are_background_in_cityscapes_are_counted(coco_folder, tmp_path):
    folder = coco_folder(lambda content: content["categories"][0].update(name="road"))
    losses = convert(folder, tmp_path / "out", to="cityscapes").losses
    assert losses["objects of classes that are background in Cityscapes"] == 2


def test_what_is_lost_is_counted(shapes, tmp_path):
    before = read_all_splits(shapes)
    infos = [info for part in before.values() for index in range(len(part)) for info in part.objects(index)]
    losses = convert(shapes, tmp_path / "out", to="voc").losses
    assert losses["masks (VOC's XML has boxes only)"] == sum(info.segment is not None for info in infos)
    assert losses["crowd regions, left out (VOC has none)"] == sum(info.is_crowd for info in infos)


def test_pictures_are_copied_or_linked_and_never_changed(shapes, tmp_path):
    before = {path.name: path.read_bytes() for path in (shapes / "images").iterdir()}
    for mode in ("copy", "link"):
        convert(shapes, tmp_path / mode, to="coco", images=mode)
        written = list((tmp_path / mode / "images").rglob("*.jpg"))
        assert {path.name: path.read_bytes() for path in written} == before
        assert all(path.is_symlink() == (mode == "link") for path in written)


def test_a_missing_picture_is_left_out_and_counted(coco_folder, tmp_path):
    folder = coco_folder()
    (folder / "images" / "a.png").unlink()
    written = convert(folder, tmp_path / "out", to="coco")
    assert written.plain()["losses"] == {"images whose file does not exist, left out": 1}
    assert written.splits == {"train": 1}


def test_pictures_that_lie_elsewhere_are_an_error_and_nothing_is_written(coco_folder, tmp_path):
    folder = coco_folder()
    (folder / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"none of the 2 pictures exists; first looked for: .*a\.png"):
        convert(folder, tmp_path / "out", to="coco")
    assert not (tmp_path / "out").exists()


SECRET = "root:x:0:0:root:/root:/bin/bash"


@pytest.mark.parametrize("to", ["coco", "voc", "yolo"])
@pytest.mark.parametrize("images", ["copy", "link"])
def test_files_of_the_machine_are_not_copied(images, to, coco_folder, tmp_path):
    (tmp_path / "passwd.png").write_text(SECRET)
    (tmp_path / "photo.png").write_bytes((coco_folder() / "images" / "a.png").read_bytes())

    def add_others(content):
        names = [str(tmp_path / "passwd.png"), "../../photo.png", "/proc/self/environ", "secret.png"]
        content["images"] += [{**content["images"][0], "id": 50 + k, "file_name": name} for k, name in enumerate(names)]

    folder = coco_folder(add_others)
    (folder / "images" / "secret.png").write_text(SECRET)
    done = write_dataset(read_all_splits(folder), tmp_path / "out", to=to, images=images)
    left_out = "images outside the data set's folder, for which --allow-outside is needed, left out"
    assert done.losses[left_out] == 3
    assert done.losses["images whose file is no picture, left out"] == 1
    assert done.splits == {"train": 2}
    assert all(b"root:x" not in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_pictures_outside_are_copied_where_that_is_allowed(coco_folder, tmp_path):
    (tmp_path / "photo.png").write_bytes((coco_folder() / "images" / "a.png").read_bytes())
    (tmp_path / "passwd.png").write_text(SECRET)
    names = iter(["../../photo.png", "../../passwd.png"])
    folder = coco_folder(lambda content: [entry.update(file_name=next(names)) for entry in content["images"]])
    with pytest.raises(
        DatasetError, match=r"all 2 pictures lie outside the data set's folder, as .*; --allow-outside copies"
    ):
        write_dataset(read_all_splits(folder), tmp_path / "out", to="coco")
    done = write_dataset(read_all_splits(folder), tmp_path / "out", to="coco", allow_outside=True)
    assert done.splits == {"train": 1}
    assert done.losses["images whose file is no picture, left out"] == 1


def test_a_name_that_points_outside_stays_below_the_new_folder(coco_folder, tmp_path):
    folder = coco_folder(lambda content: content["images"][0].update(file_name="../images/a.png"))
    convert(folder, tmp_path / "out", to="coco")
    assert (tmp_path / "out" / "images" / "train" / "a.png").is_file()


def test_a_full_folder_is_never_written_into(shapes, tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(DatasetError, match="exists and is not an empty folder; name a new one"):
        convert(shapes, tmp_path, to="coco")


def test_an_unknown_format_is_named(shapes, tmp_path):
    with pytest.raises(ConfigError, match="format is 'csv'; expected one of coco, lvis, voc, cityscapes, yolo"):
        convert(shapes, tmp_path / "out", to="csv")


@pytest.mark.parametrize("name", ["bccd", "coco_person_kp"])
@pytest.mark.parametrize("to", ["voc", "yolo", "lvis"])
def test_real_sets_keep_their_boxes(name, to, real, tmp_path):
    folder = real(name)
    convert(folder / "val.json", tmp_path / "out", to=to, images="link")
    before, after = read_dataset(folder, split="val"), read_dataset(tmp_path / "out", split="val")
    assert_same_objects(objects_by_image(after), objects_by_image(before), 1e-3)
