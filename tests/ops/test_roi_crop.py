"""RoICrop: by hand, as torch's own bilinear grid, and the kernel as the definition, forward and backward."""

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from boxwright import ops
from tests.ops.cases import awkward_rois, bad_rois, random_boxes, random_index, random_maps, seeded

# The value at row y and column x is 10 y + x.
RAMP = (10 * torch.arange(4.0)[:, None] + torch.arange(4.0)).view(1, 1, 4, 4)


def zeros(n):
    return torch.zeros(n, dtype=torch.int64)


def on_one_map(feature, rois, **settings):
    n = len(rois)
    return ops.roi_crop([feature], rois, zeros(n), zeros(n), **{"scales": [1.0], **settings})


@pytest.mark.parametrize(
    ("roi", "output_size", "expected"),
    [
        ([0, 0, 3, 3], (2, 2), [[0, 3], [30, 33]]),
        ([0.5, 1, 2.5, 2], (2, 3), [[10.5, 11.5, 12.5], [20.5, 21.5, 22.5]]),
        ([0, 0, 3, 3], (1, 1), [[16.5]]),  # a single point lies in the middle
        ([2.5, 1, 3.5, 1], (1, 2), [[12.5, 13 / 2]]),  # half of the last one is read outside
        ([-0.25, 0, 5, 0], (1, 2), [[0, 0]]),
        ([3, 3, 0, 0], (2, 2), [[33, 30], [3, 0]]),  # turned
    ],
)
def test_by_hand(backend, roi, output_size, expected):
    pooled = on_one_map(RAMP, torch.tensor([roi], dtype=torch.float32), output_size=output_size)
    assert_close(pooled[0, 0], torch.tensor(expected, dtype=torch.float32))


def by_grid_sample(feature, roi, scale, output_size):
    """(C, H, W) -> (C, ph, pw): the corners of the map are -1 and 1."""
    height, width = feature.shape[1:]
    x1, y1, x2, y2 = roi * scale
    y = torch.lerp(y1, y2, torch.linspace(0, 1, output_size[0], dtype=torch.float64)) / (height - 1) * 2 - 1
    x = torch.lerp(x1, x2, torch.linspace(0, 1, output_size[1], dtype=torch.float64)) / (width - 1) * 2 - 1
    grid = torch.stack((x.expand(len(y), -1), y[:, None].expand(-1, len(x))), dim=-1)
    return functional.grid_sample(feature[None], grid[None], align_corners=True)[0]


@pytest.mark.parametrize("channels_last", [False, True])
def test_it_is_torchs_bilinear_grid(backend, channels_last):
    (feature,) = random_maps((13, 17), batch=1, channels=3, dtype=torch.float64, channels_last=channels_last)
    rois = awkward_rois(torch.float64)
    pooled = on_one_map(feature, rois, scales=[0.5], output_size=(3, 4))
    expected = torch.stack([by_grid_sample(feature[0], roi, 0.5, (3, 4)) for roi in rois])
    assert_close(pooled, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("n", "channels"), [(0, 3), (1, 1), (9, 255), (9, 256), (60, 5)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_kernel_matches_the_definition(n, channels, channels_last):
    maps = random_maps((13, 17), (7, 9), (1, 1), channels=channels, channels_last=channels_last)
    given = random_boxes(n, span=20), random_index(n, 2), random_index(n, 3, seed=1)
    results = []
    for backend in ("cpu", "reference"):
        mine = [m.detach().clone().requires_grad_() for m in maps]
        with ops.use_backend(backend):
            pooled = ops.roi_crop(mine, *given, scales=[1.0, 0.5, 0.1], output_size=(3, 3))
            grad = torch.randn(pooled.shape, generator=seeded(9))
            results.append((pooled, *torch.autograd.grad(pooled, mine, grad)))
    for found, expected in zip(*results, strict=True):
        assert_close(found, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_gradient_is_that_of_finite_differences(backend, channels_last):
    maps = random_maps((5, 6), (3, 3), channels=2, dtype=torch.float64, channels_last=channels_last)
    rois = torch.tensor([[0.3, 0.2, 4.6, 4.1], [-2.0, 1.0, 3.0, 9.0]]).double()
    index = torch.tensor([0, 1])

    def crop(*features):
        return ops.roi_crop(features, rois, index, index, scales=[1.0, 0.5], output_size=(3, 2))

    assert torch.autograd.gradcheck(crop, [m.requires_grad_() for m in maps])


@pytest.mark.parametrize("channels_last", [False, True])
def test_bad_regions_give_zeros_and_take_no_gradient(backend, channels_last):
    maps = [m.requires_grad_() for m in random_maps((9, 9), (5, 5), channels_last=channels_last)]
    pooled = ops.roi_crop(maps, *bad_rois(), scales=[1.0, 0.5], output_size=(2, 2))
    assert (pooled == 0).all()
    assert all((g == 0).all() for g in torch.autograd.grad(pooled.sum(), maps))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(cpu, dtype):
    maps = random_maps((13, 17), channels=4, batch=1, dtype=dtype, channels_last=True)
    pooled = on_one_map(maps[0], awkward_rois(), output_size=(3, 3))
    wide = on_one_map(maps[0].float(), awkward_rois(), output_size=(3, 3))
    assert pooled.dtype == dtype
    assert_close(pooled.float(), wide.to(dtype).float(), rtol=torch.finfo(dtype).eps, atol=1e-6)
