"""Pasted masks: the kernel as the definition, to the bit where the arithmetic is the same, else off the threshold."""

import pytest
import torch

from boxwright import ops
from boxwright.ops.reference.paste_masks import paste_masks as definition
from boxwright.ops.rules import PasteRule
from tests.ops.cases import seeded

BOXES = torch.tensor(
    [
        [2.3, 3.1, 20.7, 15.2],
        [-5.0, -6.0, 8.0, 9.0],
        [30.0, 30.0, 10.0, 10.0],
        [1e8, 0.0, 2e8, 5.0],
        [torch.inf, 0.0, 1.0, 1.0],
        [1.0, torch.nan, 9.0, 9.0],
        [10.0, 5.0, 10.0, 9.0],
        [-1e9, -1e9, 1e9, 1e9],
        [0.0, 0.0, 300.0, 20.0],
    ]
)


@pytest.mark.parametrize("method", ["sampled", "resized"])
@pytest.mark.parametrize(
    ("size", "shape"), [((23, 300), (5, 4)), ((17, 19), (28, 28)), ((1, 1), (1, 1)), ((0, 5), (3, 3))]
)
def test_it_matches_the_definition(device, method, size, shape):
    masks = torch.rand(len(BOXES), *shape, generator=seeded(1))
    found = ops.paste_masks(masks.to(device), BOXES.to(device), size, method=method).cpu()
    # Where a value is the threshold to the last bit but one, a fused and a separate sum may disagree.
    surely = definition(masks, BOXES, PasteRule(size, 0.5 + 1e-6, method))
    maybe = definition(masks, BOXES, PasteRule(size, 0.5 - 1e-6, method))
    assert found.dtype == torch.bool
    assert found.shape == (len(BOXES), *size)
    assert torch.equal(found & surely, surely)
    assert torch.equal(found & maybe, found)
    assert (maybe ^ surely).sum() <= maybe.numel() // 1000


@pytest.mark.parametrize("method", ["sampled", "resized"])
def test_a_box_that_is_not_finite_gives_an_empty_mask(device, method):
    masks = torch.ones(len(BOXES), 4, 4, device=device)
    found = ops.paste_masks(masks, BOXES.to(device), (9, 9), method=method).cpu()
    assert not found[4:6].any()
    assert found[7].all()


def test_no_masks_give_none(device):
    found = ops.paste_masks(torch.zeros(0, 28, 28, device=device), torch.zeros(0, 4, device=device), (5, 6))
    assert found.shape == (0, 5, 6)
