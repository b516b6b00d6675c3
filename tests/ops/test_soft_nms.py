"""Soft suppression: by hand, as a plain loop, and the kernel as the definition."""

import math

import pytest
import torch
from torch.testing import assert_close

from boxwright import ops
from boxwright.errors import ShapeError
from boxwright.ops.reference.soft_nms import soft_nms as definition
from boxwright.ops.rules import DecayRule
from tests.ops.cases import COUNTS, random_boxes, random_index, seeded

# IoU with the first: 1/2 and 0
THREE = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 10]])


def one_group(n):
    return torch.zeros(n, dtype=torch.int64)


def plain_loop(boxes, scores, groups, weigh, min_score, offset):
    """Python floats: {index: new score}."""
    rows, scores = boxes.double().tolist(), scores.double().tolist()
    waiting, kept = list(range(len(rows))), {}
    while waiting:
        top = max(waiting, key=lambda i: (scores[i], -i))
        waiting.remove(top)
        kept[top] = scores[top]
        for i in list(waiting):
            iou = touch(rows[top], rows[i], offset) if groups[i] == groups[top] else None
            if iou is not None:
                scores[i] *= weigh(iou)
                if scores[i] < min_score:
                    waiting.remove(i)
    return kept


def touch(a, b, offset):
    width, height = (min(a[k + 2], b[k + 2]) - max(a[k], b[k]) + offset for k in (0, 1))
    areas = [(x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b)]
    return width * height / (sum(areas) - width * height) if width > 0 and height > 0 else None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"method": "linear", "iou_threshold": 0.3}, {0: 0.9, 1: 0.8 * 0.5, 2: 0.7}),
        ({"method": "linear", "iou_threshold": 0.5}, {0: 0.9, 1: 0.8, 2: 0.7}),
        ({"method": "linear", "iou_threshold": 0.3, "min_score": 0.5}, {0: 0.9, 2: 0.7}),
        # What nothing touches stays, however low.
        ({"method": "linear", "iou_threshold": 0.3, "min_score": 0.95}, {0: 0.9, 2: 0.7}),
        ({"method": "gaussian", "sigma": 0.5}, {0: 0.9, 1: 0.8 * math.exp(-0.25 / 0.5), 2: 0.7}),
    ],
)
def test_by_hand(backend, settings, expected):
    kept, scores = ops.soft_nms(THREE, torch.tensor([0.9, 0.8, 0.7]), one_group(3), **settings)
    assert dict(zip(kept.tolist(), scores.tolist(), strict=True)) == pytest.approx(expected, rel=1e-6)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)


@pytest.mark.parametrize("n", [c for c in COUNTS if c != 256])
@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_it_is_what_a_plain_loop_gives(backend, n, method, offset):
    boxes, groups = random_boxes(n, seed=n, dtype=torch.float64), random_index(n, 3, seed=n)
    scores = torch.rand(n, generator=seeded(n), dtype=torch.float64)
    settings = {"method": method, "sigma": 0.4, "iou_threshold": 0.3, "min_score": 0.05, "offset": offset}
    kept, new_scores = ops.soft_nms(boxes, scores, groups, **settings)
    weigh = (lambda iou: 1 - iou if iou > 0.3 else 1.0) if method == "linear" else lambda iou: math.exp(-(iou**2) / 0.4)
    expected = plain_loop(boxes, scores, groups, weigh, 0.05, offset)
    assert dict(zip(kept.tolist(), new_scores.tolist(), strict=True)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_12000_boxes_match_the_definition(cpu, method):
    boxes, groups = random_boxes(12_000, span=400), random_index(12_000, 400)
    scores = torch.rand(12_000, generator=seeded(5))
    settings = {"method": method, "sigma": 0.5, "iou_threshold": 0.3, "min_score": 0.2, "offset": 0.0}
    kept, new_scores = ops.soft_nms(boxes, scores, groups, **settings)
    expected_scores, keep = definition(boxes, scores, groups, DecayRule(**settings))
    assert sorted(kept.tolist()) == keep.nonzero()[:, 0].tolist()
    assert 0 < len(kept) < 12_000
    assert_close(new_scores, expected_scores[kept], rtol=1e-5, atol=1e-6)


def test_nan_touches_nothing(backend):
    boxes = THREE.clone()
    boxes[1, 0] = math.nan
    kept, scores = ops.soft_nms(boxes, torch.tensor([0.9, 0.8, 0.7]), one_group(3), min_score=0.5)
    assert kept.tolist() == [0, 1, 2]
    assert_close(scores, torch.tensor([0.9, 0.8, 0.7]))


def test_the_input_is_not_changed(backend):
    scores = torch.tensor([0.9, 0.8, 0.7])
    ops.soft_nms(THREE, scores, one_group(3))
    assert_close(scores, torch.tensor([0.9, 0.8, 0.7]), rtol=0, atol=0)


def test_an_unknown_method_is_refused():
    with pytest.raises(ShapeError, match="soft_nms has no method 'cubic'; expected one of linear, gaussian"):
        ops.soft_nms(THREE, torch.zeros(3), one_group(3), method="cubic")
