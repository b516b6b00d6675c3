"""What a region's mask should be, by the rule of each original."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from boxwright.errors import DatasetError
from boxwright.models.frames import make_frames
from boxwright.models.mask_targets import mask_targets
from boxwright.models.objects import gather_objects
from boxwright.models.regions import Regions
from boxwright.types import Batch, Masks, Target

RULES = ["polygons", "detectron", "bitmaps", "soft_bitmaps"]


def case(boxes, *, ring=(8, 8, 24, 8, 24, 24, 8, 24), as_bitmap=False, masks=True):
    size = (32, 32)
    segments = Masks([[np.array(ring, dtype=np.float64)]], size)
    if as_bitmap:
        segments = Masks(segments.rles(), size)
    target = Target(
        boxes=torch.tensor([[8.0, 8, 24, 24]]), labels=torch.tensor([0]), size=size, masks=segments if masks else None
    )
    batch = Batch(torch.zeros(1, 3, 32, 32), [size], [size], [(1.0, 1.0)], targets=[target])
    count = len(boxes)
    zeros = torch.zeros(count, dtype=torch.int64)
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    regions = Regions(rows, zeros, zeros, zeros, is_object=zeros.bool(), is_real=~zeros.bool(), most_positive=count)
    return regions, gather_objects(batch, num_classes=1), make_frames(batch, pad_to=32)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("as_bitmap", [False, True], ids=["polygon", "run lengths"])
def test_a_square_fills_its_own_box_and_half_of_one_beside_it(rule, as_bitmap):
    regions, objects, frames = case([[8, 8, 24, 24], [16, 8, 32, 24], [0, 0, 6, 6]], as_bitmap=as_bitmap)
    found = mask_targets(regions, objects, frames, size=8, rule=rule)
    assert found.shape == (3, 8, 8)
    assert_close(found[0].mean().item(), 1.0, rtol=0, atol=0.13)
    assert_close(found[1, 2:6, :3], torch.ones(4, 3))
    assert_close(found[1, :, 5:], torch.zeros(8, 3))
    assert found[2].max() == 0


@pytest.mark.parametrize("rule", ["polygons", "detectron", "bitmaps"])
def test_hard_rules_give_zeros_and_ones(rule):
    regions, objects, frames = case([[5, 6, 27, 21]], ring=(8, 8, 24, 10, 20, 24))
    assert set(mask_targets(regions, objects, frames, size=14, rule=rule).unique().tolist()) == {0.0, 1.0}


def test_soft_bitmaps_have_a_border():
    regions, objects, frames = case([[5, 6, 27, 21]])
    values = mask_targets(regions, objects, frames, size=14, rule="soft_bitmaps")
    assert ((values > 0) & (values < 1)).any()


@pytest.mark.parametrize("rule", RULES)
def test_no_regions_give_no_targets(rule):
    assert mask_targets(*case([]), size=28, rule=rule).shape == (0, 28, 28)


def test_missing_masks_are_told():
    with pytest.raises(DatasetError, match="targets have no masks; annotate them or drop mask_head"):
        mask_targets(*case([[1, 1, 5, 5]], masks=False), size=28, rule="polygons")


SIZES = [(32, 40), (26, 32)]


def batch_with(segments_of_images, sizes=SIZES):
    """Objects of one box each; the images are padded together."""
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    targets = []
    for segments, size in zip(segments_of_images, sizes, strict=True):
        count = len(segments)
        boxes = torch.tensor([[4.0, 4, 20, 20]]).repeat(count, 1)
        targets.append(Target(boxes, torch.zeros(count, dtype=torch.int64), size, masks=Masks(segments, size)))
    scales = [(1.0, 1.0)] * len(sizes)
    return Batch(torch.zeros(len(sizes), 3, height, width), sizes, sizes, scales, targets=targets)


def targets_of(batch, boxes, image, owner, rule):
    rows = torch.tensor(boxes, dtype=torch.float32)
    count = len(rows)
    there = torch.ones(count, dtype=torch.bool)
    regions = Regions(rows, image, image * 0, owner, is_object=~there, is_real=there, most_positive=count)
    return mask_targets(regions, gather_objects(batch, num_classes=1), make_frames(batch, pad_to=1), size=14, rule=rule)


def polygon(*points):
    return [np.array(points, dtype=np.float64)]


def run_lengths(segment, size):
    return Masks([segment], size).rles()[0]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("chunk", [1, 2**26])
def test_an_image_has_the_targets_it_has_alone(rule, chunk, monkeypatch):
    monkeypatch.setattr("boxwright.models.mask_targets.BITMAP_PIXELS", chunk)
    large = [polygon(2, 2, 38, 6, 30, 31, 4, 20), polygon(20, 10, 40, 10, 40, 32, 20, 32)]
    small = [run_lengths(polygon(10, 3, 32, 3, 32, 26, 6, 26), SIZES[1])]
    boxes = [[3, 2, 36, 30], [18, 12, 40, 32], [5, 4, 32, 26], [12, 8, 32, 26]]
    together = targets_of(
        batch_with([large, small]), boxes, torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 2, 2]), rule
    )
    first = batch_with([large], SIZES[:1]), boxes[:2], torch.tensor([0, 0]), torch.tensor([0, 1])
    # Padded like the batch by one pixel: its bitmaps go on with zeros, where those of a lone image echo.
    lone = batch_with([small, []], [SIZES[1], (27, 33)]) if rule == "bitmaps" else batch_with([small], SIZES[1:])
    second = lone, boxes[2:], torch.tensor([0, 0]), torch.tensor([0, 0])
    alone = [targets_of(*one, rule) for one in (first, second)]
    assert_close(together, torch.cat(alone))
    assert 0.2 < together.mean() < 0.95


def test_outlines_and_run_lengths_stand_side_by_side():
    shapes = [polygon(4, 4, 20, 4, 20, 20, 4, 20), polygon(8, 2, 30, 20, 6, 24)]
    mixed = [shapes[0], run_lengths(shapes[1], SIZES[0])]
    boxes, image = [[2, 3, 22, 22], [5, 2, 28, 25]], torch.tensor([0, 0])
    found, outlined, bitmapped = (
        targets_of(batch_with([segments], SIZES[:1]), boxes, image, torch.tensor([0, 1]), "polygons")
        for segments in (mixed, shapes, [run_lengths(shape, SIZES[0]) for shape in shapes])
    )
    assert_close(found[0], outlined[0])
    assert_close(found[1], bitmapped[1])
    assert (outlined[1] - bitmapped[1]).abs().mean() < 0.1
