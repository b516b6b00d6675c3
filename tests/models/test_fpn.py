"""Feature pyramid: sums by hand, extra levels, odd sizes, norms, equality with torchvision."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from boxwright.errors import ConfigError
from boxwright.models.fpn import FPN, ConvLevels, MaxPoolLevels
from boxwright.models.norms import Norm

STRIDES = {"c2": 4, "c3": 8, "c4": 16, "c5": 32}
SIZES = {"c2": (32, 48), "c3": (16, 24), "c4": (8, 12), "c5": (4, 6)}
ODD_SIZES = {"c2": (25, 33), "c3": (13, 17), "c4": (7, 9), "c5": (4, 5)}


def make_fpn(*, levels=("c2", "c3", "c4", "c5"), channels=4, **settings):
    torch.manual_seed(0)
    return FPN(in_channels=dict.fromkeys(levels, channels), in_strides=STRIDES, out_channels=channels, **settings)


def constants(sizes, channels=4):
    """1 on c2, 10 on c3, 100 on c4, 1000 on c5."""
    return {level: torch.full((1, channels, *size), 10.0**i) for i, (level, size) in enumerate(sizes.items())}


def make_identity(net):
    """Every convolution hands on its input, so that only the fusing is left."""
    for conv in net.modules():
        if isinstance(conv, torch.nn.Conv2d):
            conv.weight.data.zero_()
            middle = conv.kernel_size[0] // 2
            conv.weight.data[range(conv.out_channels), range(conv.out_channels), middle, middle] = 1.0
    return net


def test_a_neck_needs_levels():
    with pytest.raises(ConfigError, match="neck has no input levels"):
        make_fpn(levels=())


@pytest.mark.parametrize(
    ("fuse", "expected"),
    [("sum", [1111, 1110, 1100, 1000]), ("avg", [1 / 2 + 10 / 4 + 1100 / 8, 10 / 2 + 1100 / 4, 550, 1000])],
)
@pytest.mark.parametrize("sizes", [SIZES, ODD_SIZES])
def test_constants_are_fused_from_coarse_to_fine(fuse, expected, sizes):
    outputs = make_identity(make_fpn(fuse=fuse))(constants(sizes))
    assert list(outputs) == ["p2", "p3", "p4", "p5"]
    for (level, x), value in zip(outputs.items(), expected, strict=True):
        assert x.shape[2:] == sizes["c" + level[1]]
        assert_close(x, torch.full_like(x, value))


def test_a_coarse_cell_is_repeated_over_its_four_finer_cells():
    net = make_identity(make_fpn(levels=("c4", "c5"), channels=1))
    coarse = torch.arange(6.0).view(1, 1, 2, 3)
    out = net({"c4": torch.zeros(1, 1, 4, 6), "c5": coarse})["p4"]
    assert_close(out, coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))


def test_the_inputs_are_left_as_they_were():
    features = constants(SIZES)
    make_identity(make_fpn(fuse="avg"))(features)
    assert_close(features, constants(SIZES))


def test_levels_of_the_backbone_that_are_not_named_are_not_read():
    net = make_fpn(levels=("c3", "c4"))
    assert list(net(constants(SIZES))) == ["p3", "p4"]
    assert net.out_strides == {"p3": 8, "p4": 16}


@pytest.mark.parametrize(
    ("extra", "strides"),
    [
        (None, {}),
        (MaxPoolLevels(), {"p6": 64}),
        (MaxPoolLevels(levels=("p6", "p7")), {"p6": 64, "p7": 128}),
        (ConvLevels(in_channels=4, out_channels=4, source="input", relu_between=True), {"p6": 64, "p7": 128}),
        (
            ConvLevels(in_channels=4, out_channels=4, levels=("p6",), source="output", relu_between=False),
            {"p6": 64},
        ),
    ],
)
def test_extra_levels_halve_the_size_and_tell_their_strides(extra, strides):
    net = make_fpn(extra=extra)
    outputs = net(constants(ODD_SIZES))
    assert net.out_strides == {"p2": 4, "p3": 8, "p4": 16, "p5": 32, **strides}
    assert net.out_channels == dict.fromkeys(net.out_strides, 4)
    assert [tuple(x.shape[2:]) for x in outputs.values()][4:] == [(2, 3), (1, 2)][: len(strides)]


def test_max_pool_takes_every_second_cell_of_the_output():
    outputs = make_fpn(extra=MaxPoolLevels())(constants(ODD_SIZES))
    assert_close(outputs["p6"], outputs["p5"][:, :, ::2, ::2])


@pytest.mark.parametrize("source", ["input", "lateral", "output"])
@pytest.mark.parametrize("relu_between", [False, True])
def test_convolved_levels_read_their_source_and_rectify_between(source, relu_between):
    extra = ConvLevels(in_channels=4, out_channels=4, source=source, relu_between=relu_between)
    net = make_fpn(extra=extra)
    features = {level: torch.randn_like(x) for level, x in constants(SIZES).items()}
    lateral = F.conv2d(features["c5"], net.lateral["c5"].weight, net.lateral["c5"].bias)
    output = F.conv2d(lateral, net.output["p5"].weight, net.output["p5"].bias, padding=1)
    x = {"input": features["c5"], "lateral": lateral, "output": output}[source]
    p6 = F.conv2d(x, extra.p6.weight, extra.p6.bias, stride=2, padding=1)
    p7 = F.conv2d(p6.relu() if relu_between else p6, extra.p7.weight, extra.p7.bias, stride=2, padding=1)
    outputs = net(features)
    assert_close(outputs["p6"], p6)
    assert_close(outputs["p7"], p7)


@pytest.mark.parametrize(
    ("settings", "lateral", "output"),
    [
        ({}, {"weight", "bias"}, {"weight", "bias"}),
        (
            {"norm": Norm(kind="gn", groups=2)},
            {"weight", "norm.weight", "norm.bias"},
            {"weight", "norm.weight", "norm.bias"},
        ),
        (
            {"norm": Norm(kind="gn", groups=2), "norm_on_lateral": False},
            {"weight", "bias"},
            {"weight", "norm.weight", "norm.bias"},
        ),
    ],
)
def test_a_norm_takes_the_place_of_the_bias(settings, lateral, output):
    keys = make_fpn(**settings).state_dict()
    assert {key.removeprefix("lateral.c4.") for key in keys if key.startswith("lateral.c4.")} == lateral
    assert {key.removeprefix("output.p4.") for key in keys if key.startswith("output.p4.")} == output


def test_names_of_extra_levels():
    extra = ConvLevels(in_channels=4, out_channels=4, source="input", relu_between=True, norm=Norm(kind="gn", groups=2))
    keys = {key for key in make_fpn(extra=extra).state_dict() if key.startswith("extra")}
    assert keys == {f"extra.{p}.{part}" for p in ("p6", "p7") for part in ("weight", "norm.weight", "norm.bias")}


def test_gradients_reach_every_parameter():
    extra = ConvLevels(in_channels=4, out_channels=4, source="input", relu_between=True)
    net = make_fpn(norm=Norm(kind="gn", groups=2), extra=extra, fuse="avg")
    features = {level: torch.randn_like(x) for level, x in constants(SIZES).items()}
    sum(x.square().mean() for x in net(features).values()).backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("norm", [None, Norm(kind="bn")])
def test_outputs_equal_torchvision(norm):
    torchvision = pytest.importorskip("torchvision", reason="the comparison needs torchvision")
    widths = {"c2": 3, "c3": 5, "c4": 7, "c5": 9}
    pyramid = torchvision.ops.feature_pyramid_network
    theirs = torchvision.ops.FeaturePyramidNetwork(
        list(widths.values()),
        8,
        extra_blocks=pyramid.LastLevelP6P7(8, 8),  # equal widths: it reads the last output
        norm_layer=None if norm is None else torch.nn.BatchNorm2d,
    )
    extra = ConvLevels(in_channels=8, out_channels=8, source="output", relu_between=True)
    ours = FPN(in_channels=widths, in_strides=STRIDES, out_channels=8, norm=norm, extra=extra)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    torch.manual_seed(0)
    features = {level: torch.randn(2, widths[level], *size) for level, size in ODD_SIZES.items()}
    for x, expected in zip(ours(features).values(), theirs(features).values(), strict=True):
        assert_close(x, expected)
