"""The judge, pycocotools, and random cases to bring before it."""

import contextlib
import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

JUDGED_AS = {"box": "bbox", "mask": "segm", "keypoint": "keypoints"}
SHARED = Path(__file__).parents[3] / "shared" / "data" / "coco_eval"


def ask_pycocotools(annotations: dict, results: list[dict], kind: str, sigmas: Any = None) -> COCOeval:
    """Evaluates copies. Results of unlisted images are given to it too: it must leave them out by itself."""
    truth = COCO()
    truth.dataset = copy.deepcopy(annotations)
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        listed = list(truth.getImgIds())
        found = COCO()
        if results:
            wider = COCO()
            wider.dataset = copy.deepcopy(annotations)
            wider.dataset["images"] += [{"id": r["image_id"]} for r in results if r["image_id"] not in listed]
            wider.createIndex()
            found = wider.loadRes(copy.deepcopy(results))
        evaluation = COCOeval(truth, found, JUDGED_AS[kind])
        evaluation.params.imgIds = listed
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def assert_same_as_judge(figures: Any, judge: COCOeval) -> None:
    """Every figure and every element of the three arrays; the arrays to the last bit."""
    np.testing.assert_array_equal(figures.curves.precision, judge.eval["precision"])
    np.testing.assert_array_equal(figures.curves.recall, judge.eval["recall"])
    np.testing.assert_array_equal(figures.curves.scores, judge.eval["scores"])
    np.testing.assert_allclose(figures.stats, judge.stats, rtol=0, atol=1e-12)


@pytest.fixture
def judge() -> Callable[..., COCOeval]:
    return ask_pycocotools


@pytest.fixture
def same_as_judge() -> Callable[..., None]:
    return assert_same_as_judge


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the shared evaluation data is not beside this checkout")
    return SHARED


def ellipse_polygon(box: Any, points: int = 11) -> list[float]:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    x, y = box[0] + box[2] / 2 * (1 + np.cos(angle)), box[1] + box[3] / 2 * (1 + np.sin(angle))
    return np.stack([x, y], axis=1).round(2).ravel().tolist()


def text_rle(rle: dict) -> dict:
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


class CaseMaker:
    """Random annotations and detections: near and far boxes, ties in score, crowds, empty images and classes."""

    def __init__(self, seed: int, *, images: int = 6, classes: int = 4, size: int = 160, points: int = 17) -> None:
        self.random = np.random.default_rng(seed)
        self.num_images, self.num_classes, self.size, self.points = images, classes, size, points

    def boxes(self, count: int) -> np.ndarray:
        extent = np.exp(self.random.uniform(1, np.log(self.size * 0.9), (count, 2)))
        corner = self.random.random((count, 2)) * (self.size - extent)
        return np.concatenate([corner, extent], axis=1).round(1)

    def pose(self, box: np.ndarray) -> np.ndarray:
        """(P, 3) points in a box, some of them invisible."""
        place = box[:2] + self.random.random((self.points, 2)) * box[2:]
        return np.column_stack([place.round(1), self.random.integers(0, 3, self.points)])

    def annotations(self, per_image: int = 8, crowd: float = 0.1) -> dict:
        records = []
        for image in range(self.num_images):
            count = self.random.integers(0, per_image + 1)
            for box in self.boxes(count):
                points = self.pose(box) if self.random.random() < 0.8 else np.zeros((self.points, 3))
                is_crowd = bool(self.random.random() < crowd)
                records.append(
                    {
                        "id": len(records) + 1,
                        "image_id": 10 * image + 3,
                        "category_id": int(self.random.integers(1, self.num_classes + 1)) * 2,
                        "bbox": box.tolist(),
                        "area": float((box[2] * box[3] * 0.8).round(1)),
                        "iscrowd": int(is_crowd),
                        "segmentation": self.region(box, as_runs=is_crowd),
                        "keypoints": points.ravel().tolist(),
                        "num_keypoints": int((points[:, 2] > 0).sum()),
                    }
                )
        self.random.shuffle(records)
        return {
            "images": [{"id": 10 * i + 3, "height": self.size, "width": self.size} for i in range(self.num_images)],
            "annotations": records,
            "categories": [{"id": 2 * c, "name": f"class {c}"} for c in range(1, self.num_classes + 2)],
        }

    def region(self, box: Any, as_runs: bool) -> Any:
        polygon = [ellipse_polygon(box)]
        if not as_runs:
            return polygon
        bitmap = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygon, self.size, self.size)))
        flat = bitmap.ravel(order="F")
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [2]])))
        return {"size": [self.size, self.size], "counts": np.diff(np.concatenate([[0], edges])).tolist()}

    def results(self, annotations: dict, kind: str, per_image: int = 12) -> list[dict]:
        """Shaken copies of annotations and inventions, with scores of few values so that many are equal."""
        records = []
        for image in annotations["images"]:
            near = [a for a in annotations["annotations"] if a["image_id"] == image["id"]]
            for invented in self.boxes(self.random.integers(0, per_image + 1)):
                source = near[self.random.integers(len(near))] if near and self.random.random() < 0.7 else None
                records.append(self.result(source, image["id"], invented, kind))
        self.random.shuffle(records)
        return records

    def result(self, source: dict | None, image_id: int, invented: np.ndarray, kind: str) -> dict:
        box = invented
        if source is not None:
            box = np.array(source["bbox"]) * (1 + self.random.normal(0, 0.05, 4) * self.random.integers(0, 2))
        category = source["category_id"] if source else int(self.random.integers(1, self.num_classes + 2)) * 2
        record = {"image_id": image_id, "category_id": category, "score": float(self.random.integers(0, 12) / 12)}
        box = np.concatenate([box[:2].clip(0, self.size - 6), box[2:]]).round(1)
        box[2:] = np.minimum(box[2:], self.size - box[:2]).clip(2)
        if kind == "box":
            return record | {"bbox": box.tolist()}
        if kind == "mask":
            rle = coco_mask.merge(coco_mask.frPyObjects([ellipse_polygon(box)], self.size, self.size))
            return record | {"segmentation": text_rle(rle)}
        points = self.pose(box)
        if source is not None and any(source["keypoints"]):
            points = np.array(source["keypoints"]).reshape(-1, 3)
            points[:, :2] += self.random.normal(0, 3, (self.points, 2)).round(1) * self.random.integers(0, 2)
        return record | {"keypoints": points.ravel().tolist()}


@pytest.fixture
def make_case() -> type[CaseMaker]:
    return CaseMaker
