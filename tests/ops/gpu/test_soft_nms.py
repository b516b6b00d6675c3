"""Soft suppression: the kernel as the definition."""

import pytest
import torch
from torch.testing import assert_close

from boxwright import ops
from boxwright.ops.reference.soft_nms import soft_nms as definition
from boxwright.ops.rules import DecayRule
from tests.ops.cases import random_boxes, random_index


@pytest.mark.parametrize(("n", "num_groups"), [(0, 1), (1, 1), (25, 1), (30, 9)])
@pytest.mark.parametrize("method", ["linear", "gaussian"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_matches_the_definition(device, n, num_groups, method, dtype):
    boxes, groups = random_boxes(n, dtype=dtype), random_index(n, num_groups)
    scores = random_index(n, 20, seed=2).to(dtype) / 20
    if n > 10:
        scores[3], boxes[5, 1], boxes[6] = torch.nan, torch.nan, boxes[7]
    settings = {"sigma": 0.5, "iou_threshold": 0.3, "min_score": 0.05, "offset": 0.0}
    expected_scores, expected_keep = definition(boxes, scores, groups, DecayRule(method=method, **settings))
    given = (boxes.to(device), scores.to(device), groups.to(device))
    found_scores, keep = torch.ops.boxwright.soft_nms(*given, method, *settings.values())
    assert torch.equal(keep.cpu(), expected_keep)
    assert_close(found_scores.cpu(), expected_scores, rtol=1e-5, atol=1e-6, equal_nan=True)
    assert len(ops.soft_nms(*given, method=method, **settings)[0]) == expected_keep.sum()


def test_groups_longer_than_a_block_match_the_definition(device, monkeypatch):
    from boxwright.ops.gpu import soft_nms

    monkeypatch.setattr(soft_nms, "BLOCK", 16)
    boxes, scores, groups = random_boxes(50), random_index(50, 20, seed=2) / 20, random_index(50, 2)
    settings = {"sigma": 0.5, "iou_threshold": 0.3, "min_score": 0.05, "offset": 1.0}
    expected = definition(boxes, scores, groups, DecayRule(method="linear", **settings))
    found = torch.ops.boxwright.soft_nms(
        boxes.to(device), scores.to(device), groups.to(device), "linear", *settings.values()
    )
    assert_close(found[0].cpu(), expected[0])
    assert torch.equal(found[1].cpu(), expected[1])
