"""Box voting: by hand, and the kernel as the definition."""

import math

import pytest
import torch
from torch.testing import assert_close

from boxwright import ops
from boxwright.errors import ShapeError
from boxwright.ops.reference.box_voting import box_voting as definition
from boxwright.ops.rules import VotingRule
from tests.ops.cases import COUNTS, random_boxes, random_index, seeded

KEPT = torch.tensor([[0.0, 0, 10, 10]]).double()
# IoU with the kept one: 1, 0.8, and 0.5, which does not vote
ALL = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5]]).double()
SCORES = torch.tensor([0.6, 0.2, 0.9]).double()


def smooth(p, beta):
    """The softmax over "it" and "not it" of their logs divided by the temperature."""
    return p ** (1 / beta) / (p ** (1 / beta) + (1 - p) ** (1 / beta))


@pytest.mark.parametrize(
    ("scoring", "beta", "expected"),
    [
        ("id", 1.0, 0.6),
        ("avg", 1.0, 0.4),
        ("iou_avg", 1.0, (0.6 * 1 + 0.2 * 0.8) / 1.8),
        ("generalized_avg", 2.0, math.sqrt((0.6**2 + 0.2**2) / 2)),
        ("quasi_sum", 0.5, 0.8 / math.sqrt(2)),
        ("temp_avg", 2.0, (smooth(0.6, 2) + smooth(0.2, 2)) / 2),
    ],
)
def test_by_hand(backend, scoring, beta, expected):
    settings = {"iou_threshold": 0.75, "scoring": scoring, "beta": beta, "offset": 0.0}
    boxes, scores = ops.box_voting(KEPT, torch.tensor([0.6]).double(), ALL, SCORES, **settings)
    assert_close(boxes, torch.tensor([[0, 0, 10, (0.6 * 10 + 0.2 * 8) / 0.8]]).double())
    assert scores.item() == pytest.approx(expected)


def test_only_the_own_group_votes(backend):
    groups = torch.tensor([5, 6, 5])
    settings = {"kept_groups": torch.tensor([6]), "all_groups": groups, "iou_threshold": 0.4, "offset": 0.0}
    boxes, _ = ops.box_voting(KEPT, SCORES[:1], ALL, SCORES, **settings)
    assert_close(boxes, ALL[1:2])


def test_a_box_without_voters_stays(backend):
    far = KEPT + 100
    for others, scores in ((ALL, SCORES), (ALL[:0], SCORES[:0]), (far, torch.zeros(1).double())):
        boxes, new_scores = ops.box_voting(far, SCORES[:1], others, scores, scoring="avg")
        assert_close(boxes, far)
        assert_close(new_scores, SCORES[:1])


def test_no_boxes_give_none(backend):
    boxes, scores = ops.box_voting(KEPT[:0], SCORES[:0], ALL, SCORES)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_nan_does_not_vote(backend):
    wild = ALL.clone()
    wild[1, 0] = math.nan
    boxes, _ = ops.box_voting(KEPT, SCORES[:1], wild, SCORES, iou_threshold=0.75, offset=0.0)
    assert_close(boxes, KEPT)


@pytest.mark.parametrize("scoring", ["id", "temp_avg", "avg", "iou_avg", "generalized_avg", "quasi_sum"])
@pytest.mark.parametrize("n", COUNTS)
def test_the_kernel_matches_the_definition(cpu, scoring, n):
    every, scores, groups = random_boxes(n, seed=n), torch.rand(n, generator=seeded(n)), random_index(n, 3)
    kept = slice(0, None, 5)
    given = every[kept], scores[kept], groups[kept], every, scores, groups
    settings = {"iou_threshold": 0.5, "scoring": scoring, "beta": 1.5, "offset": 1.0}
    named = {"kept_groups": groups[kept], "all_groups": groups}
    found = ops.box_voting(every[kept], scores[kept], every, scores, **named, **settings)
    for a, b in zip(found, definition(*given, VotingRule(**settings)), strict=True):
        assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_mistakes_are_named():
    with pytest.raises(ShapeError, match="box_voting has no scoring 'mode'; expected one of id, temp_avg, avg"):
        ops.box_voting(KEPT, SCORES[:1], ALL, SCORES, scoring="mode")
    with pytest.raises(ShapeError, match="needs kept_groups and all_groups together, or neither"):
        ops.box_voting(KEPT, SCORES[:1], ALL, SCORES, kept_groups=torch.tensor([0]))
