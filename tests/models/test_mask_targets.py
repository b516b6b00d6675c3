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
