"""Polygons as seen through a box: by hand, and as pycocotools draws the polygon where it lies."""

import math

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from boxwright import ops
from boxwright.errors import ShapeError

SQUARE = [10, 10, 18, 10, 18, 18, 10, 18]


def draw(polygon, height, width):
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], height, width))).astype(bool)


@pytest.mark.parametrize("single_precision", [False, True])
def test_by_hand(single_precision):
    # The box is twice as wide as the square, which fills its left half.
    boxes = torch.tensor([[10.0, 10, 26, 18]])
    drawn = ops.rasterize_polygons([[SQUARE]], boxes, size=8, single_precision=single_precision)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:, :4] = True
    assert torch.equal(drawn[0], expected)


def test_in_a_box_of_its_own_size_it_is_the_polygon():
    random = np.random.default_rng(0)
    angle = np.sort(random.random(9)) * 2 * math.pi
    polygon = np.stack((14 + 9 * np.cos(angle), 14 + 11 * np.sin(angle)), axis=1).ravel()
    drawn = ops.rasterize_polygons([[polygon]], torch.tensor([[0.0, 0, 28, 28]]), size=28)
    assert np.array_equal(drawn[0].numpy(), draw(polygon.tolist(), 28, 28))
    moved = polygon + 100
    drawn = ops.rasterize_polygons([[moved]], torch.tensor([[100.0, 100, 128, 128]]), size=28)
    assert np.array_equal(drawn[0].numpy(), draw(polygon.tolist(), 28, 28))


def test_several_polygons_are_one_mask_and_none_is_an_empty_one():
    other = [20, 10, 26, 10, 26, 18, 20, 18]
    box = torch.tensor([[10.0, 10, 26, 26]])
    both = ops.rasterize_polygons([[SQUARE, other], []], box.repeat(2, 1), size=16)
    one, two = (ops.rasterize_polygons([[p]], box, size=16)[0] for p in (SQUARE, other))
    assert torch.equal(both[0], one | two)
    assert not both[1].any()


@pytest.mark.parametrize(("min_side", "covered"), [(0.1, 1.0), (1.0, 0.5)])
def test_a_thin_box_counts_as_the_smallest_side(min_side, covered):
    boxes = torch.tensor([[10.0, 10, 10.5, 18]])
    tall = [10, 10, 10.5, 10, 10.5, 18, 10, 18]
    drawn = ops.rasterize_polygons([[tall]], boxes, size=8, min_side=min_side)
    assert drawn.float().mean().item() == pytest.approx(covered)


def test_a_box_that_is_not_finite_gives_an_empty_mask():
    boxes = torch.tensor([[math.nan, 0, 1, 1], [0, 0, math.inf, 1]])
    with np.errstate(invalid="ignore"):
        drawn = ops.rasterize_polygons([[SQUARE], [SQUARE]], boxes, size=8)
    assert not drawn.any()


def test_no_instances_give_none():
    assert ops.rasterize_polygons([], torch.zeros(0, 4), size=28).shape == (0, 28, 28)


def test_mistakes_are_named():
    with pytest.raises(ShapeError, match="there are 2 instances of polygons but 1 boxes"):
        ops.rasterize_polygons([[SQUARE]] * 2, torch.zeros(1, 4), size=8)
    for wrong in ([0, 0, 1, 1], [0, 0, 1, 1, 2, 2, 3], np.zeros((3, 2))):
        with pytest.raises(ShapeError, match=r"a polygon must be flat x, y, x, y, ... of at least 3 points"):
            ops.rasterize_polygons([[wrong]], torch.zeros(1, 4), size=8)
