"""Layers on bytes: as near to the exact ones as bytes allow, and only where they may be."""

import pytest
import torch
from torch import nn

from boxwright.engine.detector import Detector
from boxwright.errors import BackendError
from boxwright.models.backbones.resnet import make_stage
from boxwright.models.fast.calibration import pass_bytes, quantise_layers, ranges_seen
from boxwright.models.fast.quantised import MOST, Range
from boxwright.models.layers import ConvNorm, Dense
from boxwright.models.norms import Norm
from boxwright.ops.cpu.quantise import quantise
from tests.models.small import small
from tests.models.test_layers import randomize_norms

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.enabled, reason="PyTorch without oneDNN")


def calibrated(layer, *inputs):
    """What a layer gives, exactly and on bytes, of inputs that it was calibrated with."""
    with torch.no_grad(), ranges_seen([layer]) as (finder,):
        exact = layer(*inputs)
    layer.fast.within = finder.range()
    with torch.no_grad():
        return exact, layer(*inputs)


def error(exact, rough):
    """The root of the mean squared error, as a share of the spread."""
    return ((exact - rough.float()).square().mean().sqrt() / exact.std()).item()


@pytest.mark.parametrize("is_positive", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3},
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": 3, "dilation": 2, "norm": Norm(kind="frozen_bn")},
        {"kernel_size": 3, "activation": "relu", "norm": Norm(kind="bn")},
    ],
    ids=str,
)
@pytest.mark.parametrize("has_residual", [False, True])
def test_a_convolution_on_bytes_is_near(settings, has_residual, is_positive):
    torch.manual_seed(0)
    conv = randomize_norms(ConvNorm(32, 24, **settings)).eval()
    x = torch.randn(2, 32, 12, 9).relu() if is_positive else torch.randn(2, 32, 12, 9)
    residual = [torch.randn_like(conv(x).detach())] if has_residual else []
    exact, rough = calibrated(conv, x, *[r.clone() for r in residual])
    assert 0 < error(exact, rough) < 0.02


def test_a_fully_connected_layer_on_bytes_is_near():
    torch.manual_seed(0)
    exact, rough = calibrated(Dense(64, 40, activation="relu"), torch.randn(30, 64))
    assert 0 < error(exact, rough) < 0.02


def test_between_two_convolutions_of_a_block_only_bytes_are_written():
    torch.manual_seed(0)
    block = randomize_norms(make_stage(level="c2", depth=50, norm=Norm(kind="frozen_bn")).get_submodule("0")).eval()
    x = torch.randn(1, 64, 12, 9)
    exact, _ = calibrated(block.conv1, x)
    block.conv2.fast.within = Range(0.0, exact.max().item())
    pass_bytes(block)
    with torch.no_grad():
        between = block.conv1(x)
        assert between.dtype == torch.uint8
        # Of eight bits 0.02; a CPU that has seven for inputs makes steps twice as large.
        assert error(block.conv2(exact), block.conv2(between)) < 0.02 * 255 / MOST


def test_weights_that_change_are_noticed():
    torch.manual_seed(0)
    conv, x = ConvNorm(32, 24, kernel_size=3).eval(), torch.randn(1, 32, 6, 6)
    _, before = calibrated(conv, x)
    with torch.no_grad():
        conv.weight.mul_(2)
        conv.bias.mul_(2)
        assert error(conv(x).float(), before * 2) < 0.02


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (ConvNorm(32, 32, kernel_size=3), True),
        (ConvNorm(32, 32, kernel_size=3, norm=Norm(kind="gn")), False),
        (ConvNorm(3, 64, kernel_size=7), False),
        (ConvNorm(64, 3, kernel_size=1), False),
        (ConvNorm(32, 32, kernel_size=3, groups=4), False),
        (ConvNorm(32, 32, kernel_size=3, activation="silu"), False),
        (Dense(32, 32, activation="relu"), True),
        (Dense(32, 81), False),
    ],
    ids=str,
)
def test_narrow_and_last_layers_stay_exact(layer, expected):
    assert layer.eval().fast.quantises(layer) is expected


def test_what_no_image_reached_has_no_range():
    with ranges_seen([nn.Identity()]) as (finder,):
        pass
    assert finder.range() is None


def test_zero_has_a_byte_of_its_own():
    for within in (Range(-0.7, 2.3), Range(0.0, 3.0), Range(-5.0, 0.0)):
        x = torch.tensor([[0.0, within.low, within.high]])
        levels = (quantise(x, within.scale, within.zero_point).float() - within.zero_point) * within.scale
        assert levels[0, 0] == 0
        assert (levels - x).abs().max() <= within.scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 5), (2, 7, 5, 3), (1, 64, 40, 50)])
def test_bytes_are_rounded_and_clamped(dtype, shape):
    torch.manual_seed(0)
    x = (torch.randn(shape) * 2).to(dtype)
    expected = ((x.float() * torch.tensor(1 / 0.03)).round() + 100).clamp(0, 255).to(torch.uint8)
    assert torch.equal(quantise(x, 0.03, 100), expected)
    assert quantise(torch.zeros(0, 4, 2, 2, dtype=dtype), 1.0, 0).shape == (0, 4, 2, 2)


def test_a_quantised_detector_finds_much_the_same():
    torch.manual_seed(0)
    detector = Detector(config=small("mask"))
    pictures = [torch.randint(0, 255, (64, 80, 3), dtype=torch.uint8).numpy() for _ in range(2)]
    exact = detector.trace(pictures[0])["features"]
    assert detector.quantise(pictures) > 10
    rough = detector.trace(pictures[0])["features"]
    for level, features in exact.items():
        assert 0 < error(features, rough[level]) < 0.1
    assert len(detector(pictures)) == 2


def test_training_goes_on_with_exact_layers():
    torch.manual_seed(0)
    conv, x = ConvNorm(32, 24, kernel_size=3), torch.randn(1, 32, 6, 6)
    exact, _ = calibrated(conv, x)
    assert torch.allclose(conv(x), exact, atol=1e-5)


def test_another_device_is_refused():
    with pytest.raises(BackendError, match="int8 needs a CPU"):
        quantise_layers(nn.Identity(), torch.device("meta"), lambda: None)
