"""Proposal recall, by hand and against the greedy rule followed step by step."""

import numpy as np
import pytest

from boxwright.errors import DatasetError
from boxwright.evaluation import read_ground_truth
from boxwright.evaluation.proposals import AREAS, ProposalEvaluator


def truth_of(*boxes, **more):
    annotations = [
        {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": list(b), "area": b[2] * b[3], **more}
        for i, b in enumerate(boxes)
    ]
    return read_ground_truth({"images": [{"id": 1}, {"id": 2}], "annotations": annotations, "categories": [{"id": 1}]})


def test_nothing_proposed_covers_nothing_and_nothing_annotated_is_minus_one():
    assert ProposalEvaluator(truth_of((0, 0, 9, 9))).result().average(100) == 0
    assert ProposalEvaluator(truth_of()).result().average(100) == -1
    assert ProposalEvaluator(truth_of((0, 0, 9, 9), iscrowd=1)).result().average(100) == -1


def test_the_best_pair_goes_first_and_each_box_serves_once():
    """IoUs: proposal 0 with a 1.0, with b 0.6; proposal 1 with b 0.3 only: it covers nothing."""
    evaluator = ProposalEvaluator(truth_of((0, 0, 10, 10), (0, 0, 10, 6)))
    evaluator.add(1, boxes=np.array([[0, 0, 10, 10.0], [0, 0, 10, 1.8]]), scores=[1.0, 2.0])
    assert evaluator.result().average(100) == pytest.approx(0.5)


def test_only_the_best_proposals_are_looked_at():
    evaluator = ProposalEvaluator(truth_of((0, 0, 10, 10)), limits=(1, 2))
    evaluator.add(1, boxes=np.array([[0, 0, 10, 10.0], [50, 50, 60, 60.0]]), scores=[1.0, 2.0])
    result = evaluator.result()
    assert (result.average(1), result.average(2)) == (0, 1)
    assert result.values["ar1_small"] == 0
    assert result.values["ar2_large"] == -1


def test_an_image_is_added_once_and_must_be_known():
    evaluator = ProposalEvaluator(truth_of())
    evaluator.add(1, boxes=np.zeros((0, 4)), scores=[])
    with pytest.raises(DatasetError, match="image 1 was added before"):
        evaluator.add(1, boxes=np.zeros((0, 4)), scores=[])
    with pytest.raises(DatasetError, match="image 9 is not among the 2 annotated images"):
        evaluator.add(9, boxes=np.zeros((0, 4)), scores=[])


def cover_step_by_step(truth, proposals, area, limit):
    """The rule in words, on the full table of overlaps."""
    low, high = AREAS[area]
    overlaps, wanted = [], 0
    for image in truth["images"]:
        boxes = [a for a in truth["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"]]
        boxes = np.array([a["bbox"] for a in boxes if low <= a["area"] <= high]).reshape(-1, 4)
        wanted += len(boxes)
        found, scores = proposals[image["id"]]
        found = found[np.argsort(-scores, kind="stable")][:limit]
        shared = np.minimum(found[:, None, 2:], boxes[:, :2] + boxes[:, 2:]) - np.maximum(
            found[:, None, :2], boxes[:, :2]
        )
        shared = shared.clip(0).prod(-1)
        sizes = (found[:, 2:] - found[:, :2]).prod(-1)[:, None] + boxes[:, 2:].prod(-1)
        table = shared / (sizes - shared)
        for _ in range(min(table.shape)):
            box, annotation = np.unravel_index(table.argmax(), table.shape)
            overlaps.append(table[box, annotation])
            table[box, :] = table[:, annotation] = -1
    return np.mean([(np.array(overlaps) >= t).sum() / wanted for t in np.linspace(0.5, 0.95, 10)]) if wanted else -1


@pytest.mark.parametrize("seed", range(4))
def test_random_proposals_follow_the_rule(seed, make_case):
    maker = make_case(seed)
    truth = maker.annotations()
    proposals = {}
    for image in truth["images"]:
        near = np.array([a["bbox"] for a in truth["annotations"] if a["image_id"] == image["id"]]).reshape(-1, 4)
        boxes = np.concatenate([np.repeat(near, 3, axis=0), maker.boxes(20)])
        boxes[:, 2:] += boxes[:, :2]
        boxes += maker.random.normal(0, 3, boxes.shape)
        boxes = np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:], boxes[:, :2] + 1)], axis=1)
        proposals[image["id"]] = boxes, maker.random.random(len(boxes))
    evaluator = ProposalEvaluator(read_ground_truth(truth), limits=(5, 10, 1000))
    for image_id, (boxes, scores) in proposals.items():
        evaluator.add(image_id, boxes=boxes, scores=scores)
    result = evaluator.result()
    for limit in (5, 10, 1000):
        for area in AREAS:
            expected = cover_step_by_step(truth, proposals, area, limit)
            assert result.average(limit, area) == pytest.approx(expected, abs=1e-12)
    assert result.average(1000) > 0.2
