"""Path aggregation: the second path by hand, names, extra levels."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from boxwright.models.fpn import FPN, ConvLevels, MaxPoolLevels
from boxwright.models.norms import Norm
from boxwright.models.pafpn import PAFPN

STRIDES = {"c2": 4, "c3": 8, "c4": 16, "c5": 32}
SIZES = {"c2": (25, 33), "c3": (13, 17), "c4": (7, 9), "c5": (4, 5)}


def make_pafpn(**settings):
    torch.manual_seed(0)
    return PAFPN(in_channels=dict.fromkeys(SIZES, 4), in_strides=STRIDES, out_channels=4, **settings)


def random_features():
    torch.manual_seed(1)
    return {level: torch.randn(2, 4, *size) for level, size in SIZES.items()}


def conv(part, x, stride=1):
    return F.conv2d(x, part.weight, part.bias, stride=stride, padding=1)


def test_one_level_is_a_plain_pyramid():
    torch.manual_seed(0)
    net = PAFPN(in_channels={"c4": 4}, in_strides=STRIDES, out_channels=4)
    assert set(net.state_dict()) == {
        f"{part}.{kind}" for part in ("lateral.c4", "output.p4") for kind in ("weight", "bias")
    }
    assert net({"c4": torch.zeros(1, 4, 5, 5)})["p4"].shape == (1, 4, 5, 5)


def test_each_level_gets_the_one_below_it_before_its_last_convolution():
    net = make_pafpn()
    plain = FPN(in_channels=dict.fromkeys(SIZES, 4), in_strides=STRIDES, out_channels=4)
    plain.load_state_dict({key: v for key, v in net.state_dict().items() if not key.startswith(("down", "path"))})
    features = random_features()
    pyramid, outputs = plain(features), net(features)
    assert_close(outputs["p2"], pyramid["p2"])
    summed = pyramid["p2"]
    for level in ("p3", "p4", "p5"):
        summed = pyramid[level] + conv(net.down[level], summed, stride=2)
        assert_close(outputs[level], conv(net.path[level], summed))


def test_names_are_those_of_the_level_they_lead_to():
    parts = {key.rsplit(".", 1)[0] for key in make_pafpn().state_dict()}
    laterals = {f"lateral.{level}" for level in SIZES}
    outputs = {f"output.p{i}" for i in (2, 3, 4, 5)}
    assert parts == laterals | outputs | {f"{part}.p{i}" for part in ("down", "path") for i in (3, 4, 5)}


@pytest.mark.parametrize("source", ["input", "lateral", "output"])
def test_extra_levels_read_the_end_of_the_path(source):
    extra = ConvLevels(in_channels=4, out_channels=4, levels=("p6",), source=source, relu_between=False)
    net, features = make_pafpn(extra=extra), random_features()
    outputs = net(features)
    lateral = F.conv2d(features["c5"], net.lateral["c5"].weight, net.lateral["c5"].bias)
    read = {"input": features["c5"], "lateral": lateral, "output": outputs["p5"]}[source]
    assert_close(outputs["p6"], conv(extra.p6, read, stride=2))
    assert net.out_strides["p6"] == 64


def test_gradients_reach_every_parameter():
    net = make_pafpn(norm=Norm(kind="gn", groups=2), extra=MaxPoolLevels())
    sum(x.square().mean() for x in net(random_features()).values()).backward()
    assert all(p.grad is not None for p in net.parameters())
