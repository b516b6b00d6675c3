"""RoIPool: by hand, as a plain loop, and the kernel as the definition, forward and backward."""

import math

import pytest
import torch
from torch.testing import assert_close

from boxwright import ops
from tests.ops.cases import awkward_rois, bad_rois, random_boxes, random_index, random_maps, seeded

GRID = torch.arange(16.0).view(1, 1, 4, 4)


def zeros(n):
    return torch.zeros(n, dtype=torch.int64)


def on_one_map(feature, rois, **settings):
    n = len(rois)
    return ops.roi_pool([feature], rois, zeros(n), zeros(n), **{"scales": [1.0], **settings})


@pytest.mark.parametrize(
    ("roi", "output_size", "expected"),
    [
        ([0, 0, 3, 3], (2, 2), [[5, 7], [13, 15]]),  # both corners belong to it: all 4 x 4
        ([0, 0, 1, 1], (1, 1), [[5]]),
        ([2, 1, 2, 1], (1, 1), [[6]]),  # one pixel
        ([2, 1, 2, 1], (2, 2), [[6, 6], [6, 6]]),  # the same pixel in every bin
        ([0.5, 0.4, 2.5, 0.49], (1, 1), [[3]]),  # halves go away from zero: columns 1..3 of row 0
        ([-0.5, 0, 0, 0], (1, 1), [[0]]),  # columns -1..0
        ([0, 0, 2, 2], (2, 2), [[5, 6], [9, 10]]),  # bins of 1.5 pixels share the middle
        ([9, 9, 12, 12], (1, 1), [[0]]),  # wholly outside: empty
        ([3, 2, 1, 0], (1, 1), [[11]]),  # turned: one pixel, at its first corner
    ],
)
def test_by_hand(backend, roi, output_size, expected):
    pooled = on_one_map(GRID, torch.tensor([roi], dtype=torch.float32), output_size=output_size)
    assert pooled[0, 0].tolist() == expected


def half_away(value):
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def plain_loop(feature, roi, scale, output_size):
    x1, y1, x2, y2 = (half_away(v * scale) for v in roi.tolist())
    height, width = feature.shape[1:]
    step_y, step_x = max(y2 - y1 + 1, 1) / output_size[0], max(x2 - x1 + 1, 1) / output_size[1]
    out = torch.zeros(len(feature), *output_size, dtype=feature.dtype)
    for p in range(output_size[0]):
        for q in range(output_size[1]):
            top, bottom = (min(max(y1 + f(k * step_y), 0), height) for f, k in ((math.floor, p), (math.ceil, p + 1)))
            left, right = (min(max(x1 + f(k * step_x), 0), width) for f, k in ((math.floor, q), (math.ceil, q + 1)))
            if bottom > top and right > left:
                out[:, p, q] = feature[:, top:bottom, left:right].amax(dim=(1, 2))
    return out


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("output_size", [(2, 4), (5, 3)])
def test_it_is_what_a_plain_loop_gives(backend, channels_last, output_size):
    (feature,) = random_maps((13, 17), batch=1, channels=2, dtype=torch.float64, channels_last=channels_last)
    rois = awkward_rois(torch.float64)
    pooled = on_one_map(feature, rois, scales=[0.5], output_size=output_size)
    assert_close(pooled, torch.stack([plain_loop(feature[0], r, 0.5, output_size) for r in rois]), rtol=0, atol=0)


@pytest.mark.parametrize(("n", "channels"), [(0, 3), (1, 1), (9, 255), (9, 256), (40, 5)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_kernel_matches_the_definition(n, channels, channels_last):
    maps = random_maps((13, 17), (7, 9), (1, 1), channels=channels, channels_last=channels_last)
    given = random_boxes(n, span=20), random_index(n, 2), random_index(n, 3, seed=1)
    results = []
    for backend in ("cpu", "reference"):
        mine = [m.detach().clone().requires_grad_() for m in maps]
        with ops.use_backend(backend):
            pooled = ops.roi_pool(mine, *given, scales=[1.0, 0.5, 0.1], output_size=(3, 3))
            grad = torch.randn(pooled.shape, generator=seeded(9))
            results.append((pooled, *torch.autograd.grad(pooled, mine, grad)))
    assert_close(results[0][0], results[1][0], rtol=0, atol=0)
    for found, expected in zip(*results, strict=True):
        assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_gradient_is_that_of_finite_differences(backend, channels_last):
    maps = random_maps((4, 5), (2, 2), channels=1, dtype=torch.float64, channels_last=channels_last)
    rois = torch.tensor([[0.3, 0.2, 3.6, 3.1], [-2.0, 1.0, 3.0, 9.0]]).double()
    index = torch.tensor([0, 1])

    def pool(*features):
        return ops.roi_pool(features, rois, index, index, scales=[1.0, 0.5], output_size=(2, 2))

    assert torch.autograd.gradcheck(pool, [m.requires_grad_() for m in maps])


def test_of_equal_values_the_first_takes_the_gradient(backend):
    feature = torch.ones(1, 1, 3, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(
        on_one_map(feature, torch.tensor([[0.0, 0, 2, 2]]), output_size=(1, 1)).sum(), feature
    )
    assert grad.flatten().tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("channels_last", [False, True])
def test_bad_regions_give_zeros_and_take_no_gradient(backend, channels_last):
    maps = [m.requires_grad_() for m in random_maps((9, 9), (5, 5), channels_last=channels_last)]
    pooled = ops.roi_pool(maps, *bad_rois(), scales=[1.0, 0.5], output_size=(2, 2))
    assert (pooled == 0).all()
    assert all((g == 0).all() for g in torch.autograd.grad(pooled.sum(), maps))


@pytest.mark.parametrize("place", [(2, 2), (2, 3), (3, 3)])
def test_nan_in_the_features_shows(backend, place):
    feature = GRID.clone()
    feature[0, 0, *place] = math.nan
    pooled = on_one_map(feature, torch.tensor([[0.0, 0, 3, 3]]), output_size=(2, 2))
    assert pooled[0, 0].isnan().tolist() == [[False, False], [False, True]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_largest_value_as_it_is(backend, dtype):
    maps = random_maps((13, 17), channels=4, batch=1, dtype=dtype, channels_last=True)
    pooled = on_one_map(maps[0].requires_grad_(), awkward_rois(), output_size=(3, 3))
    assert pooled.dtype == dtype
    expected = on_one_map(maps[0].detach().float(), awkward_rois(), output_size=(3, 3))
    assert_close(pooled.float(), expected, rtol=0, atol=0)
    assert torch.autograd.grad(pooled.sum(), maps[0])[0].dtype == dtype


@pytest.mark.parametrize("channels_last", [False, True])
def test_bitwise_the_same_with_any_number_of_threads(cpu, num_threads, channels_last):
    (feature,) = random_maps((40, 50), channels=130, batch=1, channels_last=channels_last)
    rois, found = random_boxes(200, span=30), []
    for count in (1, 3):
        num_threads(count)
        mine = feature.clone().requires_grad_()
        pooled = on_one_map(mine, rois, output_size=(7, 7))
        grad = torch.randn(pooled.shape, generator=seeded(9))
        found.append((pooled, *torch.autograd.grad(pooled, mine, grad)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
