"""Pairwise overlap: the kernel as the definition, to the bit."""

import pytest
import torch
from torch.testing import assert_close

from boxwright import ops
from boxwright.ops.reference import iou as definition
from tests.ops.cases import random_boxes


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (1, 1), (2, 513), (5, 200), (513, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_matches_the_definition(device, n, m, dtype):
    a, b = random_boxes(n, dtype=dtype), random_boxes(m, seed=1, dtype=dtype)
    if n and m:
        a[0, :], b[0, :] = 0, 0  # no union
        b[-1, 2] = torch.nan
    exactly = {"rtol": 0, "atol": 0, "equal_nan": True}
    for offset in (0.0, 1.0):
        found = ops.box_iou(a.to(device), b.to(device), offset=offset)
        assert_close(found.cpu(), definition.box_iou(a, b, offset=offset), **exactly)
    found = ops.generalized_box_iou(a.to(device), b.to(device))
    assert_close(found.cpu(), definition.generalized_box_iou(a, b), **exactly)
