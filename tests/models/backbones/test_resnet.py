"""ResNet and ResNeXt: shapes, names, freezing, deformable and dilated forms, equality with torchvision."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from boxwright.errors import ConfigError
from boxwright.models.backbones.resnet import LEVELS, Deform, DeformConvNorm, make_resnet, make_stage
from boxwright.models.norms import FrozenBatchNorm, Norm

FROZEN = Norm(kind="frozen_bn")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def on_meta(**settings):
    """The network without numbers: shapes cost nothing."""
    with torch.device("meta"):
        return make_resnet(**{"depth": 50, "norm": FROZEN} | settings)


def shapes(net, height, width):
    return {level: tuple(x.shape[1:]) for level, x in net(torch.zeros(1, 3, height, width, device="meta")).items()}


def randomize(module):
    """Numbers that keep the activations near 1 through many layers and would show if one were forgotten."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith("running_mean"):
            value.data.uniform_(-0.1, 0.1)
        elif name.endswith("running_var"):
            value.data.uniform_(0.5, 1.5)
        elif name.endswith(("norm.weight", "bn1.weight", "bn2.weight", "bn3.weight", "downsample.1.weight")):
            value.data.uniform_(0.3, 0.6)
        elif name.endswith("bias"):
            value.data.normal_(std=0.05)
    return module


def copy_in_order(source, target):
    """Both list the same layers in the same order, under different names."""
    values = [v for k, v in source.items() if not k.endswith("num_batches_tracked")]
    keys = [k for k in target.state_dict() if not k.endswith("num_batches_tracked")]
    target.load_state_dict(dict(zip(keys, values, strict=True)))


# --- shapes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "widths"), [(18, 64), (34, 64), (50, 256), (101, 256), (152, 256)])
def test_levels_have_the_widths_and_strides_of_the_paper(depth, widths):
    net = on_meta(depth=depth)
    expected = {level: (widths * 2**i, 256 // 2**i, 320 // 2**i) for i, level in enumerate(LEVELS)}
    assert shapes(net, 1024, 1280) == expected
    assert net.out_channels == {level: shape[0] for level, shape in expected.items()}
    assert net.out_strides == {"c2": 4, "c3": 8, "c4": 16, "c5": 32}


def test_odd_sizes_round_up():
    assert [shape[1:] for shape in shapes(on_meta(), 801, 1067).values()] == [
        (201, 267),
        (101, 134),
        (51, 67),
        (26, 34),
    ]


def test_no_images_give_no_features():
    net = make_resnet(depth=18, norm=FROZEN, out_levels=("c2",))
    assert net(torch.zeros(0, 3, 32, 32))["c2"].shape == (0, 64, 8, 8)


@pytest.mark.parametrize(
    ("out_levels", "built"),
    [(("c2",), "c2"), (("c4",), "c4"), (("c3", "c5"), "c5"), (("c5", "c3"), "c5")],
)
def test_only_the_levels_asked_for_are_returned_and_nothing_above_them_is_built(out_levels, built):
    net = on_meta(out_levels=out_levels)
    assert list(shapes(net, 64, 64)) == sorted(out_levels)
    assert {key[:2] for key in net.state_dict()} == {"st", *LEVELS[: LEVELS.index(built) + 1]}


@pytest.mark.parametrize(
    ("depth", "groups", "width", "params"),
    [(50, 32, 4, 22_979_904), (101, 32, 4, 42_128_704), (101, 32, 8, 86_742_336), (101, 64, 4, 81_406_272)],
)
def test_resnext_has_the_number_of_parameters_of_its_kind(depth, groups, width, params):
    net = on_meta(depth=depth, groups=groups, width_per_group=width, norm=Norm(kind="bn"))
    assert net.get_submodule("c2.0.conv2").groups == groups
    assert net.get_submodule("c5.0.conv2").out_channels == groups * width * 8
    assert sum(p.numel() for p in net.parameters()) == params  # those of the classifiers, less the last layer


@pytest.mark.parametrize("depth", [18, 50])
def test_dilated_c5_keeps_the_stride_of_c4(depth):
    net = on_meta(depth=depth, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), out_levels=("c5",))
    assert shapes(net, 640, 800)["c5"][1:] == (40, 50)
    assert net.out_strides == {"c5": 16}
    first = "conv1" if depth == 18 else "conv2"
    assert [getattr(block, first).dilation for block in net.get_submodule("c5")] == [(2, 2)] * (2 if depth == 18 else 3)


@pytest.mark.parametrize(("stride_in_1x1", "expected"), [(True, (2, 1)), (False, (1, 2))])
def test_the_stride_sits_where_it_is_told(stride_in_1x1, expected):
    block = on_meta(stride_in_1x1=stride_in_1x1).get_submodule("c3.0")
    assert (block.conv1.stride[0], block.conv2.stride[0]) == expected


@pytest.mark.parametrize("stride", [1, 2])
def test_c5_alone_is_the_head_of_a_region(stride):
    stage = make_stage(level="c5", depth=50, norm=FROZEN, stride=stride)
    assert (stage.out_channels, stage.stride) == (2048, stride)
    assert stage(torch.randn(2, 1024, 14, 14)).shape == (2, 2048, 14 // stride, 14 // stride)
    assert stage(torch.randn(0, 1024, 14, 14)).shape == (0, 2048, 14 // stride, 14 // stride)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 51}, "depth is 51; expected 18, 34, 50, 101, 152"),
        ({"out_levels": ()}, r"levels are \[\]; expected some of c2, c3, c4, c5"),
        ({"out_levels": ("p2",)}, r"levels are \['p2'\]"),
        ({"freeze_at": 6}, "freeze_at is 6; expected 0"),
        ({"depth": 18, "groups": 32}, "ResNet-18 has no grouped or deformable form"),
        ({"depth": 34, "deform": {"c5": Deform()}}, "ResNet-34 has no grouped or deformable form"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_expected(settings, message):
    with pytest.raises(ConfigError, match=message):
        on_meta(**settings)


# --- names -------------------------------------------------------------------------------------------------------


def test_names_are_regular():
    norm = ["weight", "bias", "running_mean", "running_var"]
    net = on_meta(deform={"c3": Deform()})
    keys = [key for key in net.state_dict() if key.startswith(("stem", "c3.0."))]
    expected = ["stem.weight", *(f"stem.norm.{part}" for part in norm)]
    for conv in ("conv1", "conv2", "conv3", "shortcut"):
        expected += [f"c3.0.{conv}.weight", *(f"c3.0.{conv}.norm.{part}" for part in norm)]
    assert set(keys) == {*expected, "c3.0.conv2.offset.weight", "c3.0.conv2.offset.bias"}


def test_a_shortcut_convolution_exists_only_where_the_shape_changes():
    def with_shortcut(depth):
        return sorted({k.rsplit(".", 2)[0] for k in on_meta(depth=depth).state_dict() if "shortcut.weight" in k})

    assert with_shortcut(18) == ["c3.0", "c4.0", "c5.0"]
    assert with_shortcut(50) == ["c2.0", "c3.0", "c4.0", "c5.0"]


# --- freezing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freeze_at", "frozen"),
    [
        (0, set()),
        (1, {"stem"}),
        (2, {"stem", "c2"}),
        (3, {"stem", "c2", "c3"}),
        (4, {"stem", "c2", "c3", "c4"}),
        (5, {"stem", "c2", "c3", "c4", "c5"}),
    ],
)
def test_freezing_stops_the_first_parts_and_freezes_their_norms(freeze_at, frozen):
    net = on_meta(depth=18, norm=Norm(kind="bn"), freeze_at=freeze_at)
    still = {name.split(".")[0] for name, p in net.named_parameters() if not p.requires_grad}
    constant = {name.split(".")[0] for name, m in net.named_modules() if isinstance(m, FrozenBatchNorm)}
    assert still == constant == frozen
    learning = {name.split(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert learning == {"stem", *LEVELS} - frozen


def test_gradients_reach_what_learns_and_nothing_else():
    net = make_resnet(depth=18, norm=Norm(kind="bn"), freeze_at=2).train()
    sum(x.square().mean() for x in net(torch.randn(2, 3, 32, 32)).values()).backward()
    for name, parameter in net.named_parameters():
        assert (parameter.grad is None) == name.startswith(("stem", "c2")), name


def test_frozen_stages_may_go_on_tracking_the_batch():
    net = make_resnet(depth=18, norm=Norm(kind="bn"), freeze_at=1, frozen_norm="unchanged", out_levels=("c2",)).train()
    net(torch.randn(2, 3, 32, 32))
    assert net.stem.norm.running_mean.abs().max() > 0
    assert not net.stem.weight.requires_grad


# --- start of training -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [18, 50])
def test_zero_residuals_start_every_block_as_its_shortcut(depth):
    block = make_stage(level="c3", depth=depth, norm=Norm(kind="gn"), zero_init_residual=True)[1]
    x = torch.rand(2, block.conv1.in_channels, 4, 4)
    assert_close(block(x), x)


def test_a_network_from_scratch_keeps_the_size_of_its_activations():
    net = make_resnet(depth=50, norm=Norm(kind="gn"))
    for level, x in net(torch.randn(1, 3, 96, 96)).items():
        assert 0.1 < x.std().item() < 10, level


def test_checkpointed_stages_give_the_same_gradients():
    nets = []
    for levels in ((), ("c2", "c4")):
        torch.manual_seed(3)
        nets.append(make_resnet(depth=18, norm=FROZEN, out_levels=("c4",), checkpoint_levels=levels))
    x = torch.randn(1, 3, 32, 32)
    for net in nets:
        net(x)["c4"].square().sum().backward()
    assert [net.get_submodule("c4").checkpoint for net in nets] == [False, True]
    for ours, theirs in zip(nets[1].parameters(), nets[0].parameters(), strict=True):
        assert_close(ours.grad, theirs.grad)


# --- deformable ----------------------------------------------------------------------------------------------------


def make_deform_conv(**deform):
    return DeformConvNorm(4, 6, deform=Deform(**deform), stride=1, dilation=1, groups=1, norm=None)


@pytest.mark.parametrize(("modulated", "factor"), [(False, 1.0), (True, 0.5)])
@pytest.mark.parametrize("groups", [1, 2])
def test_without_offsets_it_is_the_plain_convolution(modulated, factor, groups):
    conv = make_deform_conv(modulated=modulated, groups=groups)
    x = torch.randn(2, 4, 6, 7)
    assert conv.offset.out_channels == (27 if modulated else 18) * groups
    assert_close(conv(x), factor * F.conv2d(x, conv.weight, padding=1).relu(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("axis", "moved"), [(0, 2), (1, 3)])
def test_offsets_are_y_then_x_for_each_tap(axis, moved):
    conv = make_deform_conv(modulated=True)
    conv.offset.bias.data[axis:18:2] = 1.0
    conv.offset.bias.data[18:] = 30.0  # masks of 1
    x = torch.randn(1, 4, 8, 8)
    expected = F.conv2d(x.roll(-1, dims=moved), conv.weight, padding=1).relu()
    inside = (..., slice(2, 6), slice(2, 6))
    assert_close(conv(x)[inside], expected[inside], atol=1e-5, rtol=1e-5)


def test_masks_come_after_all_offsets_one_per_tap():
    conv = make_deform_conv(modulated=True, groups=2)
    conv.offset.bias.data[36:] = 30.0
    conv.offset.bias.data[36 + 9 + 4] = -30.0  # the middle tap of the second group of channels
    x = torch.randn(1, 4, 6, 6)
    weight = conv.weight.detach().clone()
    weight[:, 2:, 1, 1] = 0.0
    assert_close(conv(x), F.conv2d(x, weight, padding=1).relu(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("modulated", [False, True])
def test_deformable_levels_start_without_offsets_and_learn_them(modulated):
    net = make_resnet(depth=50, norm=FROZEN, deform={"c3": Deform(modulated=modulated)}, out_levels=("c3",))
    assert all(block.conv2.offset.weight.abs().max() == 0 for block in net.get_submodule("c3"))
    assert not any(isinstance(m, DeformConvNorm) for m in net.get_submodule("c2").modules())
    net(torch.randn(1, 3, 32, 32))["c3"].square().sum().backward()
    assert all(block.conv2.offset.weight.grad.abs().sum() > 0 for block in net.get_submodule("c3"))


# --- equality ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deform", [{}, {"c3": Deform(modulated=True)}])
def test_features_without_gradients_are_those_with_gradients(deform):
    net = randomize(make_resnet(depth=50, norm=FROZEN, deform=deform, out_levels=("c2", "c3"))).eval()
    x = torch.randn(1, 3, 64, 64)
    expected = net(x)
    with torch.no_grad():
        for level, features in net(x).items():
            assert_close(features, expected[level], atol=1e-5 * expected[level].abs().max().item(), rtol=0)


def test_channels_last_goes_through():
    net = randomize(make_resnet(depth=18, norm=FROZEN)).eval()
    x = torch.randn(2, 3, 64, 64)
    expected = net(x)
    net = net.to(memory_format=torch.channels_last)
    for level, features in net(x.to(memory_format=torch.channels_last)).items():
        assert features.is_contiguous(memory_format=torch.channels_last)
        assert_close(features, expected[level], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("resnet18", {"depth": 18}),
        ("resnet50", {"depth": 50}),
        ("resnext50_32x4d", {"depth": 50, "groups": 32, "width_per_group": 4}),
        pytest.param("resnet34", {"depth": 34}, marks=pytest.mark.slow),
        pytest.param("resnet101", {"depth": 101}, marks=pytest.mark.slow),
        pytest.param("resnet152", {"depth": 152}, marks=pytest.mark.slow),
        pytest.param("resnext101_32x8d", {"depth": 101, "groups": 32, "width_per_group": 8}, marks=pytest.mark.slow),
        pytest.param("resnext101_64x4d", {"depth": 101, "groups": 64, "width_per_group": 4}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_features_equal_torchvision(name, settings, eps):
    torchvision = pytest.importorskip("torchvision", reason="the comparison needs torchvision")
    norm = partial(torchvision.ops.misc.FrozenBatchNorm2d, eps=eps)
    theirs = randomize(getattr(torchvision.models, name)(weights=None, norm_layer=norm)).eval()
    ours = make_resnet(norm=Norm(kind="frozen_bn", eps=eps), **settings).eval()
    copy_in_order({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}, ours)
    x = torch.randn(1, 3, 75, 97)
    y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
    for level, features in ours(x).items():
        y = getattr(theirs, f"layer{int(level[1]) - 1}")(y)
        assert_close(features, y, atol=1e-5 * y.abs().max().item(), rtol=0)


def test_gradients_of_a_training_batch_norm_equal_torchvision():
    torchvision = pytest.importorskip("torchvision", reason="the comparison needs torchvision")
    theirs = randomize(torchvision.models.resnet18(weights=None)).double().train()
    theirs.fc = nn.Identity()
    ours = make_resnet(depth=18, norm=Norm(kind="bn"), out_levels=("c5",)).double().train()
    copy_in_order(theirs.state_dict(), ours)
    x = torch.randn(2, 3, 64, 64, dtype=torch.double)
    theirs(x).square().sum().backward()
    ours(x)["c5"].mean((2, 3)).square().sum().backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(mine.grad, other.grad)
    assert_close(ours.stem.norm.running_var, theirs.bn1.running_var)
