"""Typed settings of the losses of boxes and of classes."""

from typing import Annotated, Literal

from pydantic import Field

from boxwright.config.bounds import Amount, Number
from boxwright.config.settings import Settings


class SmoothL1(Settings):
    """On deltas: quadratic below `beta`, linear above."""

    kind: Literal["smooth_l1"] = "smooth_l1"
    beta: Amount = 0.0
    """0 is the plain L1 loss."""
    weight: Amount = 1.0


class IoULoss(Settings):
    """On decoded boxes."""

    kind: Literal["iou", "giou", "diou", "ciou"] = "giou"
    weight: Amount = 1.0


class CrossEntropy(Settings):
    """Softmax over the foreground classes and a background column."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    weight: Amount = 1.0


class SigmoidCrossEntropy(Settings):
    """One independent decision per foreground class; the background column is not read."""

    kind: Literal["sigmoid_cross_entropy"] = "sigmoid_cross_entropy"
    weight: Amount = 1.0


class Focal(Settings):
    """On one independent decision per foreground class; the background column of a box head is not read."""

    kind: Literal["focal"] = "focal"
    alpha: Number = 0.25
    gamma: Amount = 2.0
    weight: Amount = 1.0


BoxLoss = Annotated[SmoothL1 | IoULoss, Field(discriminator="kind")]
ClassLoss = Annotated[CrossEntropy | SigmoidCrossEntropy | Focal, Field(discriminator="kind")]
