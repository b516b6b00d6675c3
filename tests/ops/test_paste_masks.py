"""Masks in their image: by hand, as torch's own resampling, and the kernels as the definition, to the bit."""

import math

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch.nn import functional
from torch.testing import assert_close

from boxwright import ops
from boxwright.errors import ShapeError
from boxwright.ops.reference.paste_masks import paste_masks as definition
from boxwright.ops.rules import PasteRule
from tests.ops.cases import seeded

METHODS = ["sampled", "resized"]
# Ordinary, across each border, outside, flat, turned, a fraction of a pixel, larger than the image.
AWKWARD = torch.tensor(
    [
        [3.2, 4.7, 20.9, 15.1],
        [-7.0, -3.0, 8.0, 9.0],
        [25.5, 10.0, 44.0, 33.0],
        [50.0, 50.0, 60.0, 60.0],
        [-30.0, -30.0, -10.0, -10.0],
        [5.0, 5.0, 5.0, 15.0],
        [12.0, 15.0, 6.0, 5.0],
        [7.4, 7.4, 7.6, 7.6],
        [-100.0, -80.0, 150.0, 120.0],
        [0.0, 0.0, 31.0, 23.0],
    ]
)


def random_masks(n, height=28, width=28):
    """Smooth, so that the two sides of the threshold are areas."""
    coarse = torch.rand(n, 1, 7, 7, generator=seeded(n))
    return functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)[:, 0]


@pytest.mark.parametrize("method", METHODS)
def test_a_full_mask_fills_its_box(backend, method):
    pasted = ops.paste_masks(torch.ones(1, 4, 4), torch.tensor([[2.0, 1, 6, 4]]), (6, 9), method=method)
    expected = torch.zeros(6, 9, dtype=torch.bool)
    if method == "sampled":
        expected[1:4, 2:6] = True  # the centres of these pixels lie in the box
    else:
        # The box grows by 6 / 4 about its centre (4, 2.5) to 1..7, 0.25..4.75, cut to columns 1..7 and rows 0..4: 7
        # columns and 5 rows for 6 cells, of which the outer ones are 0. Column centres fall at 6 / 7 of a cell each.
        expected[1:4, 2:7] = True
    assert torch.equal(pasted[0], expected)


def test_half_a_mask_sets_half_the_box(backend):
    mask = torch.zeros(1, 2, 2)
    mask[:, :, 1] = 1
    pasted = ops.paste_masks(mask, torch.tensor([[0.0, 0, 8, 2]]), (2, 8), threshold=0.5)
    # Cells are 4 wide with centres at 2 and 6: half way lies at 4, and the pixel after has its centre at 4.5.
    assert pasted[0].int().tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]] * 2


@pytest.mark.parametrize(("method", "expected"), [("sampled", True), ("resized", False)])
def test_a_value_equal_to_the_threshold(backend, method, expected):
    pasted = ops.paste_masks(torch.full((1, 8, 8), 0.5), torch.tensor([[0.0, 0, 8, 8]]), (8, 8), method=method)
    assert pasted[0, 4, 4].item() is expected


def sampled_by_torch(mask, box, size):
    """Over the whole image; the outline of one pixel around the box that the originals cut off holds zeros."""
    x1, y1, x2, y2 = box.tolist()
    y = (torch.arange(size[0]) + 0.5 - y1) / (y2 - y1) * 2 - 1
    x = (torch.arange(size[1]) + 0.5 - x1) / (x2 - x1) * 2 - 1
    grid = torch.stack((x.expand(len(y), -1), y[:, None].expand(-1, len(x))), dim=-1)
    return functional.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]


@pytest.mark.parametrize("shape", [(28, 28), (14, 21), (1, 1)])
def test_sampled_masks_are_torchs_bilinear_grid(backend, shape):
    masks = random_masks(len(AWKWARD), *shape)
    pasted = ops.paste_masks(masks, AWKWARD, (24, 32))
    for mask, box, found in zip(masks, AWKWARD, pasted, strict=True):
        has_area = bool((box[2:] > box[:2]).all())
        values = sampled_by_torch(mask, box, (24, 32)) if has_area else torch.zeros(24, 32)
        # A rounding may differ in the last place, not more.
        is_clear = (values - 0.5).abs() > 1e-5
        outline = torch.zeros(24, 32, dtype=torch.bool)
        left, top, right, bottom = (int(v) for v in (*(box[:2].floor() - 1), *(box[2:].ceil() + 1)))
        outline[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
        assert torch.equal(found & is_clear, (values >= 0.5) & outline & is_clear)


def resized_by_torch(mask, box, size):
    """As the originals wrote it: pad, grow, cut to integers, resize to the box, copy what lies inside the image."""
    height, width = mask.shape
    half = (box[2:] - box[:2]) / 2 * torch.tensor([(width + 2) / width, (height + 2) / height])
    centre = (box[2:] + box[:2]) / 2
    x1, y1, x2, y2 = torch.cat((centre - half, centre + half)).to(torch.int64).tolist()
    new_size = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
    padded = functional.pad(mask, (1, 1, 1, 1))[None, None]
    drawn = functional.interpolate(padded, new_size, mode="bilinear", align_corners=False)[0, 0]
    out = torch.zeros(size)
    top, bottom, left, right = max(y1, 0), min(y2 + 1, size[0]), max(x1, 0), min(x2 + 1, size[1])
    if bottom > top and right > left:
        out[top:bottom, left:right] = drawn[top - y1 : bottom - y1, left - x1 : right - x1]
    return out


@pytest.mark.parametrize("shape", [(28, 28), (14, 21), (1, 1)])
def test_resized_masks_are_torchs_interpolation(backend, shape):
    masks = random_masks(len(AWKWARD), *shape)
    pasted = ops.paste_masks(masks, AWKWARD, (24, 32), method="resized")
    for mask, box, found in zip(masks, AWKWARD, pasted, strict=True):
        values = resized_by_torch(mask, box, (24, 32))
        is_clear = (values - 0.5).abs() > 1e-5
        assert torch.equal(found & is_clear, (values > 0.5) & is_clear)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [0, 1, 60])
def test_the_kernel_matches_the_definition_to_the_bit(cpu, method, n):
    corner, extent = torch.rand(2, n, 2, generator=seeded(3)) * 120
    boxes = torch.cat((corner - 30, corner - 30 + extent), dim=1)
    masks, size = random_masks(n), (90, 110)
    for threshold in (0.5, 0.3):
        found = ops.paste_masks(masks, boxes, size, threshold=threshold, method=method)
        assert torch.equal(found, definition(masks, boxes, PasteRule(size, threshold, method)))
    assert n < 60 or found.any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wild", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 3])
def test_a_box_that_is_not_finite_gives_an_empty_mask(backend, method, wild, place):
    boxes = torch.tensor([[1.0, 1, 7, 7]] * 2)
    boxes[0, place] = wild
    pasted = ops.paste_masks(torch.ones(2, 4, 4), boxes, (8, 8), method=method)
    assert not pasted[0].any()
    assert pasted[1].any()
    assert ops.paste_masks_rle(torch.ones(2, 4, 4), boxes, (8, 8), method=method)[0]["counts"] == encode(pasted[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_wild_but_finite_box_covers_the_image(backend, method):
    boxes = torch.tensor([[-1e30, -1e30, 1e30, 1e30]])
    assert ops.paste_masks(torch.ones(1, 4, 4), boxes, (8, 8), method=method).all()


def encode(bitmap):
    return coco_mask.encode(np.asfortranarray(bitmap.numpy().astype(np.uint8)))["counts"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(24, 32), (1, 40), (40, 1), (0, 5)])
def test_run_lengths_are_those_of_pycocotools(cpu, method, size):
    masks = torch.cat((random_masks(len(AWKWARD)), torch.ones(len(AWKWARD), 28, 28)))
    boxes = AWKWARD.repeat(2, 1)
    encoded = ops.paste_masks_rle(masks, boxes, size, method=method)
    pasted = ops.paste_masks(masks, boxes, size, method=method)
    assert [e["size"] for e in encoded] == [list(size)] * len(boxes)
    assert [e["counts"] for e in encoded] == [encode(p) for p in pasted]


def test_no_masks_give_none(backend):
    assert ops.paste_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), (5, 6)).shape == (0, 5, 6)
    assert ops.paste_masks_rle(torch.zeros(0, 28, 28), torch.zeros(0, 4), (5, 6)) == []


def test_the_type_of_the_probabilities_does_not_matter(backend):
    masks, boxes = random_masks(3).double(), AWKWARD[:3].double()
    assert_close(
        ops.paste_masks(masks.requires_grad_(), boxes, (24, 32)), ops.paste_masks(masks.float(), boxes, (24, 32))
    )


@pytest.mark.parametrize(
    ("masks", "size", "method", "error"),
    [
        (torch.zeros(2, 4, 4), (8, 8), "sampled", r"masks must be \(1, h, w\), one for each box; got \(2, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), (8, 8), "sampled", r"masks must be \(1, h, w\)"),
        (torch.zeros(1, 0, 4), (8, 8), "sampled", r"masks must be \(1, h, w\).* got \(1, 0, 4\)"),
        (torch.zeros(1, 4, 4), (-1, 8), "sampled", r"size must be \(height, width\) of the image; got \(-1, 8\)"),
        (torch.zeros(1, 4, 4), (8, 8), "nearest", "no method 'nearest'; expected one of sampled, resized"),
    ],
)
def test_what_does_not_fit_is_refused(masks, size, method, error):
    for op in (ops.paste_masks, ops.paste_masks_rle):
        with pytest.raises(ShapeError, match=error):
            op(masks, torch.zeros(1, 4), size, method=method)
