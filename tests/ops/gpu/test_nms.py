"""Greedy suppression: the kernels as the definition, to the bit, and without waiting for the device."""

import pytest
import torch

from boxwright import ops
from boxwright.ops.reference.nms import nms_keep as definition
from boxwright.ops.rules import SuppressionRule
from tests.ops.cases import random_boxes, random_index


def scene(n, num_groups, dtype=torch.float32):
    """Many equal scores, a NaN score, a NaN box, a box twice."""
    boxes, scores = random_boxes(n, dtype=dtype), random_index(n, 20).to(dtype) / 20
    if n > 10:
        scores[3], boxes[5, 1], boxes[6] = torch.nan, torch.nan, boxes[7]
    return boxes, scores, random_index(n, num_groups, seed=1) * 7 - 3


@pytest.mark.parametrize(("n", "num_groups"), [(0, 1), (1, 1), (64, 1), (65, 1), (150, 1), (200, 3), (90, 80)])
@pytest.mark.parametrize(("offset", "inclusive"), [(0.0, False), (1.0, True)])
def test_it_matches_the_definition(device, n, num_groups, offset, inclusive):
    given, settings = scene(n, num_groups), {"iou_threshold": 0.5, "offset": offset, "inclusive": inclusive}
    keep = ops.nms_keep(*(t.to(device) for t in given), **settings)
    assert torch.equal(keep.cpu(), definition(*given, SuppressionRule(**settings)))


@pytest.mark.parametrize(("n", "num_groups", "band"), [(300, 1, 128), (260, 3, 64)])
def test_bands_change_nothing(device, monkeypatch, n, num_groups, band):
    from boxwright.ops.gpu import nms

    monkeypatch.setattr(nms, "BAND", band)
    given = scene(n, num_groups, torch.float64)
    settings = {"iou_threshold": 0.6, "offset": 0.0, "inclusive": False}
    keep = ops.nms_keep(*(t.to(device) for t in given), **settings)
    assert torch.equal(keep.cpu(), definition(*given, SuppressionRule(**settings)))
    assert 0 < keep.sum() < n


def test_nothing_waits_for_the_device(device, without_waiting):
    given = [t.to(device) for t in scene(100, 5)]
    with without_waiting():
        keep = ops.nms_keep(*given, iou_threshold=0.5)
    assert keep.shape == (100,)
