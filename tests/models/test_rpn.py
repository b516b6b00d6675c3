"""The few anchors that are looked at a second time give what the whole maps give, gradients too."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from boxwright.engine.detector import Detector
from boxwright.models.rpn import RPNHead, neighbourhoods
from tests.models.small import small, target

OBJECTS = target([[10, 12, 50, 44], [30, 5, 70, 60]], [0, 1])


def losses_and_gradients(detector):
    detector.model.zero_grad(set_to_none=True)
    pictures = [torch.arange(64 * 80 * 3).view(64, 80, 3).mul(k).remainder(251).byte().numpy() for k in (7, 11)]
    losses = detector.losses(pictures, [OBJECTS, OBJECTS], sampling="first")
    (losses["loss_rpn_class"] + 3 * losses["loss_rpn_box"]).backward()
    gradients = {name: p.grad for name, p in detector.model.named_parameters() if p.grad is not None}
    return {name: value.detach() for name, value in losses.items()}, gradients


@pytest.mark.parametrize("kind", ["mask", "mask_c4", "mask_gn", "rpn_fpn"])
@pytest.mark.parametrize("score", ["sigmoid", "softmax"])
def test_losses_and_gradients_are_those_of_the_whole_maps(kind, score, monkeypatch):
    torch.manual_seed(0)
    detector = Detector(config=small(kind, f"model.proposals.score={score}"))
    torch.nn.init.normal_(detector.model.rpn.head.score.weight, std=0.1)
    losses, gradients = losses_and_gradients(detector)
    monkeypatch.setattr(RPNHead, "recomputes", False)
    expected_losses, expected = losses_and_gradients(detector)
    assert_close(losses, expected_losses, atol=1e-6, rtol=1e-5)
    assert (
        {"rpn.head.convs.0.weight", "rpn.head.score.bias", "rpn.head.delta.weight"}
        <= gradients.keys()
        == expected.keys()
    )
    for name, gradient in gradients.items():
        assert_close(gradient, expected[name], atol=2e-5 * expected[name].abs().max().item() + 1e-9, rtol=1e-4)


def test_a_network_of_two_convolutions_learns_from_whole_maps():
    torch.manual_seed(0)
    detector = Detector(config=small("mask", "model.proposals.conv_channels=[32, 32]"))
    _, gradients = losses_and_gradients(detector)
    assert gradients["rpn.head.convs.0.weight"].abs().sum() > 0


def test_the_neighbourhood_of_no_cell_is_empty():
    none = torch.zeros(0, dtype=torch.int64)
    assert neighbourhoods([torch.zeros(2, 5, 3, 4)], none, none).shape == (0, 45)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_neighbourhoods_have_zeros_around_the_map(layout):
    torch.manual_seed(0)
    maps = [torch.randn(2, 5, h, w).contiguous(memory_format=layout) for h, w in ((3, 4), (2, 2), (1, 1))]
    image = torch.tensor([1, 0, 1, 0, 1, 0])
    cell = torch.tensor([16, 0, 11, 5, 12, 3])  # mixed levels: 12 cells, then 4, then 1
    expected = [F.unfold(x, 3, padding=1).view(2, 5, 9, -1).permute(0, 3, 2, 1).flatten(2) for x in maps]
    assert torch.equal(neighbourhoods(maps, image, cell), torch.cat(expected, dim=1)[image, cell])
