"""Deformable convolution: as a plain one, by shifting, as a plain loop, and the kernel as the definition."""

import math

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from boxwright import ops
from boxwright.errors import ShapeError
from tests.ops.cases import seeded


def inputs(
    *, batch=2, channels=4, outputs=6, groups=1, parts=1, kernel=(3, 3), size=(7, 9), out=(7, 9), dtype=torch.float64
):
    """Input, offset, weight, bias, mask. Offsets reach two pixels, so that some taps lie outside."""
    random, taps = seeded(7), kernel[0] * kernel[1]

    def draw(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype)

    return (
        draw(batch, channels, *size),
        draw(batch, 2 * parts * taps, *out),
        draw(outputs, channels // groups, *kernel),
        draw(outputs),
        draw(batch, parts * taps, *out).sigmoid(),
    )


@pytest.mark.parametrize(
    ("groups", "kernel", "settings"),
    [
        (1, (3, 3), {"padding": 1}),
        (2, (3, 3), {"padding": 2, "dilation": 2}),
        (4, (3, 2), {"padding": (1, 0), "stride": (2, 1)}),
        (1, (1, 1), {"stride": 2}),
    ],
)
def test_without_offsets_it_is_a_convolution(backend, groups, kernel, settings):
    x, _, weight, bias, _ = inputs(groups=groups, outputs=8, kernel=kernel)
    expected = functional.conv2d(x, weight, bias, groups=groups, **settings)
    offset = torch.zeros(2, 2 * kernel[0] * kernel[1], *expected.shape[2:]).double()
    assert_close(ops.deform_conv2d(x, offset, weight, bias, **settings), expected)
    half = torch.full((2, kernel[0] * kernel[1], *expected.shape[2:]), 0.5).double()
    without_bias = expected - bias[:, None, None]
    assert_close(ops.deform_conv2d(x, offset, weight, None, half, **settings), without_bias / 2)


def test_an_offset_is_y_then_x_in_pixels(backend):
    x, _, weight, _, _ = inputs(kernel=(1, 1))
    offset = torch.zeros(2, 2, 7, 9).double()
    offset[:, 0], offset[:, 1] = 2, -1  # two rows down, one column left
    moved = functional.pad(x, (1, 0, 0, 2))[:, :, 2:, :9]
    assert_close(ops.deform_conv2d(x, offset, weight), functional.conv2d(moved, weight))
    offset[:, 0], offset[:, 1] = 0, 0.25
    right = functional.pad(x, (0, 1))[:, :, :, 1:]
    assert_close(ops.deform_conv2d(x, offset, weight), functional.conv2d(0.75 * x + 0.25 * right, weight))


def plain_loop(x, offset, weight, bias, mask, *, groups, parts, stride, padding, dilation):
    """One tap of one output at a time; reads by torch's own bilinear grid."""
    batch, channels, height, width = x.shape
    taps = [(i, j) for i in range(weight.shape[2]) for j in range(weight.shape[3])]
    out = torch.zeros(batch, len(weight), *offset.shape[2:], dtype=x.dtype) + bias[:, None, None]
    rows, columns = (torch.arange(n).double() for n in offset.shape[2:])
    for part in range(parts):
        own = slice(part * channels // parts, (part + 1) * channels // parts)
        for t, (i, j) in enumerate(taps):
            at = 2 * (part * len(taps) + t)
            y = rows[:, None] * stride[0] - padding[0] + i * dilation[0] + offset[:, at]
            x_place = columns * stride[1] - padding[1] + j * dilation[1] + offset[:, at + 1]
            grid = torch.stack((x_place / (width - 1) * 2 - 1, y / (height - 1) * 2 - 1), dim=-1)
            read = torch.zeros(batch, channels, *offset.shape[2:], dtype=x.dtype)
            read[:, own] = functional.grid_sample(x[:, own], grid, align_corners=True)
            read[:, own] *= mask[:, part * len(taps) + t, None]
            out = out + functional.conv2d(read, weight[:, :, i : i + 1, j : j + 1], groups=groups)
    return out


@pytest.mark.parametrize(("groups", "parts"), [(1, 1), (2, 1), (1, 2), (2, 4), (4, 2)])
def test_it_is_what_a_plain_loop_gives(backend, groups, parts):
    sizes = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
    given = inputs(groups=groups, parts=parts, outputs=8, out=(4, 9))
    expected = plain_loop(*given, groups=groups, parts=parts, **sizes)
    assert_close(ops.deform_conv2d(*given, **sizes), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("has_bias", "has_mask"), [(True, True), (False, True), (True, False), (False, False)])
def test_the_gradient_is_that_of_finite_differences(backend, has_bias, has_mask):
    given = inputs(batch=1, channels=2, outputs=2, parts=2, kernel=(2, 2), size=(4, 4), out=(3, 3))
    x, offset, weight, bias, mask = (t.requires_grad_() for t in given)
    optional = [t for t, has in ((bias, has_bias), (mask, has_mask)) if has]

    def convolve(x, offset, weight, *rest):
        left = list(rest)
        bias, mask = (left.pop(0) if has else None for has in (has_bias, has_mask))
        return ops.deform_conv2d(x, offset, weight, bias, mask)

    assert torch.autograd.gradcheck(convolve, [x, offset, weight, *optional])


@pytest.mark.parametrize("channels", [1, 3, 255, 256])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_kernel_matches_the_definition(channels, channels_last):
    given = inputs(channels=channels, outputs=5, out=(7, 9), dtype=torch.float32)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    results = []
    for backend in ("cpu", "reference"):
        mine = [t.clone().contiguous(memory_format=layout) if t.ndim == 4 else t.clone() for t in given]
        mine = [t.requires_grad_() for t in mine]
        with ops.use_backend(backend):
            out = ops.deform_conv2d(*mine, padding=1)
            results.append((out, *torch.autograd.grad(out, mine, torch.randn(out.shape, generator=seeded(3)))))
    for found, expected in zip(*results, strict=True):
        assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_no_images_give_none(backend):
    x, offset, weight, bias, mask = (t.requires_grad_() for t in inputs(batch=0))
    out = ops.deform_conv2d(x, offset, weight, bias, mask, padding=1)
    assert out.shape == (0, 6, 7, 9)
    assert (torch.autograd.grad(out.sum(), weight)[0] == 0).all()


@pytest.mark.parametrize("wild", [math.nan, math.inf, -math.inf, 1e30])
def test_a_position_that_is_not_finite_reads_nothing(backend, wild):
    x, offset, weight, bias, _ = inputs(kernel=(1, 1))
    expected = functional.conv2d(x, weight, bias)
    offset = torch.zeros_like(offset)
    offset[1, 1, 3, 4] = wild
    expected[1, :, 3, 4] = bias
    assert_close(ops.deform_conv2d(x, offset, weight, bias), expected)


def test_bitwise_the_same_with_any_number_of_threads(cpu, num_threads):
    given, found = inputs(channels=64, size=(30, 30), out=(30, 30), dtype=torch.float32), []
    for count in (1, 3):
        num_threads(count)
        mine = [t.clone().requires_grad_() for t in given]
        out = ops.deform_conv2d(*mine, padding=1)
        # The products of matrices are torch's own, and may round otherwise; the gradients of places are ours.
        found.append(torch.autograd.grad(out.sum(), mine[:2]))
    for a, b in zip(*found, strict=True):
        assert_close(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"weight": torch.zeros(6, 3, 3, 3)}, r"weight must be \(O, C / groups, kh, kw\) for input"),
        ({"weight": torch.zeros(5, 2, 3, 3)}, "5 outputs cannot be split into 2 groups"),
        ({"offset": torch.zeros(2, 17, 7, 9)}, r"offset must be \(B, 2 \* D \* 9, oh, ow\)"),
        ({"offset": torch.zeros(2, 18, 6, 9)}, r"offset must be \(2, 18, 7, 9\) for this input"),
        ({"mask": torch.zeros(2, 18, 7, 9)}, r"mask must be \(2, 9, 7, 9\); got \(2, 18, 7, 9\)"),
        ({"bias": torch.zeros(5)}, r"bias must be \(6,\); got \(5,\)"),
    ],
)
def test_what_does_not_fit_is_refused(change, error):
    names = ("input", "offset", "weight", "bias", "mask")
    given = dict(zip(names, inputs(dtype=torch.float32), strict=True)) | change
    with pytest.raises(ShapeError, match=error):
        ops.deform_conv2d(**given, padding=1)
