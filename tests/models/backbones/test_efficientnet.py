"""EfficientNet: every stage's shape, both paddings, the C4 split, equality with timm and torchvision."""

import pytest
import torch
from torch.testing import assert_close

from boxwright.errors import ConfigError
from boxwright.models.backbones.efficientnet import (
    LEVELS,
    last_blocks,
    make_efficientnet,
    make_region_stage,
    plan_blocks,
)
from boxwright.models.norms import FrozenBatchNorm, Norm

TF_NORM = Norm(kind="bn", eps=1e-3, momentum=0.01)
PADDINGS = ["same", "same_nominal", "symmetric"]


def on_meta(**settings):
    with torch.device("meta"):
        return make_efficientnet(**{"variant": 4, "norm": TF_NORM, "out_levels": LEVELS} | settings)


def randomize(module):
    """Numbers that keep the activations near 1 and would show if one were forgotten."""
    torch.manual_seed(1)
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith("running_mean"):
            value.data.uniform_(-0.1, 0.1)
        elif name.endswith("running_var"):
            value.data.uniform_(0.5, 1.5)
        elif name.endswith("bias"):
            value.data.normal_(std=0.05)
        elif value.ndim == 1:
            value.data.uniform_(0.6, 1.2)
        elif value.ndim > 1:
            value.data.normal_(std=(2 / value[0].numel()) ** 0.5)
    return module


def copy_in_order(source, target):
    """Both list the same layers in the same order, under different names; the source may go on."""
    values = [v for k, v in source.items() if not k.endswith("num_batches_tracked")]
    keys = [k for k in target.state_dict() if not k.endswith("num_batches_tracked")]
    target.load_state_dict(dict(zip(keys, values, strict=False)))


def assert_equal_features(ours, theirs):
    assert len(ours) == len(theirs)
    for x, y in zip(ours.values(), theirs, strict=True):
        assert_close(x, y, atol=1e-5 * y.abs().max().item(), rtol=0)


# --- shapes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variant", "expected"), [(0, 3_595_388), (4, 16_742_216)])
def test_the_number_of_parameters_is_that_of_the_classifier_less_its_head(variant, expected):
    assert sum(p.numel() for p in on_meta(variant=variant).parameters()) == expected


@pytest.mark.parametrize("padding", PADDINGS)
def test_every_stage_of_b4_has_its_shape(padding):
    net = on_meta(padding=padding)
    x = net.stem(torch.zeros(1, 3, 736, 1344, device="meta"))
    assert x.shape == (1, 48, 368, 672)
    expected = [
        *[(24, 368, 672)] * 2,
        *[(32, 184, 336)] * 4,
        *[(56, 92, 168)] * 4,
        *[(112, 46, 84)] * 6,
        *[(160, 46, 84)] * 6,
        *[(272, 23, 42)] * 8,
        *[(448, 23, 42)] * 2,
    ]
    assert len(net.blocks) == len(expected) == 32
    for index, (block, shape) in enumerate(zip(net.blocks, expected, strict=True)):
        x = block(x)
        assert x.shape[1:] == shape, index


def test_the_levels_of_b4_are_the_last_blocks_of_each_stride():
    assert last_blocks(plan_blocks(4)) == {"c1": 1, "c2": 5, "c3": 9, "c4": 21, "c5": 31}
    net = on_meta(out_levels=("c2", "c3", "c4", "c5"))
    features = net(torch.zeros(1, 3, 736, 1344, device="meta"))
    assert {level: tuple(x.shape[1:]) for level, x in features.items()} == {
        "c2": (32, 184, 336),
        "c3": (56, 92, 168),
        "c4": (160, 46, 84),
        "c5": (448, 23, 42),
    }
    assert net.out_channels == {"c2": 32, "c3": 56, "c4": 160, "c5": 448}
    assert net.out_strides == {"c2": 4, "c3": 8, "c4": 16, "c5": 32}


@pytest.mark.parametrize(
    ("variant", "num_blocks", "channels"),
    [
        (0, 16, [16, 24, 40, 112, 320]),
        (1, 23, [16, 24, 40, 112, 320]),
        (2, 23, [16, 24, 48, 120, 352]),
        (3, 26, [24, 32, 48, 136, 384]),
        (4, 32, [24, 32, 56, 160, 448]),
        (5, 39, [24, 40, 64, 176, 512]),
        (6, 45, [32, 40, 72, 200, 576]),
        (7, 55, [32, 48, 80, 224, 640]),
    ],
)
def test_each_variant_has_its_depth_and_widths(variant, num_blocks, channels):
    net = on_meta(variant=variant)
    assert len(net.blocks) == num_blocks
    assert list(net.out_channels.values()) == channels


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        ("same", [(112, 151), (56, 76), (28, 38), (14, 19), (7, 10)]),
        ("symmetric", [(112, 151), (56, 76), (28, 38), (14, 19), (7, 10)]),
        (
            "same_nominal",
            [(111, 150), (55, 75), (28, 38), (14, 19), (7, 9)],
        ),  # B4 of 380: padded for 380, 190, 95, 48, 24
    ],
)
def test_odd_sizes_round_up_unless_padded_for_another_size(padding, expected):
    features = on_meta(padding=padding)(torch.zeros(1, 3, 223, 301, device="meta"))
    assert [tuple(x.shape[2:]) for x in features.values()] == expected


def test_c4_ends_at_block_21_and_the_region_stage_goes_on_from_there():
    torch.manual_seed(0)
    whole = randomize(make_efficientnet(variant=4, norm=TF_NORM, out_levels=("c4", "c5"))).eval()
    body = make_efficientnet(variant=4, norm=TF_NORM, out_levels=("c4",)).eval()
    head = make_region_stage(variant=4, norm=TF_NORM).eval()
    state = whole.state_dict()
    body.load_state_dict({key: state[key] for key in body.state_dict()})
    head.load_state_dict({key: state[f"blocks.{key}"] for key in head.state_dict()})
    assert len(body.blocks) == 22
    assert sorted({int(key.split(".")[0]) for key in head.state_dict()}) == list(range(22, 32))
    assert (head.out_channels, head.stride) == (448, 2)
    x = torch.randn(1, 3, 64, 96)
    expected = whole(x)
    assert_close(body(x)["c4"], expected["c4"])
    assert_close(head(body(x)["c4"]), expected["c5"])
    assert head(torch.zeros(0, 160, 14, 14)).shape == (0, 448, 7, 7)


# --- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": 8}, r"variant is 8; expected 0 to 7"),
        ({"out_levels": ("c6",)}, r"levels are \['c6'\]; expected some of c1, c2, c3, c4, c5"),
        ({"freeze_at": 6}, "freeze_at is 6"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_expected(settings, message):
    with pytest.raises(ConfigError, match=message):
        on_meta(**settings)


def test_names_are_regular():
    keys = {key.rsplit(".", 1)[0] for key in on_meta(variant=0).state_dict()}
    assert {"stem", "stem.norm", "blocks.0.depthwise", "blocks.0.squeeze.reduce", "blocks.15.project.norm"} <= keys
    assert "blocks.0.expand" not in keys  # the first block does not expand
    assert "blocks.1.expand" in keys


@pytest.mark.parametrize(("freeze_at", "learns_from"), [(0, -1), (1, 1), (2, 3), (3, 5), (4, 11), (5, 16)])
def test_freezing_stops_everything_up_to_the_level(freeze_at, learns_from):
    net = on_meta(variant=0, freeze_at=freeze_at)
    parts = [net.stem, *net.blocks]
    frozen = [not any(p.requires_grad for p in part.parameters()) for part in parts]
    assert frozen == [index - 1 < learns_from for index in range(len(parts))]
    constant = [any(isinstance(m, FrozenBatchNorm) for m in part.modules()) for part in parts]
    assert constant == frozen


def test_stochastic_depth_grows_with_the_block():
    rates = [block.drop_path for block in on_meta(variant=0, drop_path=0.2).blocks]
    assert rates[0] == 0
    assert rates[8] == pytest.approx(0.1)
    assert rates == sorted(rates)


def test_padding_for_the_design_size_differs_where_its_maps_are_odd():
    nets = [make_efficientnet(variant=4, norm=TF_NORM, out_levels=("c3",), padding=p).eval() for p in PADDINGS]
    for net in nets[1:]:
        net.load_state_dict(nets[0].state_dict())
    x = torch.randn(1, 3, 64, 64)
    same, nominal, symmetric = (net(x)["c3"] for net in nets)
    assert same.shape == nominal.shape == symmetric.shape
    for a, b in ((same, nominal), (same, symmetric), (nominal, symmetric)):
        assert (a - b).abs().max() > 1e-2 * a.abs().max()


def test_checkpointed_blocks_give_the_same_gradients():
    grads = []
    for checkpoint in (False, True):
        torch.manual_seed(0)
        net = make_efficientnet(variant=0, norm=TF_NORM, out_levels=("c3",), checkpoint=checkpoint).train()
        net(torch.randn(2, 3, 32, 32))["c3"].square().mean().backward()
        grads.append([p.grad for p in net.parameters()])
    assert_close(grads[0], grads[1])


# --- equality --------------------------------------------------------------------------------------------------------

VARIANTS = [0, 4, *(pytest.param(v, marks=pytest.mark.slow) for v in (1, 2, 3, 5, 6, 7))]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("prefix", "padding", "eps"), [("tf_", "same", 1e-3), ("", "symmetric", 1e-5)])
@pytest.mark.parametrize("size", [(64, 96), (75, 93)])
def test_features_equal_timm(variant, prefix, padding, eps, size):
    timm = pytest.importorskip("timm", reason="the comparison needs timm")
    name = f"{prefix}efficientnet_b{variant}"
    theirs = randomize(timm.create_model(name, pretrained=False, features_only=True)).eval()
    ours = make_efficientnet(
        variant=variant, norm=Norm(kind="frozen_bn", eps=eps), padding=padding, out_levels=LEVELS
    ).eval()
    assert theirs.bn1.eps == eps
    copy_in_order(theirs.state_dict(), ours)
    x = torch.randn(1, 3, *size)
    assert_equal_features(ours(x), theirs(x))


@pytest.mark.parametrize("variant", VARIANTS)
def test_features_equal_torchvision(variant):
    torchvision = pytest.importorskip("torchvision", reason="the comparison needs torchvision")
    theirs = randomize(getattr(torchvision.models, f"efficientnet_b{variant}")(weights=None).features).eval()
    eps = theirs[0][1].eps  # 1e-5 to B4, 1e-3 from B5 on
    ours = make_efficientnet(variant=variant, norm=Norm(kind="bn", eps=eps), padding="symmetric", out_levels=LEVELS)
    copy_in_order(theirs.state_dict(), ours.eval())
    x = torch.randn(1, 3, 75, 93)
    y, expected = x, []
    for index, part in enumerate(theirs):
        y = part(y)
        expected += [y] if index in (1, 2, 3, 5, 7) else []
    assert_equal_features(ours(x), expected)
