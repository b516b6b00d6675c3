"""The COCO figures and arrays against pycocotools, on cases made by hand, at random and by hypothesis, and on files."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boxwright.errors import DatasetError, ShapeError
from boxwright.evaluation import evaluate_coco, read_detections, read_ground_truth

KINDS = ("box", "mask", "keypoint")


@pytest.mark.parametrize("kind", KINDS)
def test_no_detections_and_no_annotations_give_minus_one(kind, make_case, judge, same_as_judge):
    maker = make_case(0, images=2)
    annotations = maker.annotations()
    same_as_judge(getattr(evaluate_coco(annotations, [], kinds=[kind]), kind), judge(annotations, [], kind))
    nothing = annotations | {"annotations": []}
    results = maker.results(annotations, kind)
    if kind != "keypoint":  # without a single annotation the skeleton is not known
        same_as_judge(getattr(evaluate_coco(nothing, results, kinds=[kind]), kind), judge(nothing, results, kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_random_cases_equal_pycocotools_to_the_last_bit(kind, seed, make_case, judge, same_as_judge):
    maker = make_case(seed)
    annotations = maker.annotations()
    results = maker.results(annotations, kind)
    found = getattr(evaluate_coco(annotations, results, kinds=[kind]), kind)
    assert found.ap > 0
    same_as_judge(found, judge(annotations, results, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_more_detections_than_are_looked_at_are_cut_in_order_of_score(kind, make_case, judge, same_as_judge):
    maker = make_case(3, images=2, classes=1, size=80)
    annotations = maker.annotations(per_image=20)
    results = maker.results(annotations, kind, per_image=400)
    assert max(sum(r["image_id"] == i["id"] for r in results) for i in annotations["images"]) > 150
    same_as_judge(getattr(evaluate_coco(annotations, results, kinds=[kind]), kind), judge(annotations, results, kind))


coordinate = st.integers(0, 12).map(lambda v: v * 10.0)
extent = st.sampled_from([0.0, 10.0, 20.0, 32.0, 96.0, 100.0])
box = st.tuples(coordinate, coordinate, extent, extent).map(list)
annotation = st.fixed_dictionaries(
    {
        "image_id": st.integers(1, 4),  # image 4 is not listed
        "category_id": st.integers(1, 4),  # nor is category 4
        "bbox": box,
        # on, just inside and just outside the borders of the area ranges
        "area": st.sampled_from([0, 1, 1023.999, 1024, 1024.0001, 9216, 9215, 9217, 1e10, 1e10 + 1, 2e10]),
        "iscrowd": st.sampled_from([0, 0, 0, 1]),
    }
)
result = st.fixed_dictionaries(
    {
        "image_id": st.integers(1, 4),
        "category_id": st.integers(1, 4),
        "bbox": box,
        "score": st.sampled_from([0.0, 0.25, 0.5, 0.5, 1.0, -1.0]),
    }
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(annotation, max_size=12), st.lists(result, max_size=24), st.integers(0, 1))
def test_any_case_equals_pycocotools_to_the_last_bit(judge, same_as_judge, records, results, first_id):
    """first_id 0 meets the official code's habit of taking a match with id 0 for none."""
    annotations = {
        "images": [{"id": i, "height": 250, "width": 250} for i in (3, 1, 2)],
        "annotations": [record | {"id": first_id + i} for i, record in enumerate(records)],
        "categories": [{"id": c, "name": str(c)} for c in (2, 3, 1)],
    }
    if results and all(r["image_id"] == 4 or r["category_id"] == 4 for r in results):
        results = []
    same_as_judge(evaluate_coco(annotations, results, kinds=["box"]).box, judge(annotations, results, "box"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.sampled_from(["mask", "keypoint"]), st.floats(0, 0.6))
def test_any_masks_and_keypoints_equal_pycocotools_to_the_last_bit(judge, same_as_judge, make_case, seed, kind, crowd):
    maker = make_case(seed, images=3, classes=2, size=60)
    annotations = maker.annotations(per_image=6, crowd=crowd)
    if not annotations["annotations"]:
        return
    results = maker.results(annotations, kind, per_image=8)
    results += [record | {"image_id": 4_000} for record in results[::3]]  # an image that is not listed
    if all(record["image_id"] == 4_000 for record in results):
        results = []
    same_as_judge(getattr(evaluate_coco(annotations, results, kinds=[kind]), kind), judge(annotations, results, kind))


def test_one_class_without_annotations_is_minus_one_and_not_in_the_mean(make_case):
    maker = make_case(1)
    annotations = maker.annotations()
    scores = evaluate_coco(annotations, maker.results(annotations, "box")).box
    per_class = scores.per_class
    assert per_class["class 5"] == -1
    assert scores.ap == pytest.approx(np.mean([ap for ap in per_class.values() if ap > -1]), abs=1e-12)


def test_keypoints_with_other_sigmas_and_number(make_case, judge, same_as_judge):
    maker = make_case(5, points=14)
    annotations = maker.annotations()
    results = maker.results(annotations, "keypoint")
    sigmas = np.linspace(0.03, 0.1, 14)
    found = evaluate_coco(annotations, results, kinds=["keypoint"], sigmas=sigmas).keypoint
    same_as_judge(found, judge(annotations, results, "keypoint", sigmas=sigmas))
    with pytest.raises(DatasetError, match="14 keypoints and COCO's sigmas are for 17; give 14 sigmas"):
        evaluate_coco(annotations, results, kinds=["keypoint"])
    with pytest.raises(DatasetError, match="3 sigmas for 14 annotated keypoints"):
        evaluate_coco(annotations, results, kinds=["keypoint"], sigmas=[0.1] * 3)


def test_masks_decide_the_area_of_a_mask_even_where_a_box_is_given(make_case, judge, same_as_judge):
    maker = make_case(2)
    annotations = maker.annotations()
    results = maker.results(annotations, "mask")
    boxed = [r | {"bbox": [0, 0, 159, 159]} for r in results]
    same_as_judge(evaluate_coco(annotations, boxed, kinds=["mask"]).mask, judge(annotations, results, "mask"))


@pytest.mark.parametrize("kind", ["mask", "keypoint"])
def test_boxes_are_taken_around_masks_or_keypoints_that_come_without(kind, make_case, judge, same_as_judge):
    maker = make_case(4)
    annotations = maker.annotations()
    results = maker.results(annotations, kind)
    same_as_judge(evaluate_coco(annotations, results, kinds=["box"]).box, judge(annotations, results, "box"))


FILES = [
    ("instances_val2014_100", "instances_val2014_fakebbox100_results", "box", "bbox100"),
    ("instances_val2014_100", "instances_val2014_fakesegm100_results", "mask", "segm100"),
    ("kp1_gt", "kp1_dt", "keypoint", "kp1_keypoints"),
    ("kp1_gt", "kp1_dt", "box", "kp1_bbox"),
]


@pytest.mark.parametrize(("annotations", "results", "kind", "expected"), FILES)
def test_real_result_files_equal_pycocotools_and_its_published_numbers(
    shared, judge, same_as_judge, annotations, results, kind, expected
):
    truth, found = shared / f"{annotations}.json", shared / f"{results}.json"
    figures = getattr(evaluate_coco(truth, found, kinds=[kind]), kind)
    official = judge(json.loads(truth.read_text()), json.loads(found.read_text()), kind)
    same_as_judge(figures, official)
    published = json.loads((shared / "expected_pycocotools.json").read_text())[expected]
    np.testing.assert_allclose(figures.stats, published, rtol=0, atol=5.1e-5)


def test_real_keypoints_of_few_images_of_many(shared, judge, same_as_judge):
    annotations = json.loads((shared / "person_keypoints_val2017_subset.json").read_text())
    found = json.loads((shared / "person_keypoints_val2014_fakekeypoints100_results.json").read_text())
    listed = {image["id"] for image in annotations["images"]}
    overlapping = [r for r in found if r["image_id"] in listed]
    scores = evaluate_coco(annotations, found, kinds=["keypoint"])
    same_as_judge(scores.keypoint, judge(annotations, overlapping, "keypoint"))
    assert f"{len(found) - len(overlapping)} detections have an unlisted image_id" in scores.notes[-1]


def test_crowdpose_with_its_own_sigmas(shared, judge, same_as_judge):
    annotations = json.loads((shared / "example_crowdpose_val.json").read_text())
    results = json.loads((shared / "example_crowdpose_preds.json").read_text())
    sigmas = np.array([0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89, 0.79, 0.79]) / 10
    for record in annotations["annotations"]:
        record.setdefault("area", record["bbox"][2] * record["bbox"][3])
    figures = evaluate_coco(annotations, results, kinds=["keypoint"], sigmas=sigmas).keypoint
    same_as_judge(figures, judge(annotations, results, "keypoint", sigmas=sigmas))


def test_ground_truth_read_once_serves_many_evaluations(make_case):
    maker = make_case(7)
    annotations = maker.annotations()
    truth = read_ground_truth(annotations)
    results = maker.results(annotations, "box")
    table = read_detections(results, truth)
    first, second = (evaluate_coco(truth, table).box for _ in range(2))
    np.testing.assert_array_equal(first.curves.precision, second.curves.precision)
    np.testing.assert_array_equal(first.stats, evaluate_coco(annotations, results).box.stats)


def test_kinds_are_guessed_from_what_both_files_hold(make_case):
    maker = make_case(8)
    annotations = maker.annotations()
    masks = maker.results(annotations, "mask")
    scores = evaluate_coco(annotations, masks)
    assert [figures.kind for figures in scores] == ["mask"]
    both = evaluate_coco(annotations, [r | {"bbox": [1, 1, 9, 9]} for r in masks])
    assert [figures.kind for figures in both] == ["box", "mask"]
    for record in annotations["annotations"]:
        del record["segmentation"]
    unmasked = evaluate_coco(annotations, [r | {"bbox": [1, 1, 9, 9]} for r in masks])
    assert [figures.kind for figures in unmasked] == ["box"]
    with pytest.raises(DatasetError, match="has no segmentation, so masks cannot be evaluated"):
        evaluate_coco(annotations, masks, kinds=["mask"])
    with pytest.raises(DatasetError, match="there is no evaluation of 'boxes'; expected box, mask, keypoint"):
        evaluate_coco(annotations, masks, kinds=["boxes"])
    with pytest.raises(DatasetError, match="the detections have no keypoints; they have mask"):
        evaluate_coco(annotations, masks, kinds=["keypoint"])


def test_figures_say_what_they_have(make_case):
    maker = make_case(9)
    annotations = maker.annotations()
    figures = evaluate_coco(annotations, maker.results(annotations, "box")).box
    with pytest.raises(AttributeError, match="box figures have no 'ap5'; they have ap, ap50, ap75"):
        _ = figures.ap5
    assert ShapeError  # the streaming errors are in test_evaluator.py
