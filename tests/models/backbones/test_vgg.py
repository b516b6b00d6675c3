"""VGG-16: shapes, names, freezing, equality with torchvision."""

import pytest
import torch
from torch.testing import assert_close

from boxwright.models.backbones.vgg import VGG16

ALL = ("c1", "c2", "c3", "c4", "c5")


def on_meta(**settings):
    with torch.device("meta"):
        return VGG16(**settings)


def test_c5_has_512_channels_and_stride_16():
    net = on_meta()
    assert {level: tuple(x.shape[1:]) for level, x in net(torch.zeros(1, 3, 600, 800, device="meta")).items()} == {
        "c5": (512, 37, 50)
    }
    assert (net.out_channels, net.out_strides) == ({"c5": 512}, {"c5": 16})


def test_every_level_has_its_stride():
    net = on_meta(out_levels=ALL)
    features = net(torch.zeros(1, 3, 64, 96, device="meta"))
    assert net.out_strides == {"c1": 1, "c2": 2, "c3": 4, "c4": 8, "c5": 16}
    for level, x in features.items():
        assert x.shape[1:] == (net.out_channels[level], 64 // net.out_strides[level], 96 // net.out_strides[level])


def test_names_are_group_and_number():
    sizes = {"c1": 2, "c2": 2, "c3": 3, "c4": 3, "c5": 3}
    expected = {f"{c}.conv{i}.{kind}" for c, n in sizes.items() for i in range(1, n + 1) for kind in ("weight", "bias")}
    assert set(on_meta().state_dict()) == expected
    assert set(on_meta(out_levels=("c1",)).state_dict()) == {key for key in expected if key.startswith("c1")}


@pytest.mark.parametrize("freeze_at", range(6))
def test_freezing_stops_the_first_groups(freeze_at):
    net = on_meta(freeze_at=freeze_at)
    frozen = {name.split(".")[0] for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == set(ALL[:freeze_at])


def test_features_equal_torchvision():
    torchvision = pytest.importorskip("torchvision", reason="the comparison needs torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.vgg16(weights=None).features.eval()
    ours = VGG16(out_levels=ALL).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(1, 3, 50, 67)
    ends = iter(ours(x).values())
    with torch.no_grad():
        for index, part in enumerate(theirs[:30]):
            x = part(x)
            if index in (3, 8, 15, 22, 29):
                assert_close(next(ends).detach(), x)
