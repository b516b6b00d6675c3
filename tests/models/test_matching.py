"""Boxes get the objects that each original gives them."""

import pytest
import torch
from torch.testing import assert_close

from boxwright.models.matching import Matcher, covered_share

BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 7], [0, 0, 10, 4], [50, 50, 60, 60], [0, 0, 9, 10]])
OBJECTS = torch.tensor([[0.0, 0, 10, 10], [0, 0, 9, 10]])


def matcher(**changes):
    return Matcher(**({"positive_iou": 0.7, "negative_iou": 0.3} | changes))


@pytest.mark.parametrize(("objects", "boxes"), [(OBJECTS[:0], BOXES), (OBJECTS, BOXES[:0]), (OBJECTS[:0], BOXES[:0])])
def test_without_objects_all_is_negative(objects, boxes):
    matches = matcher(low_quality=True)(objects, boxes)
    assert matches.label.tolist() == [0] * len(boxes)
    assert matches.index.tolist() == [0] * len(boxes)


def test_the_best_iou_decides():
    matches = matcher()(OBJECTS[:1], BOXES)
    assert matches.label.tolist() == [1, 1, -1, 0, 1]
    assert matches.iou[1].item() == pytest.approx(0.7)


def test_below_the_low_threshold_a_box_is_ignored():
    assert matcher(negative_iou_low=0.1)(OBJECTS[:1], BOXES).label.tolist() == [1, 1, -1, -1, 1]


def test_an_objects_best_box_is_positive_however_low():
    far = torch.tensor([[0.0, 0, 3, 3]])
    assert matcher(low_quality=True)(far, BOXES).label.tolist() == [0, 0, 1, 0, 0]
    assert matcher(low_quality=True, low_quality_iou=0.3)(far, BOXES).label.tolist() == [0] * 5


def test_an_object_that_nothing_touches_claims_nothing():
    lost = torch.tensor([[200.0, 200, 210, 210]])
    assert matcher(low_quality=True)(lost, BOXES).label.tolist() == [0] * 5


@pytest.mark.parametrize(("owner", "index"), [("own_best", 1), ("claiming", 2)])
def test_a_claimed_box_belongs_to_its_own_best_or_to_the_claimant(owner, index):
    """Box 0 is object 1's twin, but object 2, which nothing else touches, claims it too."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [40, 40, 50, 50]])
    objects = torch.tensor([[40.0, 40, 50, 50], [0, 0, 10, 10], [0, 0, 20, 10]])
    matches = matcher(low_quality=True, low_quality_owner=owner)(objects, boxes)
    assert matches.label.tolist() == [1, 1]
    assert matches.index.tolist() == [index, 0]


def test_detectron_counts_both_corners_as_pixels():
    one_pixel = torch.tensor([[5.0, 5, 5, 5]])
    assert_close(matcher(offset=1.0)(one_pixel, one_pixel).iou, torch.tensor([1.0]))
    assert_close(matcher()(one_pixel, one_pixel).iou, torch.tensor([0.0]))


def test_the_share_inside_a_crowd_is_measured_by_the_box():
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [30, 30, 40, 40]])
    crowds = torch.tensor([[0.0, 0, 10, 20], [100, 100, 110, 110]])
    assert_close(covered_share(boxes, crowds, offset=0.0), torch.tensor([1.0, 0.5, 0.0]))
    assert covered_share(boxes, crowds[:0], offset=0.0).tolist() == [0, 0, 0]
