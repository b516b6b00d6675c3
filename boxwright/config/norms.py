"""Typed settings of the normalisation that follows a convolution.

Who has what: D = Detectron and Detectron.pytorch, D2 = Detectron2, M = mmdetection, T = torchvision.
"""

from typing import Annotated, Literal

from pydantic import Field

from boxwright.config.bounds import Channels, Fraction
from boxwright.config.settings import Settings


class NoNorm(Settings):
    """No norm: the convolutions of necks and heads have a bias instead, those of backbones neither."""

    kind: Literal["none"] = "none"


class FrozenBatchNorm(Settings):
    """Batch norm of four constant vectors: nothing learns, nothing is tracked (D, D2, T's first versions)."""

    kind: Literal["frozen_bn"] = "frozen_bn"
    eps: Fraction = 1e-5


class BatchNorm(Settings):
    """Batch norm over the images of one process: T's second versions; with statistics eval, M's backbones."""

    kind: Literal["bn"] = "bn"
    eps: Fraction = 1e-5
    momentum: Fraction = 0.1
    statistics: Literal["train", "eval"] = "train"
    """"eval": running statistics are used and not updated while training; weight and bias still learn."""


class SyncBatchNorm(Settings):
    """Batch norm over the batches of all processes (D2, M)."""

    kind: Literal["sync_bn"] = "sync_bn"
    eps: Fraction = 1e-5
    momentum: Fraction = 0.1


class GroupNorm(Settings):
    """Group norm in backbone, neck or heads (D, D2, M); T's second RetinaNet has it in its head."""

    kind: Literal["gn"] = "gn"
    groups: Channels = 32
    eps: Fraction = 1e-5


Norm = Annotated[NoNorm | FrozenBatchNorm | BatchNorm | SyncBatchNorm | GroupNorm, Field(discriminator="kind")]
