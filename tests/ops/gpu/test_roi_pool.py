"""RoIPool: the kernels as the definition, forward to the bit, and backward."""

import pytest
import torch
from torch.testing import assert_close

from boxwright.ops.reference.roi_pool import roi_pool as definition
from boxwright.ops.rules import PoolingRule
from tests.ops.gpu.regions import SCALES, by_definition, pool, scene, tolerance


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, torch.float64), (3, torch.float32), (255, torch.float32), (5, torch.bfloat16)]
)
def test_it_matches_the_definition(device, channels_last, channels, dtype):
    given = scene(channels, channels_last, dtype)
    found, expected = (
        pool("roi_pool", device, *given, output_size=(3, 2)),
        by_definition("roi_pool", *given, output_size=(3, 2)),
    )
    assert torch.equal(found[0], expected[0])
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, **tolerance(dtype))
        assert a.stride() == b.stride()


@pytest.mark.parametrize("channels_last", [False, True])
def test_nan_wins_and_the_first_of_equals_is_found(device, channels_last):
    maps, *places = scene(4, channels_last, torch.float32)
    maps = [m.round() for m in maps]
    maps[0][0, 1, 4, 5], maps[0][1, 2] = torch.nan, -torch.inf
    expected = definition(maps, *places, PoolingRule(SCALES, (2, 3)))
    moved = [m.to(device) for m in maps], *(p.to(device) for p in places)
    found = torch.ops.boxwright.roi_pool(*moved, SCALES, [2, 3])
    assert expected[0].isnan().any()
    assert_close(found[0].cpu(), expected[0], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(found[1].cpu(), expected[1])
