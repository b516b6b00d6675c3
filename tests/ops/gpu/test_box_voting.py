"""Box voting: the kernel as the definition."""

import pytest
import torch
from torch.testing import assert_close

from boxwright import ops
from boxwright.ops.reference.box_voting import box_voting as definition
from boxwright.ops.rules import VotingRule
from boxwright.ops.suppression import SCORINGS
from tests.ops.cases import random_boxes, random_index, seeded


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize(("num_kept", "n"), [(0, 5), (3, 0), (4, 600)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_matches_the_definition(device, scoring, num_kept, n, dtype):
    boxes, scores = random_boxes(n, dtype=dtype), torch.rand(n, generator=seeded(1), dtype=dtype)
    kept, kept_scores = random_boxes(num_kept, dtype=dtype), torch.rand(num_kept, generator=seeded(2), dtype=dtype)
    if n:
        scores[1] = 0
    groups, kept_groups = random_index(n, 2), random_index(num_kept, 2, seed=4)
    given = (kept, kept_scores, boxes, scores)
    settings = {"iou_threshold": 0.5, "scoring": scoring, "beta": 0.7, "offset": 1.0}
    found = ops.box_voting(
        *(t.to(device) for t in given), kept_groups=kept_groups.to(device), all_groups=groups.to(device), **settings
    )
    expected = definition(kept, kept_scores, kept_groups, boxes, scores, groups, VotingRule(**settings))
    for a, b in zip(found, expected, strict=True):
        assert_close(a.cpu(), b, rtol=1e-5, atol=1e-5)
