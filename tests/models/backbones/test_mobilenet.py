"""MobileNetV3-Large: where its levels are read, what freezes, equality with torchvision's detector backbone."""

import pytest
import torch
from torch.testing import assert_close

from boxwright.errors import ConfigError
from boxwright.models.backbones.mobilenet import MobileNetV3Large
from boxwright.models.fpn import FPN, MaxPoolLevels
from boxwright.models.norms import FrozenBatchNorm, Norm

ALL = ("c1", "c2", "c3", "c4", "c5", "c6")


def on_meta(**settings):
    with torch.device("meta"):
        return MobileNetV3Large(**{"norm": Norm(kind="bn")} | settings)


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
        else:
            value.data.normal_(std=(2 / value[0].numel()) ** 0.5)
    return module


def test_every_level_has_its_shape_and_stride():
    net = on_meta(out_levels=ALL)
    features = net(torch.zeros(1, 3, 320, 416, device="meta"))
    assert {level: tuple(x.shape[1:]) for level, x in features.items()} == {
        "c1": (16, 160, 208),
        "c2": (24, 80, 104),
        "c3": (40, 40, 52),
        "c4": (80, 20, 26),
        "c5": (160, 10, 13),
        "c6": (960, 10, 13),
    }
    assert net.out_channels == {level: x.shape[1] for level, x in features.items()}
    assert net.out_strides == {"c1": 2, "c2": 4, "c3": 8, "c4": 16, "c5": 32, "c6": 32}


@pytest.mark.parametrize(
    ("out_levels", "num_blocks", "has_head"), [(("c1",), 0, False), (("c5",), 13, False), (ALL, 15, True)]
)
def test_nothing_after_the_last_level_is_built(out_levels, num_blocks, has_head):
    net = on_meta(out_levels=out_levels)
    assert len(net.blocks) == num_blocks
    assert (net.head is not None) == has_head
    assert list(net(torch.zeros(1, 3, 96, 96, device="meta"))) == list(out_levels)


@pytest.mark.parametrize(("freeze_at", "num_frozen"), [(0, 0), (1, 2), (2, 4), (3, 7), (4, 13), (5, 16), (6, 17)])
def test_freezing_stops_what_comes_before_the_next_stride(freeze_at, num_frozen):
    net = on_meta(freeze_at=freeze_at)
    parts = [net.stem, *net.blocks, net.head]
    frozen = [not any(p.requires_grad for p in part.parameters()) for part in parts]
    assert frozen == [index < num_frozen for index in range(17)]
    assert [any(isinstance(m, FrozenBatchNorm) for m in part.modules()) for part in parts] == frozen


def test_a_wrong_number_of_frozen_stages_is_named():
    with pytest.raises(ConfigError, match=r"freeze_at is 7; expected 0 .* to 6"):
        on_meta(freeze_at=7)


def test_names_are_regular():
    parts = {key.rsplit(".", 1)[0] for key in on_meta().state_dict()}
    assert {"stem", "stem.norm", "blocks.0.depthwise", "blocks.3.squeeze.reduce", "head", "head.norm"} <= parts
    assert "blocks.0.expand" not in parts
    assert "blocks.1.squeeze.reduce" not in parts


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
@pytest.mark.parametrize("trainable_layers", [0, 3, 6])
def test_features_and_frozen_parameters_equal_the_backbone_of_torchvision(eps, trainable_layers):
    torchvision = pytest.importorskip("torchvision", reason="the comparison needs torchvision")
    from functools import partial

    from torchvision.models.detection.backbone_utils import _mobilenet_extractor

    norm_layer = partial(torchvision.ops.misc.FrozenBatchNorm2d, eps=eps)
    net = torchvision.models.mobilenet_v3_large(weights=None, norm_layer=norm_layer)
    theirs = randomize(_mobilenet_extractor(net, fpn=True, trainable_layers=trainable_layers)).eval()
    ours = MobileNetV3Large(norm=Norm(kind="frozen_bn", eps=eps), freeze_at=6 - trainable_layers).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.body.state_dict().values(), strict=True)))
    x = torch.randn(1, 3, 96, 131)
    for features, expected in zip(ours(x).values(), theirs.body(x).values(), strict=True):
        assert_close(features, expected, atol=1e-5 * expected.abs().max().item(), rtol=0)
    learning = [[p.requires_grad for p in net.parameters()] for net in (ours, theirs.body)]
    assert learning[0] == learning[1]


def test_two_levels_of_equal_stride_and_a_pool_make_the_pyramid_of_torchvision():
    torchvision = pytest.importorskip("torchvision", reason="the comparison needs torchvision")
    net = on_meta()
    neck = FPN(
        in_channels=net.out_channels,
        in_strides=net.out_strides,
        out_channels=32,
        extra=MaxPoolLevels(levels=("p7",)),
    )
    theirs = torchvision.ops.FeaturePyramidNetwork(
        [160, 960], 32, extra_blocks=torchvision.ops.feature_pyramid_network.LastLevelMaxPool()
    )
    values = dict(theirs.state_dict())
    neck.load_state_dict(
        {
            f"{part}.{letter}{5 + i}.{kind}": values[f"{theirs_part}.{i}.0.{kind}"]
            for part, letter, theirs_part in (("lateral", "c", "inner_blocks"), ("output", "p", "layer_blocks"))
            for i in range(2)
            for kind in ("weight", "bias")
        }
    )
    features = {"c5": torch.randn(1, 160, 5, 7), "c6": torch.randn(1, 960, 5, 7)}
    assert neck.out_strides == {"p5": 32, "p6": 32, "p7": 64}
    for ours, expected in zip(neck(features).values(), theirs(features).values(), strict=True):
        assert_close(ours, expected)
