"""The few detections of an image out of many candidates, by hand."""

import pytest
import torch
from torch.testing import assert_close

from boxwright.models.select import Candidates, DetectionSelector, gather_candidates


def selector(**changes):
    settings = {"nms": "hard", "nms_iou": 0.5, "sigma": 0.5, "soft_min_score": 0.001, "class_agnostic": False}
    settings |= {"inclusive": False, "offset": 0.0, "voting_iou": None, "voting_scoring": "id", "max_detections": 100}
    settings |= {"score_threshold": 0.05, "min_size": 0.0, "num_classes": 3}
    return DetectionSelector(**(settings | changes))


def candidates(*images):
    """Of each image rows (box, score, label), padded to the fullest."""
    count = max(len(rows) for rows in images)
    padded = [[*rows, *[([0.0] * 4, -torch.inf, 0)] * (count - len(rows))] for rows in images]
    boxes, scores, labels = ([[row[i] for row in rows] for rows in padded] for i in range(3))
    scores = torch.tensor(scores, dtype=torch.float32).reshape(len(images), count)
    return Candidates(
        torch.tensor(boxes, dtype=torch.float32).reshape(len(images), count, 4),
        scores,
        torch.tensor(labels, dtype=torch.int64).reshape(len(images), count),
        torch.arange(count).expand(len(images), count),
        scores > -torch.inf,
        torch.tensor(True),
    )


def sources(chosen):
    """Of each image the candidates that were chosen."""
    return [row[valid].tolist() for row, valid in zip(chosen.source, chosen.is_valid, strict=True)]


def rows(boxes, scores, labels):
    return list(zip(boxes, scores, labels, strict=True))


TWINS = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]
counted = pytest.mark.parametrize("counts", [True, False])


@counted
def test_of_no_candidates_nothing_is_chosen(counts):
    assert sources(selector()(candidates([], []), counts=counts)) == [[], []]


@counted
def test_suppression_is_by_class_unless_told_otherwise(counts):
    found = candidates(rows(TWINS, [0.9, 0.8, 0.7], [0, 1, 0]))
    assert sources(selector()(found, counts=counts)) == [[0, 1, 2]]
    assert sources(selector(class_agnostic=True)(found, counts=counts)) == [[0, 2]]


@counted
def test_images_do_not_suppress_each_other(counts):
    found = candidates(rows([TWINS[0], TWINS[2]], [0.9, 0.7], [0, 0]), rows([TWINS[1]], [0.8], [0]))
    assert sources(selector()(found, counts=counts)) == [[0, 1], [0]]


@counted
def test_the_best_of_each_image_stay(counts):
    apart = [[20 * i, 0, 20 * i + 10, 10] for i in range(3)]
    found = candidates(rows(apart, [0.1, 0.5, 0.3], [0] * 3), rows(apart[:2], [0.9, 0.2], [0] * 2))
    assert sources(selector(max_detections=2)(found, counts=counts)) == [[1, 2], [0, 1]]


@counted
def test_the_threshold_itself_suppresses_only_where_inclusive(counts):
    found = candidates(rows([[0, 0, 10, 10], [0, 0, 10, 5]], [0.9, 0.8], [0, 0]))
    assert sources(selector()(found, counts=counts)) == [[0, 1]]
    assert sources(selector(inclusive=True)(found, counts=counts)) == [[0]]


@counted
def test_soft_suppression_lowers_scores_and_may_change_their_order(counts):
    found = candidates(rows(TWINS, [0.9, 0.8, 0.7], [0, 0, 0]))
    chosen = selector(nms="linear")(found, counts=counts)
    assert sources(chosen) == [[0, 2, 1]]
    assert_close(chosen.scores, torch.tensor([[0.9, 0.7, 0.8 * (1 - 0.9)]]))


@counted
def test_voting_makes_a_kept_box_the_mean_of_its_neighbours(counts):
    found = candidates(rows(TWINS[:2], [0.6, 0.3], [0, 0]))
    chosen = selector(voting_iou=0.8)(found, counts=counts)
    assert_close(chosen.boxes[:, :1], torch.tensor([[[0.0, 0, 10, (10 * 0.6 + 9 * 0.3) / 0.9]]]))
    assert sources(chosen) == [[0]]
    assert_close(chosen.scores[0, 0], torch.tensor(0.6))


@counted
def test_equal_scores_keep_their_order(counts):
    apart = [[20 * i, 0, 20 * i + 10, 10] for i in range(4)]
    assert sources(selector()(candidates(rows(apart, [0.5] * 4, [1, 0, 1, 0])), counts=counts)) == [[0, 1, 2, 3]]


def test_what_is_likely_is_above_the_threshold_large_enough_and_finite():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 1], [0, 0, torch.inf, 5], [0, 0, torch.nan, 5]])[:, None]
    scores = torch.tensor([[0.9, 0.05, 0.0]]).expand(4, 3)
    assert selector().is_likely(boxes, scores).nonzero().tolist() == [[0, 0], [1, 0]]
    assert selector(min_size=2.0).is_likely(boxes, scores).nonzero().tolist() == [[0, 0]]
    assert selector(min_size=2.0, offset=1.0).is_likely(boxes, scores).nonzero().tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize(("limit", "places", "is_complete"), [(None, [[0, 1], [2]], True), (1, [[1], [2]], False)])
def test_candidates_stay_in_order_and_the_best_have_room(limit, places, is_complete):
    boxes = torch.arange(12.0).view(1, 3, 1, 4).expand(2, 3, 1, 4)
    scores = torch.tensor([[[0.6, 0.0], [0.7, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 0.3]]])
    found = gather_candidates(boxes, scores, scores > 0, limit=limit)
    assert sources(found) == places
    assert found.labels[1][found.is_valid[1]].tolist() == [1]
    assert found.boxes[1][found.is_valid[1]].tolist() == [[8, 9, 10, 11]]
    assert bool(found.is_complete) is is_complete
