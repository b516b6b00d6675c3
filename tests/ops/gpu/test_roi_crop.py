"""RoICrop: the kernels as the definition, forward and backward."""

import pytest
import torch
from torch.testing import assert_close

from tests.ops.gpu.regions import by_definition, pool, scene, tolerance


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("channels", "dtype", "output_size"),
    [(1, torch.float64, (1, 1)), (3, torch.float32, (3, 2)), (255, torch.float32, (1, 4)), (5, torch.bfloat16, (2, 2))],
)
def test_it_matches_the_definition(device, channels_last, channels, dtype, output_size):
    given = scene(channels, channels_last, dtype)
    found = pool("roi_crop", device, *given, output_size=output_size)
    expected = by_definition("roi_crop", *given, output_size=output_size)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, **tolerance(dtype))
        assert a.stride() == b.stride()
