"""Outlines drawn into boxes: the kernel as the definition, to the bit, and nothing waits."""

import pytest
import torch

from boxwright import ops
from boxwright.ops.reference.outlines import rasterize_outlines as definition
from boxwright.ops.rules import DrawingRule

# x, y in the frame of the boxes; some leave them by far, one is flat.
POLYGONS = [
    [[2.5, 3.5, 30, 8.25, 17.5, 41]],
    [[0, 0, 64, 0, 64, 64, 0, 64], [10, 10, 20, 50, 50, 20, 10, 10]],
    [],
    [[-1e5, -3e4, 1e5, 2e4, 20, 9e4], [5, 5, 5, 5, 40, 5]],
]
BOXES = torch.tensor(
    [
        [0.0, 0.0, 64.0, 64.0],
        [10.3, 5.1, 41.7, 29.9],
        [-50.0, -20.0, 20.0, 20.0],
        [20.0, 20.0, 20.0, 20.0],
        [0.0, 0.0, torch.inf, 64.0],
        [0.0, torch.nan, 64.0, 64.0],
    ]
)


@pytest.mark.parametrize(
    ("size", "single_precision", "num_regions"), [(28, False, 9), (28, True, 9), (70, False, 2), (1, True, 9)]
)
def test_it_matches_the_definition(device, size, single_precision, num_regions):
    outlines = ops.Outlines.pack(POLYGONS)
    owner = torch.tensor([0, 1, 2, 3, 1, 0, 1, -1, 4])[:num_regions]
    boxes = BOXES[[0, 1, 0, 1, 4, 5, 3, 0, 0]][:num_regions]
    settings = {"size": size, "min_side": 0.1, "single_precision": single_precision}
    found = ops.rasterize_outlines(outlines.to(device), owner.to(device), boxes.to(device), **settings)
    expected = definition(
        outlines.points, outlines.point_first, outlines.ring_first, owner, boxes, DrawingRule(**settings)
    )
    assert found.dtype == torch.bool
    assert torch.equal(found.cpu(), expected)


def test_nothing_waits(device, without_waiting):
    boxes, owner = BOXES[:2].to(device), torch.zeros(2, dtype=torch.int64, device=device)
    ops.rasterize_outlines(ops.Outlines.pack(POLYGONS).to(device), owner, boxes, size=8)  # compiled
    with without_waiting():
        found = ops.rasterize_outlines(ops.Outlines.pack(POLYGONS).to(device), owner, boxes, size=8)
    assert found.any()


def test_no_regions_and_no_instances_give_none(device):
    outlines = ops.Outlines.pack([]).to(device)
    nowhere = torch.zeros(0, dtype=torch.int64, device=device)
    assert ops.rasterize_outlines(outlines, nowhere, torch.zeros(0, 4, device=device), size=5).shape == (0, 5, 5)
    padding = torch.zeros(2, dtype=torch.int64, device=device)
    assert not ops.rasterize_outlines(outlines, padding, torch.zeros(2, 4, device=device), size=5).any()
