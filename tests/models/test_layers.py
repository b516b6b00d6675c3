"""The building blocks: norms by hand, convolutions that absorb constant norms, freezing, folding, checkpointing."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from boxwright.errors import ConfigError
from boxwright.models.backbones.stage import Stage
from boxwright.models.layers import ConvNorm, freeze, init_msra, init_msra_per_group, init_xavier
from boxwright.models.norms import FrozenBatchNorm, Norm, RunningBatchNorm

KINDS = ["frozen_bn", "bn", "sync_bn", "gn"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def randomize_norms(module):
    """Statistics and affine numbers that would show if one were forgotten."""
    for norm in module.modules():
        if hasattr(norm, "running_var"):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
        if hasattr(norm, "running_var") or isinstance(norm, nn.GroupNorm):
            norm.weight.data.uniform_(0.5, 1.5)
            norm.bias.data.uniform_(-1, 1)
    return module


def by_hand(conv, x):
    """The convolution and the affine of its norm, one after the other, in the words of the batch norm paper."""
    y = F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    n = conv.norm
    mean, var, weight, bias = (v[:, None, None] for v in (n.running_mean, n.running_var, n.weight, n.bias))
    return (y - mean) / torch.sqrt(var + n.eps) * weight + bias


# --- norms ----------------------------------------------------------------------------------------------------------


def test_frozen_batch_norm_starts_as_the_identity():
    x = torch.randn(2, 3, 4, 5)
    assert_close(FrozenBatchNorm(3)(x), x)


def test_frozen_batch_norm_of_no_regions_is_empty():
    assert FrozenBatchNorm(3)(torch.zeros(0, 3, 4, 5)).shape == (0, 3, 4, 5)


@pytest.mark.parametrize(("eps", "expected"), [(0.0, 7.0), (5.0, 5.0)])
def test_frozen_batch_norm_is_the_formula_with_its_own_eps(eps, expected):
    norm = FrozenBatchNorm(1, eps=eps)
    for name, value in {"weight": 2.0, "bias": 1.0, "running_mean": 4.0, "running_var": 4.0}.items():
        getattr(norm, name).fill_(value)
    # (10 - 4) / sqrt(4 + eps) * 2 + 1
    assert norm(torch.full((1, 1, 1, 1), 10.0)).item() == pytest.approx(expected)


def test_frozen_batch_norm_has_no_parameters_and_loads_a_training_one():
    trained = randomize_norms(nn.BatchNorm2d(4)).eval()
    frozen = FrozenBatchNorm(4)
    frozen.load_state_dict(trained.state_dict())  # strict: the count of batches is known and dropped
    x = torch.randn(2, 4, 3, 3)
    assert list(frozen.parameters()) == []
    assert_close(frozen(x), trained(x))


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        (Norm(kind="frozen_bn"), FrozenBatchNorm),
        (Norm(kind="bn"), nn.BatchNorm2d),
        (Norm(kind="bn", batch_statistics=False), RunningBatchNorm),
        (Norm(kind="sync_bn"), nn.SyncBatchNorm),
        (Norm(kind="sync_bn", batch_statistics=False), RunningBatchNorm),
        (Norm(kind="gn"), nn.GroupNorm),
    ],
)
def test_each_norm_makes_its_layer_with_its_eps(norm, expected):
    layer = Norm(**{**vars(norm), "eps": 1e-3})(64)
    assert type(layer) is expected
    assert layer.eps == 1e-3


def test_group_norm_that_does_not_divide_the_channels_says_so():
    with pytest.raises(ConfigError, match="32 groups does not fit 48 channels"):
        Norm(kind="gn")(48)


def test_an_unknown_norm_lists_the_known_ones():
    with pytest.raises(ConfigError, match="'ln'; expected frozen_bn, bn, sync_bn or gn"):
        Norm(kind="ln")(8)


@pytest.mark.parametrize("told", [False, True])
def test_running_statistics_are_used_and_kept_in_training_while_the_affine_learns(told):
    norm = randomize_norms(Norm(kind="bn", batch_statistics=False)(4))
    if told:
        norm.train()
    before = norm.running_mean.clone()
    x = torch.randn(8, 4, 3, 3)
    out = norm(x)
    assert_close(
        out, F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=False, eps=norm.eps)
    )
    out.square().sum().backward()
    assert_close(norm.running_mean, before)
    assert norm.weight.grad.abs().min() > 0


# --- convolution + norm + activation --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "bias", "keys"),
    [
        (None, None, {"weight", "bias"}),
        (None, False, {"weight"}),
        (Norm(kind="gn", groups=2), None, {"weight", "norm.weight", "norm.bias"}),
        (
            Norm(kind="frozen_bn"),
            None,
            {"weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"},
        ),
    ],
)
def test_keys_are_those_of_the_convolution_and_its_norm(norm, bias, keys):
    assert set(ConvNorm(3, 4, kernel_size=1, norm=norm, bias=bias).state_dict()) == keys


@pytest.mark.parametrize(
    ("stride", "dilation", "groups", "bias"), [(1, 1, 1, False), (2, 1, 2, True), (1, 2, 4, False)]
)
@pytest.mark.parametrize("kind", ["frozen_bn", "running", "eval"])
def test_a_constant_norm_is_absorbed_without_a_trace(kind, stride, dilation, groups, bias):
    norm = Norm(kind="frozen_bn" if kind == "frozen_bn" else "bn", batch_statistics=kind == "eval")
    conv = ConvNorm(
        4, 8, kernel_size=3, stride=stride, dilation=dilation, groups=groups, bias=bias, norm=norm, activation="relu"
    ).double()
    randomize_norms(conv)
    conv = conv.eval() if kind == "eval" else conv.train()
    x = torch.randn(2, 4, 9, 11, dtype=torch.double, requires_grad=True)
    inputs = [x, *conv.parameters()]
    expected = by_hand(conv, x).relu()
    weights = torch.randn_like(expected)
    assert_close(conv(x), expected)
    got = torch.autograd.grad((conv(x) * weights).sum(), inputs)
    for ours, theirs in zip(got, torch.autograd.grad((expected * weights).sum(), inputs), strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_the_residual_is_added_before_the_activation_and_left_as_it_was(kind):
    conv = randomize_norms(ConvNorm(4, 4, kernel_size=3, norm=Norm(kind=kind, groups=2), activation="relu")).eval()
    plain = ConvNorm(4, 4, kernel_size=3, norm=Norm(kind=kind, groups=2)).eval()
    plain.load_state_dict(conv.state_dict())
    x, residual = torch.randn(2, 4, 5, 5), torch.randn(2, 4, 5, 5)
    kept = residual.clone()
    assert_close(conv(x, residual), (plain(x) + residual).relu())
    assert_close(residual, kept)


@pytest.mark.parametrize("activation", [None, "relu", "silu", "hardswish"])
def test_activations_give_the_same_with_and_without_gradients(activation):
    conv = ConvNorm(3, 4, kernel_size=1, activation=activation)
    x = torch.randn(2, 3, 4, 4)
    expected = F.conv2d(x, conv.weight, conv.bias)
    expected = expected if activation is None else getattr(F, activation)(expected)
    with torch.no_grad():
        assert_close(conv(x), expected)
    assert_close(conv(x), expected)
    conv(x).square().sum().backward()
    (expected_grad,) = torch.autograd.grad(expected.square().sum(), [conv.weight])
    assert_close(conv.weight.grad, expected_grad)


@pytest.mark.parametrize("kind", KINDS)
def test_no_regions_and_channels_last_pass_through(kind):
    conv = ConvNorm(4, 4, kernel_size=3, norm=Norm(kind=kind, groups=2), activation="relu").eval()
    assert conv(torch.zeros(0, 4, 7, 7)).shape == (0, 4, 7, 7)
    out = conv.to(memory_format=torch.channels_last)(torch.randn(2, 4, 7, 7).to(memory_format=torch.channels_last))
    # PyTorch's group norm is free to answer in either layout
    assert kind == "gn" or out.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_norm_in_training_uses_and_tracks_the_batch():
    conv = ConvNorm(3, 4, kernel_size=1, norm=Norm(kind="bn", momentum=1.0)).train()
    out = conv(torch.randn(4, 3, 6, 6))
    assert_close(out.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    assert conv.norm.running_mean.abs().min() > 0


# --- freezing -------------------------------------------------------------------------------------------------------


def test_freezing_turns_batch_norms_into_frozen_ones_with_the_same_numbers():
    part = nn.Sequential(ConvNorm(3, 4, kernel_size=1, norm=Norm(kind="bn", eps=1e-3), activation="relu"))
    randomize_norms(part).eval()
    x = torch.randn(2, 3, 4, 4)
    expected = part(x).detach()
    freeze(part)
    part.train()
    assert isinstance(part[0].norm, FrozenBatchNorm)
    assert not any(p.requires_grad for p in part.parameters())
    assert_close(part(x), expected)


def test_freezing_with_the_norm_unchanged_goes_on_tracking_the_batch():
    part = nn.Sequential(ConvNorm(3, 4, kernel_size=1, norm=Norm(kind="bn")))
    freeze(part, norm="unchanged")
    before = part[0].norm.running_mean.clone()
    part.train()(torch.randn(2, 3, 4, 4))
    assert not any(p.requires_grad for p in part.parameters())
    assert (part[0].norm.running_mean - before).abs().min() > 0


# --- stages and checkpointing ---------------------------------------------------------------------------------------


def make_stage(*, checkpoint):
    torch.manual_seed(1)
    blocks = {
        str(i): ConvNorm(4, 4, kernel_size=3, norm=Norm(kind="bn", momentum=0.5), activation="relu") for i in (7, 8)
    }
    return Stage(blocks, out_channels=4, stride=1, checkpoint=checkpoint).train()


def test_a_stage_keeps_the_names_of_its_blocks():
    assert {key.split(".")[0] for key in make_stage(checkpoint=False).state_dict()} == {"7", "8"}


def test_checkpointing_changes_neither_outputs_gradients_nor_statistics():
    x = torch.randn(2, 4, 6, 6)
    plain, saving = make_stage(checkpoint=False), make_stage(checkpoint=True)
    outs = [stage(x) for stage in (plain, saving)]
    for out in outs:
        out.square().sum().backward()
    assert_close(outs[1], outs[0])
    for ours, theirs in zip(saving.parameters(), plain.parameters(), strict=True):
        assert_close(ours.grad, theirs.grad)
    assert_close(dict(saving.named_buffers()), dict(plain.named_buffers()))  # each batch counted once
    assert all(norm.momentum == 0.5 for norm in saving.modules() if isinstance(norm, nn.BatchNorm2d))


def test_checkpointing_keeps_less_for_the_backward_pass():
    kept = {}
    for checkpoint in (False, True):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            make_stage(checkpoint=checkpoint)(torch.randn(2, 4, 32, 32))
        kept[checkpoint] = sum(sizes)
    assert kept[True] < kept[False] / 2


# --- initialisation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("init", "groups", "std"),
    [
        (init_msra, 1, (2 / (128 * 9)) ** 0.5),
        (init_msra_per_group, 64, (2 / (2 * 9)) ** 0.5),
        (init_xavier, 1, 1 / (64 * 9) ** 0.5),
    ],
)
def test_initial_weights_have_the_spread_of_their_rule(init, groups, std):
    conv = nn.Conv2d(64, 128, 3, groups=groups)
    init(conv)
    assert conv.weight.std().item() == pytest.approx(std, rel=0.05)
    assert conv.bias.abs().max() == 0


def frozen_norm():
    norm = FrozenBatchNorm(3)
    norm.load_state_dict({name: torch.rand(3) + 0.5 for name in ("weight", "bias", "running_mean", "running_var")})
    return norm


def by_definition(norm, x):
    parts = (norm.running_mean, norm.running_var + norm.eps, norm.weight, norm.bias)
    mean, var, weight, bias = (part[:, None, None] for part in parts)
    return (x - mean) / var.sqrt() * weight + bias


@pytest.mark.parametrize(
    "change",
    [
        lambda norm: norm.running_var.mul_(2),
        lambda norm: norm.load_state_dict({name: value + 1 for name, value in norm.state_dict().items()}),
        lambda norm: norm.load_state_dict({name: value + 1 for name, value in norm.state_dict().items()}, assign=True),
        lambda norm: setattr(norm, "bias", torch.ones(3)),
        lambda norm: norm.double(),
    ],
    ids=["written to", "loaded", "assigned", "replaced", "converted"],
)
def test_a_frozen_norm_sees_its_constants_change(change):
    norm, x = frozen_norm(), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(norm(x), by_definition(norm, x))
    change(norm)
    x = x.to(norm.weight.dtype)
    torch.testing.assert_close(norm(x), by_definition(norm, x))


def test_a_frozen_norm_that_was_used_for_inference_passes_gradients_on():
    norm, x = frozen_norm(), torch.randn(2, 3, 4, 4, requires_grad=True)
    with torch.inference_mode():
        norm(x)
    norm(x).sum().backward()
    torch.testing.assert_close(x.grad[0, :, 0, 0], norm.weight * (norm.running_var + norm.eps).rsqrt())
