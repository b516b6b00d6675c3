"""Overlap of boxes and of masks: by hand, as pycocotools, and the kernels as the definition."""

import math

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch.testing import assert_close

from boxwright import ops
from boxwright.errors import ShapeError
from boxwright.ops.reference import iou as definition
from tests.ops.cases import random_boxes

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("a", "b", "offset", "expected"),
    [
        ([0, 0, 10, 10], [5, 5, 15, 15], 0.0, 25 / 175),
        ([0, 0, 9, 9], [5, 5, 14, 14], 1.0, 25 / 175),  # the same pixels, told by the last one inside
        ([0, 0, 10, 10], [0, 0, 10, 10], 0.0, 1.0),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0.0, 0.0),
        ([0, 0, 10, 10], [10, 0, 20, 10], 1.0, 11 / (2 * 121 - 11)),  # they share a column
        ([3, 3, 3, 3], [3, 3, 3, 3], 0.0, 0.0),  # no union
        ([3, 3, 3, 3], [3, 3, 3, 3], 1.0, 1.0),  # one pixel each
        ([0, 0, 10, 10], [NAN, 0, 10, 10], 0.0, NAN),
    ],
)
def test_iou_of_two_boxes_by_hand(backend, a, b, offset, expected):
    iou = ops.box_iou(torch.tensor([a]).double(), torch.tensor([b]).double(), offset=offset)
    assert iou.item() == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0, 0, 1, 1], [2, 0, 3, 1], -1 / 3),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7 - 2 / 9),
        ([0, 0, 2, 2], [0, 0, 2, 2], 1.0),
        ([4, 4, 4, 4], [4, 4, 4, 4], 0.0),
        ([0, 0, 1, 1], [NAN, 0, 3, 1], NAN),
    ],
)
def test_giou_of_two_boxes_by_hand(backend, a, b, expected):
    giou = ops.generalized_box_iou(torch.tensor([a]).double(), torch.tensor([b]).double())
    assert giou.item() == pytest.approx(expected, nan_ok=True)


def test_iou_is_that_of_pycocotools(backend):
    a, b = random_boxes(40, seed=1, dtype=torch.float64), random_boxes(30, seed=2, dtype=torch.float64)
    as_xywh = [torch.cat((x[:, :2], x[:, 2:] - x[:, :2]), dim=1).numpy() for x in (a, b)]
    assert_close(ops.box_iou(a, b), torch.from_numpy(coco_mask.iou(*as_xywh, [0] * 30)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 7), (7, 0), (1, 1), (3, 255), (3, 256), (3, 257), (300, 700)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_match_the_definition_to_the_bit(cpu, n, m, dtype):
    a, b = random_boxes(n, seed=1, dtype=dtype), random_boxes(m, seed=2, dtype=dtype)
    if n > 1 and m > 1:
        a[0], b[1] = a[1], a[1]
        b[0, 2] = NAN
    for offset in (0.0, 1.0):
        expected = definition.box_iou(a, b, offset=offset)
        assert_close(ops.box_iou(a, b, offset=offset), expected, rtol=0, atol=0, equal_nan=True)
    assert_close(ops.generalized_box_iou(a, b), definition.generalized_box_iou(a, b), rtol=0, atol=0, equal_nan=True)


def test_12000_boxes_in_any_layout(cpu):
    a, b = random_boxes(12_000, seed=1, span=1000), random_boxes(30, seed=2, span=1000)
    expected = definition.box_iou(a, b, offset=0.0)
    assert_close(ops.box_iou(a, b), expected, rtol=0, atol=0)
    assert_close(ops.box_iou(a.t().contiguous().t(), b.repeat(1, 2)[:, :4]), expected, rtol=0, atol=0)


def test_half_precision_is_computed_in_float32(backend):
    # In half precision an area of 300 x 300 overflows.
    big = torch.tensor([[0.0, 0, 300, 300]], dtype=torch.float16)
    iou = ops.box_iou(big, big)
    assert iou.dtype == torch.float32
    assert iou.item() == 1.0


@pytest.mark.parametrize(
    ("a", "error"),
    [
        (torch.zeros(4), r"a must be boxes of shape \(N, 4\), x1 y1 x2 y2; got \(4,\)"),
        (torch.zeros(2, 5), r"a must be boxes of shape \(N, 4\).*got \(2, 5\)"),
        (torch.zeros(2, 4, dtype=torch.int64), r"a must be floating point; got torch.int64: convert with .float\(\)"),
    ],
)
def test_what_is_not_boxes_is_refused(a, error):
    with pytest.raises(ShapeError, match=error):
        ops.box_iou(a, torch.zeros(1, 4))


def encode(bitmaps):
    return [coco_mask.encode(np.asfortranarray(b.astype(np.uint8))) for b in bitmaps]


def test_masks_overlap_as_their_bitmaps_do():
    random = np.random.default_rng(0)
    a, b = random.random((5, 20, 30)) < 0.4, random.random((4, 20, 30)) < 0.5
    a[1] = False
    b[0] = False
    inter = (a[:, None] & b).sum((2, 3))
    union = (a[:, None] | b).sum((2, 3)).clip(min=1)
    found = ops.mask_iou(encode(a), encode(b))
    assert_close(found, inter / union)
    crowd = ops.mask_iou(encode(a), encode(b), is_crowd=[False, True, False, True])
    assert_close(crowd[2:, 1], inter[2:, 1] / a[2:].sum((1, 2)))
    assert_close(crowd[2:, 2], found[2:, 2])


def test_no_masks_give_an_empty_table():
    one = encode(np.ones((1, 4, 4), bool))
    assert ops.mask_iou([], one).shape == (0, 1)
    assert ops.mask_iou(one, []).shape == (1, 0)


def test_masks_of_different_images_are_refused():
    with pytest.raises(ShapeError, match=r"masks of different images cannot be compared: sizes \[\(4, 4\), \(4, 5\)\]"):
        ops.mask_iou(encode(np.ones((1, 4, 4), bool)), encode(np.ones((1, 4, 5), bool)))
    one = encode(np.ones((1, 4, 4), bool))
    with pytest.raises(ShapeError, match="is_crowd has 2 entries, but there are 1 masks"):
        ops.mask_iou(one, one, is_crowd=[True, False])
