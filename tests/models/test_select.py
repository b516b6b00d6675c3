"""The few detections of an image out of many candidates, by hand."""

import torch
from torch.testing import assert_close

from boxwright.models.select import Candidates, DetectionSelector, best_of_each_image, per_image


def selector(**changes):
    settings = {"nms": "hard", "nms_iou": 0.5, "sigma": 0.5, "soft_min_score": 0.001, "class_agnostic": False}
    settings |= {"inclusive": False, "offset": 0.0, "voting_iou": None, "voting_scoring": "id", "max_detections": 100}
    return DetectionSelector(**(settings | changes))


def candidates(boxes, scores, labels, image=None):
    count = len(scores)
    return Candidates(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(image if image is not None else [0] * count, dtype=torch.int64),
        torch.arange(count),
    )


TWINS = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]


def test_of_no_candidates_nothing_is_chosen():
    assert len(selector()(candidates([], [], []), num_classes=3).scores) == 0


def test_suppression_is_by_class_unless_told_otherwise():
    found = candidates(TWINS, [0.9, 0.8, 0.7], [0, 1, 0])
    assert selector()(found, num_classes=2).source.tolist() == [0, 1, 2]
    assert selector(class_agnostic=True)(found, num_classes=2).source.tolist() == [0, 2]


def test_images_do_not_suppress_each_other():
    found = candidates(TWINS, [0.9, 0.8, 0.7], [0, 0, 0], image=[0, 1, 0])
    chosen = selector()(found, num_classes=2)
    assert chosen.source.tolist() == [0, 2, 1]
    assert chosen.image.tolist() == [0, 0, 1]


def test_the_best_of_each_image_stay():
    found = candidates(
        [[20 * i, 0, 20 * i + 10, 10] for i in range(5)], [0.1, 0.5, 0.3, 0.9, 0.2], [0] * 5, [0, 0, 0, 1, 1]
    )
    assert selector(max_detections=2)(found, num_classes=1).source.tolist() == [1, 2, 3, 4]


def test_the_threshold_itself_suppresses_only_where_inclusive():
    half = [[0, 0, 10, 10], [0, 0, 10, 5]]
    found = candidates(half, [0.9, 0.8], [0, 0])
    assert selector()(found, num_classes=1).source.tolist() == [0, 1]
    assert selector(inclusive=True)(found, num_classes=1).source.tolist() == [0]


def test_soft_suppression_lowers_scores_and_may_change_their_order():
    found = candidates(TWINS, [0.9, 0.8, 0.7], [0, 0, 0])
    chosen = selector(nms="linear")(found, num_classes=1)
    assert chosen.source.tolist() == [0, 2, 1]
    assert_close(chosen.scores, torch.tensor([0.9, 0.7, 0.8 * (1 - 0.9)]))


def test_voting_makes_a_kept_box_the_mean_of_its_neighbours():
    found = candidates(TWINS[:2], [0.6, 0.3], [0, 0])
    chosen = selector(voting_iou=0.8)(found, num_classes=1)
    assert_close(chosen.boxes, torch.tensor([[0.0, 0, 10, (10 * 0.6 + 9 * 0.3) / 0.9]]))
    assert_close(chosen.scores, torch.tensor([0.6]))


def test_equal_scores_keep_their_order():
    image = torch.tensor([1, 0, 1, 0])
    assert best_of_each_image(torch.full((4,), 0.5), image, 10).tolist() == [1, 3, 0, 2]
    assert best_of_each_image(torch.zeros(0), torch.zeros(0, dtype=torch.int64), 3).tolist() == []


def test_images_without_detections_get_empty_ones():
    boxes = torch.rand(3, 4)
    found = per_image(
        torch.tensor([1, 1, 3]), 4, boxes, torch.rand(3), torch.zeros(3, dtype=torch.int64), None, None, None
    )
    assert [len(one.boxes) for one in found] == [0, 2, 0, 1]
    assert found[1].masks is None
