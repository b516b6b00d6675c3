"""The block of the small networks: padding, squeeze-and-excite, stochastic depth."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from boxwright.models.backbones.inverted_residual import (
    InvertedResidual,
    SqueezeExcite,
    make_padded_conv,
    round_channels,
    same_padding,
)
from boxwright.models.norms import Norm


def make_block(**changes):
    settings = {
        "kernel_size": 3,
        "stride": 1,
        "squeezed_channels": 2,
        "norm": Norm(kind="bn"),
        "activation": "silu",
        "squeeze_activation": "silu",
        "gate": "sigmoid",
    } | changes
    torch.manual_seed(0)
    return InvertedResidual(4, settings.pop("expanded_channels", 8), settings.pop("out_channels", 4), **settings)


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "expected"),
    [
        (1, 1, 1, (0, 0)),
        (1, 3, 2, (1, 1)),
        (8, 3, 2, (0, 1)),
        (7, 3, 2, (1, 1)),
        (8, 5, 2, (1, 2)),
        (7, 5, 2, (2, 2)),
        (7, 3, 1, (1, 1)),
    ],
)
def test_same_padding_puts_the_odd_cell_after(size, kernel_size, stride, expected):
    assert same_padding(size, kernel_size=kernel_size, stride=stride) == expected


def test_the_three_paddings_read_other_cells_of_an_even_map():
    torch.manual_seed(0)
    x = torch.arange(8.0).expand(1, 1, 8, 8).contiguous()  # each cell holds its column
    settings = {"kernel_size": 5, "stride": 2, "norm": None, "activation": None}
    first_column = {}
    for name, padding, nominal_size in (
        ("symmetric", "symmetric", None),
        ("same", "same", None),
        ("nominal", "same", 7),
    ):
        conv = make_padded_conv(1, 1, padding=padding, nominal_size=nominal_size, **settings)
        conv.weight.data.zero_()[0, 0, 2, 0] = 1.0  # reads the leftmost column of its window
        out = conv(x)
        assert out.shape == (1, 1, 4, 4)
        first_column[name] = out[0, 0, 2].tolist()
    assert first_column["symmetric"] == [0, 0, 2, 4]
    assert first_column["same"] == [0, 1, 3, 5]  # one cell before, two after
    assert first_column["nominal"] == [0, 0, 2, 4]  # an odd map has two on both sides


@pytest.mark.parametrize(("channels", "expected"), [(1, 8), (16, 16), (22.4, 24), (9, 16), (92, 96), (156.8, 160)])
def test_channels_are_rounded_to_eights_but_not_far_down(channels, expected):
    assert round_channels(channels) == expected


def test_squeeze_and_excite_scales_channels_by_a_gate_of_their_means():
    squeeze = SqueezeExcite(2, 1, activation="relu", gate="sigmoid")
    for conv, weight, bias in ((squeeze.reduce, [1.0, 1.0], 0.0), (squeeze.expand, [1.0, -1.0], 0.5)):
        conv.weight.data.copy_(torch.tensor(weight).view(conv.weight.shape))
        conv.bias.data.fill_(bias)
    x = torch.stack([torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 2.0]])])[None]  # means 2 and 1
    gate = torch.sigmoid(torch.tensor([3.5, -2.5]))
    assert_close(squeeze(x), x * gate[None, :, None, None])


def test_keys_name_the_parts():
    def parts(block):
        return {key.rsplit(".", 1)[0] for key in block.state_dict()}

    norms = {"expand.norm", "depthwise.norm", "project.norm"}
    assert parts(make_block()) == {
        "expand",
        "depthwise",
        "squeeze.reduce",
        "squeeze.expand",
        "project",
        *norms,
    }
    assert parts(make_block(expanded_channels=4, squeezed_channels=0)) == {
        "depthwise",
        "project",
        "depthwise.norm",
        "project.norm",
    }


@pytest.mark.parametrize(("stride", "out_channels", "added"), [(1, 4, True), (2, 4, False), (1, 6, False)])
def test_the_input_is_added_only_where_it_fits(stride, out_channels, added):
    block = make_block(stride=stride, out_channels=out_channels).eval()
    block.project.weight.data.zero_()
    x = torch.randn(2, 4, 6, 6)
    out = block(x)
    assert_close(out, x if added else torch.zeros(2, out_channels, 6 // stride, 6 // stride))


def test_stochastic_depth_drops_whole_images_in_training_only():
    x = torch.randn(64, 4, 6, 6)
    block = make_block(drop_path=0.5, norm=Norm(kind="frozen_bn"))
    full = block.eval()(x) - x
    dropped = block.train()(x) - x
    is_dropped = dropped.abs().amax((1, 2, 3)) == 0
    assert 16 < is_dropped.sum() < 48
    assert_close(dropped[~is_dropped], full[~is_dropped] * 2)  # the mean is kept


def test_hardsigmoid_gate_is_the_piecewise_line():
    squeeze = SqueezeExcite(1, 1, activation="relu", gate="hardsigmoid")
    squeeze.reduce.weight.data.fill_(1.0)
    squeeze.expand.weight.data.fill_(1.0)
    squeeze.reduce.bias.data.zero_()
    squeeze.expand.bias.data.zero_()
    x = torch.full((1, 1, 2, 2), 1.5)
    assert_close(squeeze(x), x * F.hardsigmoid(torch.tensor(1.5)))
    assert squeeze(x)[0, 0, 0, 0].item() == pytest.approx(1.5 * 0.75)
