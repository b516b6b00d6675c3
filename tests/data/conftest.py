"""Small data sets on disk, a cache of its own for each test, and the real sets where they are."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

REAL = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test sees an index that another one left."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("BOXWRIGHT_CACHE", str(folder))
    return folder


@pytest.fixture
def real():
    """-> the path of a real set; the test is skipped where it is not."""

    def find(name):
        if not (REAL / name).is_dir():
            pytest.skip(f"the real data set {name} is not beside this checkout")
        return REAL / name

    return find


@pytest.fixture
def picture():
    """Writes a picture whose pixels come from a seed."""

    def write(path, size=(40, 60), seed=0):
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(path), levels)
        return path

    return write


@pytest.fixture
def content():
    """A COCO object to break: two images, three objects of two classes whose ids have gaps."""

    def make():
        return {
            "info": {"description": "by hand"},
            "images": [
                {"id": 7, "file_name": "a.png", "height": 40, "width": 60, "license": 3},
                {"id": 9, "file_name": "b.png", "height": 50, "width": 30},
            ],
            "categories": [{"id": 30, "name": "cat"}, {"id": 12, "name": "dog", "supercategory": "animal"}],
            "annotations": [
                {
                    "id": 1,
                    "image_id": 9,
                    "category_id": 30,
                    "bbox": [1.5, 2, 10, 20],
                    "area": 150.25,
                    "iscrowd": 0,
                    "segmentation": [[1.5, 2, 11.5, 2, 11.5, 22, 1.5, 22]],
                },
                {
                    "id": 2,
                    "image_id": 7,
                    "category_id": 12,
                    "bbox": [5, 5, 30, 30],
                    "area": 212.5,
                    "iscrowd": 0,
                    "segmentation": [[5, 5, 25, 5, 25, 15, 5, 15], [30, 30, 35, 30, 35, 35]],
                    "score": 0.5,
                },
                {
                    "id": 3,
                    "image_id": 7,
                    "category_id": 30,
                    "bbox": [0, 0, 1, 40],
                    "area": 40,
                    "iscrowd": 1,
                    "segmentation": {"size": [40, 60], "counts": [0, 40, 2360]},
                },
            ],
        }

    return make


@pytest.fixture
def coco_folder(tmp_path, picture, content):
    """-> a folder with images/ and train.json of `content`, changed first by a function."""

    def make(change=lambda content: None, name="set"):
        folder = tmp_path / name
        written = content()
        change(written)
        picture(folder / "images" / "a.png", (40, 60), seed=1)
        picture(folder / "images" / "b.png", (50, 30), seed=2)
        (folder / "train.json").write_text(json.dumps(written))
        return folder

    return make
