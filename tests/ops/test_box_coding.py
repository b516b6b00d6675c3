"""Anchors and deltas: by hand, there and back, with each source's conventions."""

import math

import pytest
import torch
from torch.testing import assert_close

from boxwright import ops
from boxwright.errors import ShapeError
from tests.ops.cases import random_boxes, seeded

ANCHOR = torch.tensor([[10.0, 20, 30, 60]])  # centre 20, 40; size 20 x 40


def test_anchors_run_over_columns_then_rows():
    cell = torch.tensor([[-1.0, -2, 1, 2], [-3, -3, 3, 3]])
    grid = ops.anchor_grid(cell, size=(2, 3), stride=8)
    assert grid.shape == (12, 4)
    assert grid[0].tolist() == [-1, -2, 1, 2]
    assert grid[1].tolist() == [-3, -3, 3, 3]
    assert grid[2].tolist() == [7, -2, 9, 2]
    assert grid[6].tolist() == [-1, 6, 1, 10]
    assert grid[11].tolist() == [13, 5, 19, 11]


def test_strides_and_centres_of_anchors():
    cell = torch.tensor([[-1.0, -2, 1, 2]])
    grid = ops.anchor_grid(cell, size=(2, 2), stride=(4.0, 8.0), centre=0.5)
    assert_close(grid[0], torch.tensor([3.0, 0, 5, 4]))
    assert_close(grid[3], torch.tensor([11.0, 4, 13, 8]))


@pytest.mark.parametrize("size", [(0, 0), (0, 3), (3, 0)])
def test_an_empty_map_has_no_anchors(size):
    assert ops.anchor_grid(ANCHOR, size=size, stride=8).shape == (0, 4)


@pytest.mark.parametrize(
    ("box", "offset", "expected"),
    [
        ([10, 20, 30, 60], 0.0, [0, 0, 0, 0]),
        ([12, 24, 32, 64], 0.0, [1, 1, 0, 0]),  # 2 / 20 and 4 / 40, times 10
        ([0, 20, 40, 60], 0.0, [0, 0, 5 * math.log(2), 0]),
        ([10, 20, 51, 60], 1.0, [5, 0, 5 * math.log(2), 0]),  # 42 pixels wide on 21, its centre half a width on
    ],
)
def test_encoding_by_hand(box, offset, expected):
    deltas = ops.encode_boxes(torch.tensor([box], dtype=torch.float32), ANCHOR, offset=offset)
    assert_close(deltas, torch.tensor([expected], dtype=torch.float32))


@pytest.mark.parametrize(
    ("deltas", "settings", "expected"),
    [
        ([0, 0, 0, 0], {}, [10, 20, 30, 60]),
        ([1, 1, 0, 0], {}, [12, 24, 32, 64]),
        ([0, 0, 5 * math.log(2), 0], {}, [0, 20, 40, 60]),
        ([0, 0, 0, 0], {"offset": 1.0}, [10, 20, 30, 60]),
        ([0, 0, 99, 0], {"clip": math.log(4)}, [-20, 20, 60, 60]),
        ([0, 0, -99, 0], {"clip": math.log(4)}, [20, 20, 20, 60]),
        ([0, 0, -99, 0], {"clip": math.log(4), "symmetric_clip": True}, [17.5, 20, 22.5, 60]),
        ([0.1, 0, 0, 0], {"weights": (1.0, 1.0, 1.0, 1.0)}, [12, 20, 32, 60]),
    ],
)
def test_decoding_by_hand(deltas, settings, expected):
    boxes = ops.decode_boxes(torch.tensor([deltas], dtype=torch.float32), ANCHOR, **settings)
    assert_close(boxes, torch.tensor([expected], dtype=torch.float32), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 12_000])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_decoding_undoes_encoding(n, offset):
    boxes, anchors = (random_boxes(n, seed=s, dtype=torch.float64) + torch.tensor([0, 0, 1, 1]) for s in (1, 2))
    there = ops.encode_boxes(boxes, anchors, offset=offset)
    assert_close(ops.decode_boxes(there, anchors, offset=offset, clip=99.0), boxes)


def test_deltas_of_several_classes_lie_side_by_side():
    anchors, deltas = random_boxes(5), torch.randn(5, 12, generator=seeded(0))
    together = ops.decode_boxes(deltas, anchors)
    apart = [ops.decode_boxes(deltas[:, 4 * k : 4 * k + 4], anchors) for k in range(3)]
    assert_close(together, torch.cat(apart, dim=1))
    assert ops.decode_boxes(deltas[:, :0], anchors).shape == (5, 0)


def test_decoding_has_the_gradient_of_finite_differences():
    anchors = random_boxes(3, dtype=torch.float64)
    deltas = torch.randn(3, 8, generator=seeded(1), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: ops.decode_boxes(d, anchors), [deltas])


def test_half_precision_is_decoded_in_float32():
    boxes = ops.decode_boxes(torch.zeros(1, 4, dtype=torch.float16), ANCHOR)
    assert boxes.dtype == torch.float32
    assert_close(boxes, ANCHOR)


def test_nan_and_infinity_stay_in_their_box():
    deltas = torch.zeros(3, 4)
    deltas[0, 0], deltas[1, 2] = math.nan, math.inf
    boxes = ops.decode_boxes(deltas, ANCHOR.repeat(3, 1))
    assert boxes[0, 0].isnan()
    assert boxes[0, 1] == 20
    assert boxes[1].isfinite().all()  # the clip holds it
    assert_close(boxes[2:], ANCHOR)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"deltas must be \(1, 4 \* k\), one row for each anchor; got \(2, 4\)"):
        ops.decode_boxes(torch.zeros(2, 4), ANCHOR)
    with pytest.raises(ShapeError, match=r"deltas must be \(1, 4 \* k\).* got \(1, 6\)"):
        ops.decode_boxes(torch.zeros(1, 6), ANCHOR)
    with pytest.raises(ShapeError, match=r"cell_anchors must be boxes of shape \(N, 4\)"):
        ops.anchor_grid(torch.zeros(4), size=(1, 1), stride=8)
