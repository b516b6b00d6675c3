"""Polygons as seen through a box: by hand, and as pycocotools draws the polygon where it lies."""

import math

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from boxwright import ops
from boxwright.errors import ShapeError

SQUARE = [10, 10, 18, 10, 18, 18, 10, 18]


def star(num_points, *, span, middle=14.0, seed=0):
    """A ring that crosses itself, with points about the middle."""
    random = np.random.default_rng(seed)
    return (middle + span * (random.random((num_points, 2)) - 0.5)).ravel()


# For a frame of 28 x 28.
NASTY = {
    "crosses itself": star(9, span=40.0),
    "on whole pixels": star(12, span=40.0, seed=1).round(),
    "on half pixels": (star(12, span=40.0, seed=2) * 2).round() / 2,
    "on tenths, where fifths are rounded": (star(40, span=40.0, seed=3) * 10).round() / 10,
    "repeated points": np.repeat(star(7, span=30.0, seed=4).reshape(-1, 2), 3, axis=0).ravel(),
    "a single point": np.tile([14.2, 9.7], 5),
    "a horizontal line": np.array([3.0, 7.5, 20.0, 7.5, 9.0, 7.5]),
    "a vertical line": np.array([7.5, 3.0, 7.5, 20.0, 7.5, 9.0]),
    "smaller than a pixel": star(3, span=0.7, seed=5),
    "a steep edge whose step a division finds one too early": np.array([18.2, -30.8, -9.4, 59.8, 60, 59.8]),
    "out to the left": np.array([-40.0, 3, 12, 14, -40, 25]),
    "out to the right": np.array([70.0, 3, 12, 14, 70, 25]),
    "out above": np.array([3.0, -40, 14, 12, 25, -40]),
    "out below": np.array([3.0, 70, 14, 12, 25, 70]),
    "out on all sides": star(8, span=300.0, seed=6),
    "wholly outside": star(8, span=20.0, middle=-60.0, seed=7),
    "far away": star(6, span=2e5, seed=8),
    "the whole frame": np.array([-1e5, -1e5, 1e5, -1e5, 1e5, 1e5, -1e5, 1e5]),
    "huge": star(2000, span=60.0, seed=9),
}


def draw(polygon, height, width):
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], height, width))).astype(bool)


@pytest.mark.parametrize("single_precision", [False, True])
def test_by_hand(backend, single_precision):
    # The box is twice as wide as the square, which fills its left half.
    boxes = torch.tensor([[10.0, 10, 26, 18]])
    drawn = ops.rasterize_polygons([[SQUARE]], boxes, size=8, single_precision=single_precision)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:, :4] = True
    assert torch.equal(drawn[0], expected)


def test_in_a_box_of_its_own_size_it_is_the_polygon(backend):
    random = np.random.default_rng(0)
    angle = np.sort(random.random(9)) * 2 * math.pi
    polygon = np.stack((14 + 9 * np.cos(angle), 14 + 11 * np.sin(angle)), axis=1).ravel()
    drawn = ops.rasterize_polygons([[polygon]], torch.tensor([[0.0, 0, 28, 28]]), size=28)
    assert np.array_equal(drawn[0].numpy(), draw(polygon.tolist(), 28, 28))
    moved = polygon + 100
    drawn = ops.rasterize_polygons([[moved]], torch.tensor([[100.0, 100, 128, 128]]), size=28)
    assert np.array_equal(drawn[0].numpy(), draw(polygon.tolist(), 28, 28))


def test_several_polygons_are_one_mask_and_none_is_an_empty_one(backend):
    other = [20, 10, 26, 10, 26, 18, 20, 18]
    box = torch.tensor([[10.0, 10, 26, 26]])
    both = ops.rasterize_polygons([[SQUARE, other], []], box.repeat(2, 1), size=16)
    one, two = (ops.rasterize_polygons([[p]], box, size=16)[0] for p in (SQUARE, other))
    assert torch.equal(both[0], one | two)
    assert not both[1].any()


@pytest.mark.parametrize(("min_side", "covered"), [(0.1, 1.0), (1.0, 0.5)])
def test_a_thin_box_counts_as_the_smallest_side(backend, min_side, covered):
    boxes = torch.tensor([[10.0, 10, 10.5, 18]])
    tall = [10, 10, 10.5, 10, 10.5, 18, 10, 18]
    drawn = ops.rasterize_polygons([[tall]], boxes, size=8, min_side=min_side)
    assert drawn.float().mean().item() == pytest.approx(covered)


def test_a_box_that_is_not_finite_gives_an_empty_mask(backend):
    boxes = torch.tensor([[math.nan, 0, 1, 1], [0, 0, math.inf, 1]])
    drawn = ops.rasterize_polygons([[SQUARE], [SQUARE]], boxes, size=8)
    assert not drawn.any()


def test_no_instances_give_none(backend):
    assert ops.rasterize_polygons([], torch.zeros(0, 4), size=28).shape == (0, 28, 28)


@pytest.mark.parametrize("ring", NASTY.values(), ids=NASTY)
def test_every_bit_is_that_of_pycocotools(backend, ring):
    drawn = ops.rasterize_polygons([[ring]], torch.tensor([[0.0, 0, 28, 28]]), size=28)
    assert np.array_equal(drawn[0].numpy(), draw(ring, 28, 28))


@pytest.mark.parametrize("size", [1, 33, 65])
def test_other_sizes_are_drawn_as_well(backend, size):
    rings = [star(7, span=1.5 * size, middle=size / 2, seed=k) for k in range(2)]
    drawn = ops.rasterize_polygons([rings], torch.tensor([[0.0, 0, size, size]]), size=size)
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(rings, size, size)))
    assert np.array_equal(drawn[0].numpy(), expected.astype(bool))


def placed(ring, box, size, min_side, single_precision):
    """As Detectron and Detectron2 compute with numpy; of the latter's numbers the ratio alone is float32."""
    sides = np.tile(np.maximum(box[2:] - box[:2], np.float32(min_side)), len(ring) // 2)
    corner = np.tile(box[:2], len(ring) // 2)
    if single_precision:
        return (ring.astype(np.float32) - corner) * np.float32(size) / sides
    return (ring - corner) * (np.float32(size) / sides)


@pytest.mark.parametrize("min_side", [0.1, 1.0])
@pytest.mark.parametrize("single_precision", [False, True])
def test_points_are_placed_as_the_originals_compute(backend, single_precision, min_side):
    random = np.random.default_rng(0)
    corner, sides = random.uniform(-20, 60, (10, 2)), 10 ** random.uniform(-2, 2, (10, 2))
    boxes = np.concatenate((corner, corner + sides), axis=1)
    rings = [star(8, span=60.0, middle=40.0, seed=k) for k in range(10)]
    # Edges through the middle of pixels: the last bit of a product decides on a whole row.
    for side in (3, 7, 11, 13, 19, 23, 29, 31):
        boxes = np.concatenate((boxes, [[10, 10, 10 + side, 10 + side]]))
        rings.append(10 + np.array([2.5, 3.5, 9.5, 3.5, 9.5, 11.5, 2.5, 11.5]) * (side / 14))
    settings = {"size": 14, "min_side": min_side, "single_precision": single_precision}
    boxes = boxes.astype(np.float32)
    drawn = ops.rasterize_polygons([[ring] for ring in rings], torch.from_numpy(boxes), **settings)
    for ring, box, found in zip(rings, boxes, drawn.numpy(), strict=True):
        assert np.array_equal(found, draw(placed(ring, box, **settings), 14, 14))


def test_regions_share_instances_and_padding_gives_an_empty_mask(backend):
    outlines = ops.Outlines.pack([[SQUARE], [], [star(9, span=20.0), SQUARE]])
    owner = torch.tensor([2, 0, 0, -1, 3, 1, 2])
    boxes = torch.tensor([[8.0, 8, 20, 20]]).repeat(7, 1)
    boxes[2] = 0
    boxes[6, 2] = 14
    drawn = ops.rasterize_outlines(outlines, owner, boxes, size=8)
    for region, polygons in ((0, [star(9, span=20.0), SQUARE]), (1, [SQUARE]), (6, [star(9, span=20.0), SQUARE])):
        alone = ops.rasterize_polygons([polygons], boxes[region][None], size=8)
        assert alone.any()
        assert torch.equal(drawn[region], alone[0])
    assert not drawn[2:6].any()


def test_points_farther_than_pycocotools_counts_still_have_a_side(cpu):
    # The definition would walk such edges for gigabytes.
    around = [-1e30, -1e300, 1e30, -1e300, 1e300, 1e30, -1e300, 1e30]
    beside = [1e300, 1, 1e300, 5, 1e30, 9]
    nowhere = [math.nan, math.nan, math.inf, 1, 2, math.nan]
    drawn = ops.rasterize_polygons([[around], [beside], [nowhere]], torch.tensor([[0.0, 0, 8, 8]]).repeat(3, 1), size=8)
    assert drawn[0].all()
    assert not drawn[1].any()
    assert drawn.shape == (3, 8, 8)


def test_outlines_are_the_polygons_end_to_end():
    outlines = ops.Outlines.pack([[], [np.array([1, 2, 3, 4, 5, 6], np.int32), SQUARE], [[0.5] * 6]])
    assert len(outlines) == 3
    assert outlines.points.dtype == torch.float64
    assert outlines.points[:4].tolist() == [[1, 2], [3, 4], [5, 6], [10, 10]]
    assert outlines.point_first.tolist() == [0, 3, 7, 10]
    assert outlines.ring_first.tolist() == [0, 0, 2, 3]
    assert len(ops.Outlines.pack([])) == 0


def test_shapes_are_known_without_data():
    outlines = ops.Outlines.pack([[SQUARE]]).to("meta")
    owner, boxes = torch.zeros(3, dtype=torch.int64, device="meta"), torch.zeros(3, 4, device="meta")
    drawn = ops.rasterize_outlines(outlines, owner, boxes, size=28)
    assert (drawn.shape, drawn.dtype, drawn.device.type) == ((3, 28, 28), torch.bool, "meta")


def test_mistakes_are_named():
    with pytest.raises(ShapeError, match="there are 2 instances of polygons but 1 boxes"):
        ops.rasterize_polygons([[SQUARE]] * 2, torch.zeros(1, 4), size=8)
    for wrong in ([0, 0, 1, 1], [0, 0, 1, 1, 2, 2, 3], np.zeros((3, 2))):
        said = r"a polygon must be flat x, y, x, y, ... of at least 3 points; got shape .* for polygon 1 of instance 2"
        with pytest.raises(ShapeError, match=said):
            ops.rasterize_polygons([[], [SQUARE], [SQUARE, wrong]], torch.zeros(3, 4), size=8)
    outlines, boxes = ops.Outlines.pack([[SQUARE]]), torch.zeros(2, 4)
    with pytest.raises(ShapeError, match="owner must have one entry for each of the 2 boxes"):
        ops.rasterize_outlines(outlines, torch.zeros(3, dtype=torch.int64), boxes, size=8)
    with pytest.raises(ShapeError, match="the outlines are on meta, but the boxes are on cpu"):
        ops.rasterize_outlines(outlines.to("meta"), torch.zeros(2, dtype=torch.int64), boxes, size=8)
