"""Detections streamed image by image give what a file gives, in any order and in little memory."""

import tracemalloc

import numpy as np
import pytest
import torch

from boxwright.errors import DatasetError, ShapeError
from boxwright.evaluation import Evaluator, Timing, evaluate_coco, read_ground_truth
from boxwright.evaluation.detections import read_detections
from boxwright.types import Detections, Masks


def by_image(results):
    images = {}
    for record in results:
        images.setdefault(record["image_id"], []).append(record)
    return images


def add_all(evaluator, results, truth):
    for image_id, records in by_image(results).items():
        evaluator.add(
            image_id,
            boxes_xywh=np.array([r.get("bbox", [0, 0, 1, 1]) for r in records]),
            scores=[r["score"] for r in records],
            labels=[truth.category_index[r["category_id"]] for r in records],
            rles=[r["segmentation"] for r in records] if "segmentation" in records[0] else None,
            keypoints=np.array([r["keypoints"] for r in records]).reshape(len(records), -1, 3)
            if "keypoints" in records[0]
            else None,
        )


def test_an_evaluator_that_saw_nothing_finds_nothing(make_case):
    annotations = make_case(0).annotations()
    scores = Evaluator(read_ground_truth(annotations), kinds=("box", "mask", "keypoint")).result()
    assert (scores.box.ap, scores.mask.ap, scores.keypoint.ap) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("chunk", [1, 7, 20_000])
def test_streamed_figures_equal_those_of_the_file(kind, chunk, make_case, judge, same_as_judge, monkeypatch):
    monkeypatch.setattr("boxwright.evaluation.coco._CHUNK", chunk)
    maker = make_case(11)
    annotations = maker.annotations()
    results = maker.results(annotations, kind)
    truth = read_ground_truth(annotations)
    evaluator = Evaluator(truth, kinds=[kind], keep=True)
    add_all(evaluator, results, truth)
    same_as_judge(getattr(evaluator.result(), kind), judge(annotations, results, kind))
    table = evaluator.table()
    assert len(table) == len(results)
    np.testing.assert_array_equal(table.image, read_detections(results, truth).image)
    same_as_judge(getattr(evaluate_coco(truth, table, kinds=[kind]), kind), judge(annotations, results, kind))


def test_keypoints_can_be_streamed_without_boxes_that_mean_anything(make_case):
    maker = make_case(12)
    annotations = maker.annotations()
    results = maker.results(annotations, "keypoint")
    truth = read_ground_truth(annotations)
    evaluator = Evaluator(truth, kinds=["keypoint"])
    add_all(evaluator, results, truth)
    assert evaluator.result().keypoint.ap == evaluate_coco(annotations, results).keypoint.ap > 0


def test_figures_can_be_asked_for_in_between(make_case):
    maker = make_case(13)
    annotations = maker.annotations()
    results = maker.results(annotations, "box")
    truth = read_ground_truth(annotations)
    evaluator = Evaluator(truth)
    half = [r for r in results if r["image_id"] < 30]
    add_all(evaluator, half, truth)
    assert evaluator.result().box.ap == evaluate_coco(annotations, half).box.ap
    add_all(evaluator, [r for r in results if r["image_id"] >= 30], truth)
    np.testing.assert_array_equal(evaluator.result().box.stats, evaluate_coco(annotations, results).box.stats)


def test_detections_with_labels_of_the_model_are_mapped_to_categories(make_case):
    maker = make_case(14)
    annotations = maker.annotations()
    size = (maker.size, maker.size)
    truth = read_ground_truth(annotations)
    evaluator = Evaluator(truth, kinds=["box", "mask", "keypoint"], category_ids=[8, 4, 2])
    records = []
    for image in annotations["images"]:
        near = [a for a in annotations["annotations"] if a["image_id"] == image["id"] and a["category_id"] == 4]
        corner, extent = torch.rand(2, 9, 2, generator=torch.Generator().manual_seed(image["id"])) * 80
        for i, annotation in enumerate(near[:3]):
            corner[3 * i + 1], extent[3 * i + 1] = torch.tensor(annotation["bbox"]).reshape(2, 2)
        masks = torch.zeros(9, *size, dtype=torch.bool)
        masks[:, 10:50, 20:90] = True
        detections = Detections(
            boxes=torch.cat([corner, corner + extent], dim=1),
            scores=torch.linspace(1, 0, 9),
            labels=torch.arange(9) % 3,
            size=size,
            segments=Masks.from_bitmaps(masks),
            keypoints=torch.rand(9, 17, 3, generator=torch.Generator().manual_seed(1)) * 90,
        )
        evaluator.add_detections(image["id"], detections)
        records += detections.to_coco(image["id"], category_ids=[8, 4, 2])
    streamed, filed = evaluator.result(), evaluate_coco(annotations, records)
    for a, b in zip(streamed, filed, strict=True):
        np.testing.assert_array_equal(a.curves.precision, b.curves.precision)
        np.testing.assert_array_equal(a.curves.recall, b.curves.recall)
    assert streamed.box.ar100 > 0


def test_keypoint_offset_moves_points_to_pixel_numbers(make_case):
    annotations = make_case(15, images=1).annotations(per_image=1, crowd=0)
    while not annotations["annotations"] or not annotations["annotations"][0]["num_keypoints"]:
        annotations = make_case(len(str(annotations)), images=1).annotations(per_image=1, crowd=0)
    (record,) = annotations["annotations"]
    points = torch.tensor(record["keypoints"]).reshape(1, -1, 3)
    points[:, :, :2] += 4
    truth = read_ground_truth(annotations)
    found = Detections(
        torch.zeros(1, 4), torch.ones(1), torch.tensor([truth.category[0]]).long(), (9, 9), keypoints=points
    )
    recalls = []
    for offset in (0.0, -4.0):
        evaluator = Evaluator(truth, kinds=["keypoint"])
        evaluator.add_detections(record["image_id"], found, keypoint_offset=offset)
        recalls.append(evaluator.result().keypoint.ar)
    assert recalls[0] < recalls[1] == 1


def test_memory_does_not_grow_with_what_detections_carry(make_case):
    """2,000 images of 20 detections with masks of 160 x 160: the bitmaps would be a gigabyte, the texts 10 MB."""
    maker = make_case(16, images=2_000)
    annotations = maker.annotations(per_image=1)
    for record in annotations["annotations"]:
        record["segmentation"] = {"size": [160, 160], "counts": [0, 25_600]}
    truth = read_ground_truth(annotations)
    evaluator = Evaluator(truth, kinds=["box", "mask"])
    speckle = Masks.from_bitmaps(np.random.default_rng(0).random((1, 160, 160)) < 0.02).rles()[0]
    boxes = maker.boxes(20)

    def stream(images):
        for image in images:
            rles = [{"size": speckle["size"], "counts": bytes(bytearray(speckle["counts"]))} for _ in range(20)]
            evaluator.add(image["id"], boxes_xywh=boxes, scores=np.linspace(1, 0, 20), labels=[0] * 20, rles=rles)
        evaluator._flush()

    stream(annotations["images"][:100])
    tracemalloc.start()
    stream(annotations["images"][100:])
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(speckle["counts"]) > 1000
    assert kept < 1_900 * 20 * 2 * 100  # two kinds, below 100 bytes a detection


def test_wrong_input_is_told_with_its_image(make_case):
    truth = read_ground_truth(make_case(17).annotations())
    evaluator = Evaluator(truth)
    one = {"boxes_xywh": np.ones((1, 4)), "scores": [0.5], "labels": [0]}
    evaluator.add(3, **one)
    with pytest.raises(DatasetError, match="image 3 was added before"):
        evaluator.add(3, **one)
    with pytest.raises(DatasetError, match="image 4 is not among the 6 annotated images"):
        evaluator.add(4, **one)
    with pytest.raises(ShapeError, match="image 13 has 1 boxes and 2 scores"):
        evaluator.add(13, **one | {"scores": [0.5, 0.4]})
    with pytest.raises(ShapeError, match="image 13 has labels up to 9; there are 5 classes"):
        evaluator.add(13, **one | {"labels": [9]})
    with pytest.raises(DatasetError, match="not kept"):
        evaluator.table()
    with pytest.raises(DatasetError, match="category id 3 is not annotated; the annotations have 2, 4, 6"):
        Evaluator(truth, category_ids=[2, 3])
    with pytest.raises(DatasetError, match="the kinds are boxes; expected some of box, mask, keypoint"):
        Evaluator(truth, kinds=["boxes"])
    evaluator.add(13, **one | {"scores": [float("nan")]})
    with pytest.raises(DatasetError, match="the score nan; expected finite numbers"):
        evaluator.result()


def test_masks_must_be_given_where_masks_are_evaluated(make_case):
    truth = read_ground_truth(make_case(18).annotations())
    evaluator = Evaluator(truth, kinds=["box", "mask", "keypoint"])
    with pytest.raises(ShapeError, match="image 3 has no rles, but masks are evaluated"):
        evaluator.add(3, boxes_xywh=np.ones((1, 4)), scores=[0.5], labels=[0])
    rle = {"size": [1, 1], "counts": b"1"}
    with pytest.raises(ShapeError, match="image 3 has no keypoints, but keypoints are evaluated"):
        evaluator.add(3, boxes_xywh=np.ones((1, 4)), scores=[0.5], labels=[0], rles=[rle])
    evaluator.add(3, boxes_xywh=np.ones((0, 4)), scores=[], labels=[])  # nothing found: nothing to give
    assert evaluator.result().keypoint.ar == 0


def test_the_time_of_an_image_is_told(make_case):
    truth = read_ground_truth(make_case(19).annotations())
    scores = Evaluator(truth).result(Timing(num_images=100, total=50.0, compute=20.0, devices=2))
    assert scores.to_dict()["timing"]["seconds_per_image"] == 1.0
    assert "time: 50.0 s for 100 images, 1.0000 s an image (pure compute 0.4000 s) per device, on 2 devices" in str(
        scores
    )
