"""Deformable convolution: the kernels as the definition, forward and backward."""

import pytest
import torch
from torch.testing import assert_close

from boxwright import ops
from tests.ops.cases import seeded

SETTINGS = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}


def inputs(batch, channels, outputs, parts, groups, dtype):
    """Input, offset, weight, bias, mask of a 3 x 2 kernel; some places far outside, one not finite."""
    random = seeded(5)
    draw = [
        torch.randn(*shape, generator=random, dtype=torch.float64)
        for shape in (
            (batch, channels, 6, 7),
            (batch, 2 * parts * 6, 3, 9),
            (outputs, channels // groups, 3, 2),
            (outputs,),
            (batch, parts * 6, 3, 9),
        )
    ]
    draw[1] *= 2
    if batch:
        draw[1][0, 0, 0, 0], draw[1][0, 1, 0, 1] = torch.nan, 1e9
    return [t.to(dtype) for t in draw]


def convolve(device, tensors, channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    mine = [None if t is None else t.detach().to(device, copy=True) for t in tensors]
    mine[0] = mine[0].contiguous(memory_format=layout)
    wanted = [t.requires_grad_() for t in mine if t is not None]
    out = ops.deform_conv2d(*mine, **SETTINGS)
    grads = torch.autograd.grad(out, wanted, torch.randn(out.shape, generator=seeded(3)).to(device, out.dtype))
    return [t.detach().cpu() for t in (out, *grads)]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("channels", "outputs", "parts", "groups", "dtype", "is_modulated"),
    [
        (1, 1, 1, 1, torch.float32, False),
        (3, 2, 1, 1, torch.float64, True),
        (6, 3, 2, 3, torch.float64, True),
        (4, 6, 4, 2, torch.float64, False),
        (255, 2, 1, 1, torch.float32, True),
    ],
)
def test_it_matches_the_definition(device, channels_last, channels, outputs, parts, groups, dtype, is_modulated):
    given = inputs(2, channels, outputs, parts, groups, dtype)
    given = given if is_modulated else [*given[:3], None, None]
    found = convolve(device, given, channels_last)
    with ops.use_backend("reference"):
        expected = convolve(torch.device("cpu"), given, channels_last)
    close = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 2e-4}
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, **close)
    assert found[0].stride() == expected[0].stride()


def test_images_go_in_steps_that_fit_the_memory(device, monkeypatch):
    from boxwright.ops.gpu import deform_conv

    given = inputs(3, 4, 2, 1, 1, torch.float64)
    whole = convolve(device, given, True)
    monkeypatch.setattr(deform_conv, "VALUES_PER_STEP", 2 * 4 * 6 * 27)  # two images, then one
    for a, b in zip(convolve(device, given, True), whole, strict=True):
        assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_half_precision_keeps_its_places(device):
    # Far from the origin a place in half precision would be off by whole pixels: 2048.5 is not such a number.
    x = torch.arange(2100.0, dtype=torch.float32).remainder(7).view(1, 1, 1, 2100).half()
    offset = torch.zeros(1, 2, 1, 2100, dtype=torch.float16)
    offset[:, 1] = 0.5
    out = ops.deform_conv2d(x.to(device), offset.to(device), torch.ones(1, 1, 1, 1).half().to(device)).cpu()
    expected = (x[..., :-1].float() + x[..., 1:].float()) / 2
    assert_close(out[..., :-1].float(), expected)


def test_no_images_give_none(device):
    out = convolve(device, inputs(0, 4, 2, 1, 1, torch.float32), False)
    assert out[0].shape == (0, 2, 3, 9)
    assert not out[3].any()


@pytest.mark.slow
def test_the_gradient_is_that_of_finite_differences(device):
    random = seeded(4)
    shapes = ((1, 2, 3, 3), (1, 4, 2, 2), (1, 2, 1, 2), (1,), (1, 2, 2, 2))
    given = [torch.randn(*s, generator=random, dtype=torch.float64).to(device).requires_grad_() for s in shapes]
    convolve = lambda *tensors: ops.deform_conv2d(*tensors, stride=(2, 1))  # noqa: E731
    assert torch.autograd.gradcheck(convolve, given, nondet_tol=1e-12)
