"""The written data sets: layout, exactness against pycocotools, the same bytes from the same seed, errors."""

import contextlib
import hashlib
import io
import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from boxwright.data import synth
from boxwright.errors import DatasetError


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def open_coco(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(path)


@pytest.fixture(scope="module", params=synth.KINDS)
def written(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("synth") / request.param
    return synth.generate(out, kind=request.param, images=12, seed=3, size=192, val_fraction=0.25)


def test_the_folder_holds_images_train_and_val(written):
    names = [path.name for path in sorted((written.folder / "images").iterdir())]
    suffix = ".png" if written.kind == "cells" else ".jpg"
    assert names == [f"{number:06d}{suffix}" for number in range(1, 13)]
    assert (written.num_train, written.num_val) == (9, 3)
    files = []
    for split, expected in (("train", 9), ("val", 3)):
        content = json.loads((written.folder / f"{split}.json").read_text())
        assert len(content["images"]) == expected
        assert tuple(category["name"] for category in content["categories"]) == written.categories
        files += [image["file_name"] for image in content["images"]]
    assert files == names
    assert cv2.imread(str(written.folder / "images" / names[0])).shape == (192, 192, 3)


def test_masks_areas_and_boxes_are_those_of_the_visible_pixels(written):
    forms = set()
    for split in ("train", "val"):
        coco = open_coco(written.folder / f"{split}.json")
        for image in coco.dataset["images"]:
            scene = synth.draw_scene(written.kind, size=192, seed=3, index=image["id"] - 1)
            things = [index for index, thing in enumerate(scene.things) if thing.category is not None]
            annotations = coco.imgToAnns[image["id"]]
            assert len(annotations) == len(things) > 0
            for index, annotation in zip(things, annotations, strict=True):
                mask = scene.visible_mask(index)
                np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), mask)
                rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
                x, y = columns[0], rows[0]
                assert annotation["area"] == mask.sum()
                assert annotation["bbox"] == [x, y, columns[-1] - x + 1, rows[-1] - y + 1]
                assert annotation["category_id"] == scene.things[index].category + 1
                forms.add(type(annotation["segmentation"]).__name__)
    assert "list" in forms


def test_ids_of_train_and_val_do_not_clash(written):
    ids = [
        annotation["id"]
        for split in ("train", "val")
        for annotation in json.loads((written.folder / f"{split}.json").read_text())["annotations"]
    ]
    assert len(ids) == len(set(ids)) == written.num_annotations


def test_the_same_seed_gives_the_same_bytes_whatever_the_processors(written, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    again = synth.generate(tmp_path / "again", kind=written.kind, images=12, seed=3, size=192, val_fraction=0.25)
    assert digest(again.folder) == digest(written.folder)


def test_another_seed_gives_other_pictures(written, tmp_path):
    other = synth.generate(tmp_path / "other", kind=written.kind, images=2, seed=4, size=192)
    first = next(iter(sorted((other.folder / "images").iterdir())))
    assert first.read_bytes() != (written.folder / "images" / first.name).read_bytes()


def test_a_picture_does_not_depend_on_how_many_others_there_are(written, tmp_path):
    small = synth.generate(tmp_path / "small", kind=written.kind, images=2, seed=3, size=192)
    for path in (small.folder / "images").iterdir():
        assert path.read_bytes() == (written.folder / "images" / path.name).read_bytes()


def test_on_image_is_called_once_per_picture(tmp_path):
    calls = []
    synth.generate(tmp_path / "x", kind="shapes", images=3, seed=0, size=64, on_image=lambda: calls.append(1))
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 0}, "images 0: expected at least 1"),
        ({"kind": "cats"}, "kind 'cats': expected one of shapes, cells, figures"),
        ({"size": 31}, "size 31: expected at least 32 pixels"),
        ({"seed": -1}, "seed -1: expected 0 or more"),
        ({"val_fraction": 1.5}, "val_fraction 1.5: expected a number from 0 to 1"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_written(change, message, tmp_path):
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        synth.generate(tmp_path / "out", **({"kind": "shapes", "images": 1, "seed": 0} | change))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    message = f"{tmp_path}: is not empty; give another folder, or --overwrite to replace a synthetic set there"
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        synth.generate(tmp_path, kind="shapes", images=1, seed=0)
    message = f"{tmp_path}: holds something other than a synthetic set and is left alone; give another folder"
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}$"):
        synth.generate(tmp_path, kind="shapes", images=1, seed=0, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_somebody_elses_coco_folder_is_not_overwritten(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "train.json").write_text('{"info": {"description": "holiday photos"}}')
    with pytest.raises(DatasetError, match="is left alone"):
        synth.generate(tmp_path, kind="shapes", images=1, seed=0, overwrite=True)


def test_overwrite_replaces_a_whole_synthetic_set(tmp_path):
    synth.generate(tmp_path / "out", kind="shapes", images=3, seed=0, size=64)
    synth.generate(tmp_path / "out", kind="cells", images=1, seed=0, size=64, overwrite=True)
    assert [path.name for path in (tmp_path / "out" / "images").iterdir()] == ["000001.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_nothing_behind(tmp_path):
    def fail() -> None:
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        synth.generate(tmp_path / "out", kind="shapes", images=2, seed=0, size=64, on_image=fail)
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_used(tmp_path):
    synth.generate(tmp_path, kind="shapes", images=1, seed=0, size=64)
    assert {path.name for path in tmp_path.iterdir()} == {"images", "train.json", "val.json"}
