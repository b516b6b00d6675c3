"""Losses have the values their formulas give, and gradients that are finite where boxes miss each other."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from boxwright.models.box_coder import BoxCoder
from boxwright.models.losses import BoxLoss, ClassLoss, iou_loss, no_loss, smooth_l1


def test_smooth_l1_agrees_with_torch():
    values, targets = torch.randn(50, generator=torch.Generator().manual_seed(0)), torch.zeros(50)
    assert_close(smooth_l1(values, targets, beta=0.5), F.smooth_l1_loss(values, targets, beta=0.5, reduction="none"))
    assert_close(smooth_l1(values, targets, beta=0.0), values.abs())


def test_cross_entropy_reads_the_background_column():
    logits, labels = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([2])
    assert_close(ClassLoss()(logits, labels), F.cross_entropy(logits, labels, reduction="none"))
    assert_close(ClassLoss(weight=2.0)(logits, labels), 2 * F.cross_entropy(logits, labels, reduction="none"))


@pytest.mark.parametrize("kind", ["sigmoid_cross_entropy", "focal"])
def test_sigmoid_kinds_do_not_read_the_background_column(kind):
    logits = torch.tensor([[2.0, 0.0, 1.0]], requires_grad=True)
    loss = ClassLoss(kind=kind)(logits, torch.tensor([2]))
    loss.sum().backward()
    assert loss.item() > 0
    assert logits.grad[0, 2] == 0
    assert ClassLoss(kind=kind).probabilities(logits).shape == (1, 2)


def test_focal_loss_of_a_sure_positive():
    logit, probability = torch.tensor([[math.log(3.0), 0.0]]), 0.75
    loss = ClassLoss(kind="focal", alpha=0.25, gamma=2.0).dense(logit, torch.tensor([[1.0, 0.0]]))
    assert loss[0, 0].item() == pytest.approx(0.25 * (1 - probability) ** 2 * -math.log(probability))
    assert loss[0, 1].item() == pytest.approx(0.75 * 0.25 * math.log(2))


def test_class_losses_of_no_regions_are_empty():
    for kind in ("cross_entropy", "focal"):
        assert ClassLoss(kind=kind)(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).shape == (0,)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("iou", -math.log(1 / 3)),
        ("giou", 1 - 1 / 3),
        ("diou", 1 - 1 / 3 + 25 / (15**2 + 10**2)),
        ("ciou", 1 - 1 / 3 + 25 / (15**2 + 10**2)),
    ],
)
def test_box_losses_of_squares_that_overlap_by_half(kind, expected):
    boxes, targets = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 0, 15, 10]])
    assert iou_loss(boxes, targets, kind=kind).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou", "iou"])
def test_boxes_far_apart_or_without_area_have_finite_gradients(kind):
    boxes = torch.tensor([[0.0, 0, 10, 10], [3, 3, 3, 3]], requires_grad=True)
    iou_loss(boxes, torch.tensor([[50.0, 50, 60, 60], [0, 0, 4, 4]]), kind=kind).sum().backward()
    assert boxes.grad.isfinite().all()


def test_losses_on_deltas_and_on_decoded_boxes_vanish_together():
    anchors, objects = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[1.0, 2, 13, 9]])
    coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
    deltas = coder.encode(objects, anchors)
    for loss in (BoxLoss(beta=0.1), BoxLoss(kind="giou"), BoxLoss(kind="ciou")):
        assert loss(deltas, anchors, objects, coder).item() == pytest.approx(0, abs=1e-5)


def test_a_part_that_saw_nothing_still_gets_gradients():
    part = nn.Linear(2, 2)
    part.bias.requires_grad_(False)
    no_loss(part).backward()
    assert part.weight.grad.abs().sum() == 0
    assert no_loss(nn.ReLU()).item() == 0
