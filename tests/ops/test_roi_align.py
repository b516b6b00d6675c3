"""RoIAlign: by hand, as a plain loop over samples, and the kernels as the definition, forward and backward."""

import math

import pytest
import torch
from torch.testing import assert_close

from boxwright import ops
from boxwright.errors import ShapeError
from boxwright.ops.layout import MapShapes
from boxwright.ops.reference import roi_align as definition
from boxwright.ops.rules import AlignRule
from tests.ops.cases import awkward_rois, bad_rois, random_boxes, random_index, random_maps, seeded

# The value at row y and column x is 10 y + x: what is linear stays exact under bilinear sampling.
RAMP = (10 * torch.arange(4.0)[:, None] + torch.arange(4.0)).view(1, 1, 4, 4)


def zeros(n):
    return torch.zeros(n, dtype=torch.int64)


def on_one_map(feature, rois, **settings):
    n = len(rois)
    return ops.roi_align([feature], rois, zeros(n), zeros(n), **{"scales": [1.0], **settings})


@pytest.mark.parametrize(
    ("roi", "settings", "expected"),
    [
        # x samples at 0 1 | 2 3, y likewise
        ([0, 0, 4, 4], {"output_size": (2, 2), "sampling_ratio": 2}, [[5.5, 7.5], [25.5, 27.5]]),
        ([0, 0, 4, 4], {"output_size": (2, 2), "sampling_ratio": 0}, [[5.5, 7.5], [25.5, 27.5]]),
        # without the half pixel at 0.5 1.5 | 2.5 3.5, of which the last counts as 3
        (
            [0, 0, 4, 4],
            {"output_size": (2, 2), "sampling_ratio": 2, "aligned": False},
            [[11, 12.75], [28.5, 30.25]],
        ),
        # more than a pixel outside is nothing: x at -3.5 -1.5 0.5 2.5
        ([-4, 0, 4, 4], {"output_size": (1, 4), "sampling_ratio": 1}, [[0, 0, 15.5, 17.5]]),
        # one pixel outside is the border: x at -1 0 1
        ([-1, 0, 2, 4], {"output_size": (1, 3), "sampling_ratio": 1}, [[15, 15, 16]]),
        # 3 samples a bin for a bin of 2.5 pixels: x at -1/12, 9/12, 19/12 -> 0, 0.75, 1.5833
        ([0, 1, 2.5, 2], {"output_size": (1, 1)}, [[5 + (0.0 + 0.75 + 19 / 12) / 3]]),
        # a point: without the half pixel it grows to one pixel, with it nothing is sampled or one place many times
        ([1, 1, 1, 1], {"output_size": (1, 1), "aligned": False}, [[16.5]]),
        ([1, 1, 1, 1], {"output_size": (1, 1)}, [[0]]),
        ([1, 1, 1, 1], {"output_size": (1, 1), "sampling_ratio": 2}, [[5.5]]),
    ],
)
def test_by_hand(backend, roi, settings, expected):
    pooled = on_one_map(RAMP, torch.tensor([roi], dtype=torch.float32), **settings)
    expected = torch.tensor(expected, dtype=torch.float32)
    if roi == [0, 1, 2.5, 2]:  # y: one sample at row 1
        expected = expected + 5
    assert_close(pooled[0, 0], expected)


def sample(plane, y, x):
    """One bilinear sample of a list of rows."""
    height, width = len(plane), len(plane[0])
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = plane[top][left] * (1 - (x - left)) + plane[top][right] * (x - left)
    lower = plane[bottom][left] * (1 - (x - left)) + plane[bottom][right] * (x - left)
    return upper * (1 - (y - top)) + lower * (y - top)


def plain_loop(feature, roi, scale, output_size, ratio, aligned):
    """(C, H, W) -> (C, ph, pw), one sample at a time, in Python floats."""
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (v * scale - shift for v in roi.tolist())
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1.0), max(height, 1.0)
    bin_height, bin_width = height / output_size[0], width / output_size[1]
    rows = ratio if ratio > 0 else max(math.ceil(bin_height), 0)
    columns = ratio if ratio > 0 else max(math.ceil(bin_width), 0)
    out = torch.zeros(len(feature), *output_size, dtype=torch.float64)
    for c, plane in enumerate(feature.double().tolist()):
        for p in range(output_size[0]):
            for q in range(output_size[1]):
                total = 0.0
                for i in range(rows):
                    for j in range(columns):
                        y = y1 + p * bin_height + (i + 0.5) * bin_height / rows
                        x = x1 + q * bin_width + (j + 0.5) * bin_width / columns
                        total += sample(plane, y, x)
                out[c, p, q] = total / max(rows * columns, 1)
    return out


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("aligned", [False, True])
def test_it_is_what_a_plain_loop_gives(backend, channels_last, ratio, aligned):
    (feature,) = random_maps((13, 17), batch=1, channels=2, dtype=torch.float64, channels_last=channels_last)
    rois = awkward_rois(torch.float64)
    settings = {"output_size": (3, 2), "sampling_ratio": ratio, "aligned": aligned}
    pooled = on_one_map(feature, rois, scales=[0.75], **settings)
    expected = [plain_loop(feature[0], roi, 0.75, (3, 2), ratio, aligned) for roi in rois]
    assert_close(pooled, torch.stack(expected), rtol=1e-10, atol=1e-10)


def test_each_roi_reads_its_level_and_image(backend):
    # Each map holds one number, so that it shows where a value came from.
    maps = [torch.stack([torch.full((1, n, n), 10.0 * level + b) for b in range(3)]) for level, n in enumerate((9, 5))]
    rois = torch.tensor([[2.0, 2, 6, 6]]).repeat(6, 1)
    images, levels = torch.tensor([2, 0, 2, 1, 0, 1]), torch.tensor([1, 0, 0, 1, 1, 0])
    pooled = ops.roi_align(maps, rois, images, levels, scales=[1.0, 0.5], output_size=(2, 2))
    assert pooled.mean(dim=(1, 2, 3)).tolist() == [12, 0, 2, 11, 10, 1]


MANY = [(0, 3), (1, 1), (9, 3), (9, 255), (9, 256), (100, 5)]


def pooled_and_gradients(backend, maps, *given, **settings):
    mine = [m.detach().clone().requires_grad_() for m in maps]
    with ops.use_backend(backend):
        pooled = ops.roi_align(mine, *given, **settings)
        grad = torch.randn(pooled.shape, generator=seeded(9)).to(pooled.dtype)
        return pooled.detach(), *torch.autograd.grad(pooled, mine, grad)


def both(*given, **settings):
    """Pooled and the gradients of the maps, of the op and of its definition."""
    return [pooled_and_gradients(backend, *given, **settings) for backend in ("cpu", "reference")]


@pytest.mark.parametrize(("n", "channels"), MANY)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("ratio", "aligned"), [(0, True), (2, False)])
def test_kernels_match_the_definition(n, channels, channels_last, ratio, aligned):
    maps = random_maps((13, 17), (7, 9), (1, 1), channels=channels, channels_last=channels_last)
    rois, images, levels = random_boxes(n, span=20), random_index(n, 2), random_index(n, 3, seed=1)
    settings = {"scales": [1.0, 0.5, 0.1], "output_size": (7, 7), "sampling_ratio": ratio, "aligned": aligned}
    for found, expected in zip(*both(maps, rois, images, levels, **settings), strict=True):
        assert_close(found, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("channels_last", [False, True])
def test_awkward_regions_match_the_definition(channels_last):
    maps = random_maps((13, 17), channels=1, dtype=torch.float64, channels_last=channels_last)
    rois = awkward_rois(torch.float64)
    n = len(rois)
    settings = {"scales": [0.9], "output_size": (3, 5)}
    for aligned in (False, True):
        found, expected = both(maps, rois, random_index(n, 2), zeros(n), aligned=aligned, **settings)
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels_last", [False, True])
def test_bad_regions_give_zeros_and_take_no_gradient(backend, channels_last):
    maps = [m.requires_grad_() for m in random_maps((9, 9), (5, 5), channels_last=channels_last)]
    rois, images, levels = bad_rois()
    pooled = ops.roi_align(maps, rois, images, levels, scales=[1.0, 0.5], output_size=(2, 2))
    assert (pooled == 0).all()
    grads = torch.autograd.grad(pooled.sum(), maps)
    assert all((g == 0).all() for g in grads)


def test_regions_around_bad_ones_are_as_without_them(backend):
    maps = random_maps((9, 9), (5, 5), channels_last=True)
    good, settings = torch.tensor([[1.0, 2, 7, 8]]), {"scales": [1.0, 0.5], "output_size": (2, 2)}
    rois, images, levels = bad_rois()
    mixed = ops.roi_align(
        maps, torch.cat((rois, good, rois)), torch.cat((images, zeros(1), images)),
        torch.cat((levels, zeros(1) + 1, levels)), **settings
    )  # fmt: skip
    alone = ops.roi_align(maps, good, zeros(1), zeros(1) + 1, **settings)
    assert_close(mixed[len(rois)], alone[0], rtol=0, atol=0)


def test_an_image_without_regions_gets_a_gradient_of_zero(backend):
    maps = [m.requires_grad_() for m in random_maps((9, 9), batch=3, channels_last=True)]
    pooled = ops.roi_align(
        maps, torch.tensor([[1.0, 1, 6, 6]]), zeros(1) + 1, zeros(1), scales=[1.0], output_size=(2, 2)
    )
    (grad,) = torch.autograd.grad(pooled.sum(), maps)
    assert (grad[[0, 2]] == 0).all()
    assert grad[1].sum().item() == pytest.approx(3 * 4, rel=1e-5)  # the weights of a bin add up to one


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("ratio", "aligned"), [(0, True), (2, False)])
def test_the_gradient_is_that_of_finite_differences(backend, channels_last, ratio, aligned):
    maps = random_maps((5, 6), (3, 3), channels=2, dtype=torch.float64, channels_last=channels_last)
    rois = torch.tensor([[0.3, 0.2, 4.6, 4.1], [-2.0, 1.0, 3.0, 9.0], [1.0, 1.0, 1.0, 3.0]]).double()
    images, levels = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0])
    settings = {"scales": [1.0, 0.5], "output_size": (2, 2), "sampling_ratio": ratio, "aligned": aligned}

    def pool(*features):
        return ops.roi_align(features, rois, images, levels, **settings)

    assert torch.autograd.gradcheck(pool, [m.requires_grad_() for m in maps])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_half_precision_is_summed_in_float32(cpu, dtype, channels_last):
    maps = random_maps((13, 17), channels=8, dtype=dtype, channels_last=channels_last)
    rois, images = awkward_rois(), random_index(12, 2)
    wide = [m.float().requires_grad_() for m in maps]
    maps = [m.requires_grad_() for m in maps]
    settings = {"scales": [1.0], "output_size": (7, 7)}
    found, expected = (ops.roi_align(m, rois, images, zeros(12), **settings) for m in (maps, wide))
    assert found.dtype == dtype
    # One rounding at the end, to the nearest, and only that one.
    assert_close(found.float(), expected.to(dtype).float(), rtol=torch.finfo(dtype).eps, atol=1e-6)
    assert (found == expected.to(dtype)).float().mean() > 0.99
    (grad,) = torch.autograd.grad(found.float().sum(), maps)
    (wide_grad,) = torch.autograd.grad(expected.sum(), wide)
    assert grad.dtype == dtype
    assert_close(grad.float(), wide_grad.to(dtype).float(), rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_result_lies_in_memory_as_the_maps_do(backend, channels_last):
    maps = random_maps((9, 9), channels=4, channels_last=channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    mine = [m.requires_grad_() for m in maps]
    pooled = ops.roi_align(mine, awkward_rois(), zeros(12), zeros(12), scales=[1.0], output_size=(3, 3))
    assert pooled.is_contiguous(memory_format=layout)
    (grad,) = torch.autograd.grad(pooled.sum(), mine)
    assert grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("num_levels", [1, 4])
def test_channels_last_maps_are_read_where_they_are(cpu, monkeypatch, num_levels):
    from boxwright.ops.cpu import regions

    maps = random_maps(*[(16, 16)] * num_levels, channels=64, channels_last=True)
    read = []
    kernel = regions.sample_channels_last
    monkeypatch.setattr(
        regions, "sample_channels_last", lambda m, *rest: (read.append(m.ctypes.data), kernel(m, *rest))
    )
    levels = torch.arange(12) % num_levels
    ops.roi_align(maps, awkward_rois(), zeros(12), levels, scales=[1.0] * num_levels, output_size=(7, 7))
    assert set(read) == {m.data_ptr() for m in maps}


@pytest.mark.parametrize("channels_last", [False, True])
def test_bitwise_the_same_with_any_number_of_threads(num_threads, channels_last):
    maps = random_maps((40, 50), channels=33, channels_last=channels_last)
    rois, images = random_boxes(300, span=30), random_index(300, 2)
    found = []
    for count in (1, 2, 5, 5):
        num_threads(count)
        found.append(pooled_and_gradients("cpu", maps, rois, images, zeros(300), scales=[1.0], output_size=(7, 7)))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("channels_last", [False, True])
def test_12000_regions_are_each_as_if_alone(cpu, channels_last):
    maps = random_maps((13, 17), (7, 9), channels=5, channels_last=channels_last)
    given = random_boxes(12_000, span=20), random_index(12_000, 2), random_index(12_000, 2, seed=1)
    settings = {"scales": [1.0, 0.5], "output_size": (3, 3)}
    together = ops.roi_align(maps, *given, **settings)
    for few in (slice(0, 1), slice(5000, 5017), slice(11_999, None)):
        assert torch.equal(together[few], ops.roi_align(maps, *(t[few] for t in given), **settings))


def test_a_wild_but_finite_region_ends(cpu):
    feature = torch.ones(1, 1, 8, 8)
    wide = torch.tensor([[-1e7, -1e7, 1e7, 1e7]])
    assert on_one_map(feature, wide, output_size=(2, 2)).isfinite().all()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"features": torch.zeros(1, 1, 4, 4)}, "features must be a list of maps .* for one level give"),
        ({"features": []}, "features must be a list of maps"),
        ({"features": [torch.zeros(1, 4, 4)]}, r"level 0 must be \(B, C, H, W\) .* got \(1, 4, 4\)"),
        ({"features": [torch.zeros(1, 1, 0, 4)]}, r"level 0 must be .* got \(1, 1, 0, 4\)"),
        ({"scales": [1.0, 0.5]}, "there are 1 maps but 2 scales; give 1 / stride of each map"),
        ({"rois": torch.zeros(1, 5)}, r"rois must be boxes of shape \(N, 4\)"),
        ({"levels": zeros(2)}, r"levels must have one entry for each of the 1 boxes; got \(2,\)"),
        ({"output_size": (0, 7)}, r"output_size must be \(height, width\), both at least 1; got \(0, 7\)"),
        (
            {"features": [torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2).double()], "scales": [1.0, 0.5]},
            "level 1 is torch.float64 on cpu; level 0 is torch.float32",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, error):
    given = {
        "features": [torch.zeros(1, 1, 4, 4)],
        "rois": torch.zeros(1, 4),
        "batch_index": zeros(1),
        "levels": zeros(1),
        "scales": [1.0],
        "output_size": (2, 2),
    } | change
    features, rois, images, levels = (given.pop(k) for k in ("features", "rois", "batch_index", "levels"))
    with pytest.raises(ShapeError, match=error):
        ops.roi_align(features, rois, images, levels, **given)


def test_the_definition_takes_one_map_at_a_time():
    # Its gradient is torch's own: no second formula to be wrong.
    maps = [m.requires_grad_() for m in random_maps((6, 6), dtype=torch.float64)]
    rule = AlignRule(scales=[1.0], output_size=(2, 2), sampling_ratio=0, aligned=True)
    rois, index = torch.tensor([[0.5, 0.5, 5, 5]]).double(), zeros(1)
    pooled = definition.roi_align(maps, rois, index, index, rule)
    (direct,) = torch.autograd.grad(pooled.sum(), maps)
    (own,) = definition.roi_align_backward(
        torch.ones_like(pooled), rois, index, index, MapShapes([2, 3, 6, 6], channels_last=False), rule
    )
    assert_close(own, direct)
