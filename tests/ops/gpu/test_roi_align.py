"""RoIAlign: the kernels as the definition, forward and backward, and without waiting for the device."""

import pytest
import torch
from torch.testing import assert_close

from boxwright import ops
from boxwright.errors import BackendError
from tests.ops.cases import seeded
from tests.ops.gpu.regions import SCALES, by_definition, pool, scene, tolerance


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("channels", "dtype", "ratio", "aligned"),
    [
        (1, torch.float32, 0, True),
        (3, torch.float64, 2, False),
        (3, torch.float64, 0, True),
        (255, torch.float32, 1, True),
        (5, torch.float16, 2, True),
        (300, torch.bfloat16, 1, False),
    ],
)
def test_it_matches_the_definition(device, channels_last, channels, dtype, ratio, aligned):
    given = scene(channels, channels_last, dtype)
    settings = {"output_size": (3, 2), "sampling_ratio": ratio, "aligned": aligned}
    found, expected = pool("roi_align", device, *given, **settings), by_definition("roi_align", *given, **settings)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, **tolerance(dtype))
        assert a.stride() == b.stride()


@pytest.mark.parametrize(("num_rois", "num_images"), [(0, 2), (3, 0)])
def test_nothing_to_read_or_to_pool(device, num_rois, num_images):
    maps = [torch.ones(num_images, 4, 5, 5, device=device, requires_grad=True)]
    rois, index = torch.ones(num_rois, 4, device=device), torch.zeros(num_rois, dtype=torch.int64, device=device)
    pooled = ops.roi_align(maps, rois, index, index, scales=[1.0], output_size=(2, 2))
    assert pooled.shape == (num_rois, 4, 2, 2)
    assert not pooled.any()
    assert not torch.autograd.grad(pooled.sum(), maps)[0].any()


def test_more_levels_than_a_launch_takes(device):
    # Each map holds its level, so that it shows where a value came from.
    maps = [torch.full((1, 2, 6, 6), float(level), device=device, requires_grad=True) for level in range(7)]
    levels = torch.tensor([6, 0, 4, 5, -1, 7], device=device)
    rois = torch.tensor([[1.0, 1, 4, 4]], device=device).repeat(6, 1)
    pooled = ops.roi_align(maps, rois, torch.zeros_like(levels), levels, scales=[1.0] * 7, output_size=(1, 1))
    assert_close(pooled[:, 0, 0, 0].cpu(), torch.tensor([6.0, 0, 4, 5, 0, 0]))
    grads = torch.autograd.grad(pooled.sum(), maps)
    assert [round(g.sum().item(), 4) for g in grads] == [2, 0, 0, 0, 2, 2, 2]


def test_maps_in_channels_last_are_read_in_place(device, monkeypatch):
    from boxwright.ops.gpu import sampling

    maps, *places = scene(8, True, torch.float32)
    maps, places = [m.to(device) for m in maps], [p.to(device) for p in places]
    read = []
    monkeypatch.setattr(sampling, "launch", lambda kernel, grid, *given, **rest: read.extend(given[:3]))
    ops.roi_align(maps, *places, scales=SCALES, output_size=(2, 2))
    assert [m.data_ptr() for m in read] == [m.data_ptr() for m in maps]


def test_a_gradient_that_must_not_vary_is_refused(device):
    maps = [torch.ones(1, 1, 4, 4, device=device, requires_grad=True)]
    rois, index = torch.ones(1, 4, device=device), torch.zeros(1, dtype=torch.int64, device=device)
    pooled = ops.roi_align(maps, rois, index, index, scales=[1.0], output_size=(1, 1))
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(BackendError, match=r"roi_align_backward: .* adds in any order, but .*use_backend"):
            pooled.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)


def test_nothing_waits_for_the_device(device, without_waiting):
    maps, *places = scene(8, True, torch.float32)
    maps, places = [m.to(device).requires_grad_() for m in maps], [p.to(device) for p in places]
    with without_waiting():
        pooled = ops.roi_align(maps, *places, scales=SCALES, output_size=(2, 2), sampling_ratio=1)
        grads = torch.autograd.grad(pooled, maps, torch.ones_like(pooled))
    assert [g.shape for g in grads] == [m.shape for m in maps]


@pytest.mark.slow
@pytest.mark.parametrize("op", ["roi_align", "roi_crop", "roi_pool"])
def test_the_gradient_is_that_of_finite_differences(device, op):
    feature = torch.randn(1, 2, 3, 3, generator=seeded(1), dtype=torch.float64).to(device).requires_grad_()
    rois = torch.tensor([[0.3, 0.2, 2.6, 2.1]], dtype=torch.float64, device=device)
    index = torch.zeros(1, dtype=torch.int64, device=device)

    def pool(feature):
        return getattr(ops, op)([feature], rois, index, index, scales=[1.0], output_size=(1, 2))

    # A GPU adds in any order: of two runs the last bits may differ.
    assert torch.autograd.gradcheck(pool, [feature], nondet_tol=1e-12)
