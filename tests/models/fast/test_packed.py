"""Layers without gradients on the CPU give what they give with gradients, whatever was done to their weights."""

import copy

import pytest
import torch
from torch.nn.utils import prune
from torch.testing import assert_close

from boxwright import ops
from boxwright.models.backbones.resnet import Deform, DeformConvNorm
from boxwright.models.fast.packed import PackedConv, PackedWinograd, direct_convolutions
from boxwright.models.layers import ConvNorm, Dense
from boxwright.models.norms import Norm
from tests.models.test_layers import randomize_norms


def make(**settings):
    torch.manual_seed(0)
    given = {"in_channels": 8, "out_channels": 16, "kernel_size": 3, "norm": Norm(kind="frozen_bn")} | settings
    return randomize_norms(ConvNorm(given.pop("in_channels"), given.pop("out_channels"), **given)).eval()


def without_gradients(layer, *inputs):
    with torch.no_grad():
        return layer(*inputs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"norm": None},
        {"norm": None, "bias": False},
        {"bias": True},
        {"norm": Norm(kind="bn")},
        {"kernel_size": 1, "stride": 2},
        {"dilation": 2, "activation": "relu"},
        {"groups": 4, "activation": "silu"},
        {"activation": "hardswish"},
        {"in_channels": 128, "out_channels": 144},
        {"in_channels": 128, "out_channels": 144, "activation": "relu"},
    ],
    ids=str,
)
@pytest.mark.parametrize("has_residual", [False, True])
def test_a_convolution_gives_the_same(settings, layout, has_residual):
    conv = make(**settings)
    x = torch.randn(2, conv.in_channels, 9, 12).contiguous(memory_format=layout)
    expected = conv(x)
    if has_residual:
        residual = torch.randn_like(expected)
        kept, expected = residual.clone(), conv(x, residual)
        assert_close(without_gradients(conv, x, residual), expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(residual, kept)
    else:
        assert_close(without_gradients(conv, x), expected, atol=1e-5, rtol=1e-5)


def test_wide_convolutions_save_multiplications_unless_asked_not_to():
    conv, x = make(in_channels=128, out_channels=128), torch.randn(1, 128, 9, 12)
    without_gradients(conv, x)
    assert isinstance(conv.fast.packed, PackedWinograd)
    with direct_convolutions():
        without_gradients(conv, x)
    assert isinstance(conv.fast.packed, PackedConv)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_a_fully_connected_layer_gives_the_same(activation):
    layer = Dense(12, 5, activation=activation)
    x = torch.randn(7, 12)
    assert_close(without_gradients(layer, x), layer(x), atol=1e-5, rtol=1e-5)


def test_no_regions_give_no_results():
    assert without_gradients(make(), torch.zeros(0, 8, 4, 4)).shape == (0, 16, 4, 4)
    assert without_gradients(Dense(12, 5), torch.zeros(0, 12)).shape == (0, 5)


def test_another_size_gives_the_same():
    conv = make()
    without_gradients(conv, torch.randn(1, 8, 4, 4))
    x = torch.randn(3, 8, 17, 5)
    assert_close(without_gradients(conv, x), conv(x), atol=1e-5, rtol=1e-5)


def in_place(conv):
    with torch.no_grad():
        conv.weight.mul_(2)


def from_a_checkpoint(conv):
    conv.load_state_dict({name: value * 2 for name, value in conv.state_dict().items()})


def in_its_norm(conv):
    conv.norm.running_mean += 1


def replaced(conv):
    conv.weight = torch.nn.Parameter(conv.weight.detach() * 2)


def behind_its_back(conv):
    conv.weight.data.mul_(2)


def by_a_fused_optimiser(conv):
    conv.weight.grad = torch.ones_like(conv.weight)
    torch.optim.SGD([conv.weight], lr=0.1, fused=True).step()


def by_numpy(conv):
    conv.weight.detach().numpy()[3, 1, 0, 2] += 1


def by_numpy_in_a_row(layer):
    layer.weight.detach().numpy()[-1, -1] += 1


def its_filters_change_places(conv):
    conv.weight.data.copy_(conv.weight.data.flip(0))


def in_one_value_of_its_norm(conv):
    conv.norm.running_var.data[5] *= 4


def from_a_vector(conv):
    vector = torch.nn.utils.parameters_to_vector(conv.parameters())
    torch.nn.utils.vector_to_parameters(vector * 2, conv.parameters())


def by_pruning(conv):
    prune.l1_unstructured(conv, "weight", amount=0.5)


def by_a_parametrisation(conv):
    torch.nn.utils.parametrizations.spectral_norm(conv)


CHANGES = (
    *(in_place, from_a_checkpoint, in_its_norm, replaced, behind_its_back, by_a_fused_optimiser, by_numpy),
    *(its_filters_change_places, in_one_value_of_its_norm, from_a_vector, by_pruning, by_a_parametrisation),
)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("width", [8, 128], ids=["small", "winograd"])
def test_changed_weights_are_noticed(change, width):
    conv, x = make(in_channels=width, out_channels=max(width, 16)), torch.randn(1, width, 6, 6)
    before = without_gradients(conv, x)
    change(conv)
    after = without_gradients(conv, x)
    assert not torch.equal(after, before)
    assert_close(after, conv(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("change", [in_place, replaced, behind_its_back, by_a_fused_optimiser, by_numpy_in_a_row])
def test_changed_weights_of_a_dense_layer_are_noticed(change):
    layer, x = Dense(128, 64), torch.randn(4, 128)
    before = without_gradients(layer, x)
    change(layer)
    after = without_gradients(layer, x)
    assert not torch.equal(after, before)
    assert_close(after, layer(x), atol=1e-5, rtol=1e-5)


def test_the_reference_backend_is_the_definition_everywhere():
    conv, layer, x = make(in_channels=128, out_channels=128), Dense(128, 64), torch.randn(1, 128, 6, 6)
    with torch.no_grad(), ops.use_backend("reference"):
        direct = conv(x), layer(x.mean(dim=(2, 3)))
    assert conv.fast.packed is None
    assert layer.fast.packed is None
    expected = torch.nn.functional.conv2d(x, conv.weight, None, padding=1)
    assert torch.equal(direct[0], conv.norm(expected))
    assert torch.equal(direct[1], torch.nn.functional.linear(x.mean(dim=(2, 3)), layer.weight, layer.bias))


def test_a_norm_that_goes_back_to_its_batch_is_noticed():
    conv, x = make(norm=Norm(kind="bn")), torch.randn(2, 8, 6, 6) + 3
    without_gradients(conv, x)
    conv.train()
    assert without_gradients(conv, x).mean((0, 2, 3)).abs().max() < 2 * conv.norm.bias.abs().max() + 1e-3


def test_a_copy_goes_its_own_way():
    conv, x = make(), torch.randn(1, 8, 6, 6)
    before = without_gradients(conv, x)
    twin = copy.deepcopy(conv)
    in_place(twin)
    assert torch.equal(without_gradients(conv, x), before)
    assert_close(without_gradients(twin, x), twin(x), atol=1e-5, rtol=1e-5)


def test_layers_made_without_version_counters_work():
    with torch.inference_mode():
        conv, layer = make(), Dense(3, 2)
        assert conv(torch.randn(1, 8, 6, 6)).shape == (1, 16, 6, 6)
        assert layer(torch.randn(1, 3)).shape == (1, 2)


def test_autocast_decides_the_type():
    conv, layer = make(activation="relu"), Dense(12, 5)
    x, vector = torch.randn(1, 8, 6, 6), torch.randn(3, 12)
    with torch.autocast("cpu", torch.bfloat16):
        expected = conv(x)
        assert without_gradients(layer, vector).dtype == torch.bfloat16
        assert without_gradients(conv, x).dtype == torch.bfloat16
        assert_close(without_gradients(conv, x), expected, atol=2e-2, rtol=2e-2)
    assert without_gradients(conv, x).dtype == torch.float32


def test_a_training_step_lets_go_of_the_second_copy():
    conv, x = make(), torch.randn(1, 8, 6, 6)
    without_gradients(conv, x)
    assert conv.fast.packed is not None
    conv(x)
    assert conv.fast.packed is None


def test_convolutions_of_another_kind_are_left_alone():
    deformable = DeformConvNorm(8, 8, deform=Deform(), stride=1, dilation=1, groups=1, norm=Norm(kind="frozen_bn"))
    grouped = make(norm=Norm(kind="gn", groups=4))
    for conv in (deformable, grouped):
        without_gradients(conv, torch.randn(1, 8, 6, 6))
        assert conv.fast.packed is None


@pytest.mark.parametrize("learns", [("x", "weight"), ("x",), ("weight",)], ids=str)
def test_a_wide_convolution_learns_as_the_direct_one_does(learns):
    conv = make(in_channels=128, out_channels=144, norm=None, activation="relu").train()
    conv.requires_grad_("weight" in learns)
    given = torch.randn(2, 128, 9, 13).contiguous(memory_format=torch.channels_last)
    shares = torch.randn(2, 144, 9, 13)
    found = []
    for folds in (True, False):  # False: as where gradients are compared with those of another program
        conv.fast.folds, conv.weight.grad, conv.bias.grad = folds, None, None
        x = given.clone().requires_grad_("x" in learns)
        made = conv(x)
        assert ("Winograd" in made.grad_fn.next_functions[0][0].name()) == folds
        (made * shares).sum().backward()
        found.append([t.grad for t in (x, conv.weight, conv.bias) if t.requires_grad])
    assert len(found[0]) > 0
    for ours, direct in zip(*found, strict=True):
        assert_close(ours, direct, atol=1e-4, rtol=1e-4)
