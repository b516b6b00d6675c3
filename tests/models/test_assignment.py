"""Anchors that lie outside may be somebody's best, or not be there at all."""

import pytest
import torch

from boxwright.models.anchors import Anchors
from boxwright.models.assignment import AnchorAssigner
from boxwright.models.dense import DensePredictions
from boxwright.models.frames import make_frames
from boxwright.models.matching import IGNORED, NEGATIVE, POSITIVE, Matcher
from boxwright.models.objects import gather_objects
from boxwright.types import Batch, Target

ANCHORS = torch.tensor([[-4.0, 0, 12, 16], [4, 0, 20, 16], [15, 15, 31, 31], [40, 0, 56, 16]])
OBJECT = torch.tensor([[0.0, 0, 13, 16]])  # nearest to the first anchor, which looks over the border


def assign(*, crowd=False, boxes=OBJECT, **changes):
    settings = {"inside_border": None, "only_inside_padding": False, "outside_absent": False, "crowd_share": None}
    matcher = Matcher(positive_iou=0.9, negative_iou=0.3, low_quality=True)
    assigner = AnchorAssigner(matcher=matcher, **(settings | changes))
    labels, crowds = torch.zeros(len(boxes), dtype=torch.int64), torch.full((len(boxes),), crowd)
    target = Target(boxes=boxes, labels=labels, size=(32, 32), is_crowd=crowds)
    batch = Batch(torch.zeros(1, 3, 32, 64), [(32, 32)], [(32, 32)], [(1.0, 1.0)], targets=[target])
    dense = DensePredictions([torch.zeros(1, 4)], [torch.zeros(1, 4, 4)], [ANCHORS], [(1, 4)])
    anchors = Anchors(strides={"c4": 16}, sizes=[[16]], aspect_ratios=[[1.0]])
    return assigner(dense, gather_objects(batch, num_classes=1), make_frames(batch, pad_to=32), anchors)


@pytest.mark.parametrize(
    ("outside_absent", "labels"),
    [
        (False, [IGNORED, IGNORED, NEGATIVE, IGNORED]),  # the best lies outside, and nobody takes its place
        (True, [IGNORED, POSITIVE, NEGATIVE, IGNORED]),
    ],
)
def test_the_best_anchor_inside_counts_where_those_outside_are_absent(outside_absent, labels):
    found = assign(inside_border=0.0, outside_absent=outside_absent)
    assert found.label.tolist() == [labels]


def test_without_a_border_every_anchor_counts():
    assert assign().label.tolist() == [[POSITIVE, IGNORED, NEGATIVE, NEGATIVE]]


def test_anchors_in_the_padding_of_the_batch_may_be_left_out():
    """The image is 32 wide, the batch 64: the last two cells lie in its padding."""
    assert assign(only_inside_padding=True).label.tolist() == [[POSITIVE, IGNORED, IGNORED, IGNORED]]


def test_an_anchor_claimed_although_low_is_told_as_below():
    far = torch.tensor([[16.0, 16, 20, 20]])
    found = assign(boxes=far)
    assert found.label.tolist() == [[NEGATIVE, NEGATIVE, POSITIVE, NEGATIVE]]
    assert found.is_below.tolist() == [[True] * 4]


def test_anchors_inside_a_crowd_may_be_left_out():
    found = assign(crowd=True, crowd_share=0.5)
    assert found.label.tolist() == [[IGNORED, IGNORED, NEGATIVE, NEGATIVE]]
    assert assign(crowd=True).label.tolist() == [[NEGATIVE] * 4]
    assert len(found.objects.boxes) == 0
