"""The whole of the settings: Config = model + data + train + test. One schema for every source and every model."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from boxwright.config import losses, norms, parts, testing, training
from boxwright.config.bounds import Channels, Classes, ClassNames, Fraction, Regions, UpTo64
from boxwright.config.conventions import Conventions
from boxwright.config.settings import Settings


class RCNN(Settings):
    """A two-stage detector; without a box head, its proposals alone."""

    kind: Literal["rcnn"] = "rcnn"
    num_classes: Classes = 80
    class_names: ClassNames = ()
    conventions: Conventions = Conventions()
    input: parts.Input = parts.Input()
    backbone: parts.Backbone = parts.ResNet()
    neck: parts.Neck = parts.FPN()
    anchors: parts.Anchors = parts.Anchors()
    proposals: parts.Proposals
    box_head: parts.BoxHead | None = parts.BoxHead()
    mask_head: parts.MaskHead | None = None
    keypoint_head: parts.KeypointHead | None = None

    @property
    def finds(self) -> tuple[str, ...]:
        """Of box, mask and keypoint those that have a head; none: proposals alone."""
        heads = {"box": self.box_head, "mask": self.mask_head, "keypoint": self.keypoint_head}
        return tuple(kind for kind, head in heads.items() if head is not None)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        _check_names(self.class_names, self.num_classes)
        if self.mask_head and self.mask_head.per_stage and not (self.box_head and self.box_head.cascade):
            raise ValueError("mask_head.per_stage needs box_head.cascade, whose stages it follows")
        if self.box_head is None and (self.mask_head or self.keypoint_head):
            raise ValueError("mask_head and keypoint_head read the regions of a box_head; box_head is null")
        if self.proposals.kind == "precomputed" and self.box_head is None:
            raise ValueError("proposals.kind is precomputed and box_head is null: nothing is left to compute")
        shares_map = self.mask_head is not None and self.mask_head.features == "box"
        if shares_map and self.box_head and self.box_head.features.kind != "res5":
            raise ValueError("mask_head.features is box: that needs box_head.features.kind res5, whose map it shares")
        return self


class RetinaNet(Settings):
    """A single-stage detector."""

    kind: Literal["retinanet"] = "retinanet"
    num_classes: Classes = 80
    class_names: ClassNames = ()
    conventions: Conventions = Conventions()
    input: parts.Input = parts.Input()
    backbone: parts.Backbone = parts.ResNet()
    neck: parts.Neck = parts.FPN(in_levels=("c3", "c4", "c5"), top="p6p7")
    anchors: parts.Anchors
    convs: UpTo64[Channels] = (256,) * 4
    head_norm: norms.Norm = norms.NoNorm()
    prior_probability: Fraction = 0.01
    box_weights: parts.BoxWeights = (1.0, 1.0, 1.0, 1.0)
    matching: parts.Matching = parts.Matching(positive_iou=0.5, negative_iou=0.4, low_quality=True)
    class_loss: losses.Focal = losses.Focal()
    box_loss: losses.BoxLoss = losses.SmoothL1(beta=0.1)
    loss_average: Literal["moving", "positives", "per_image"] = "moving"
    """Losses are divided by a moving mean of the positives that starts at 100 (D2), by those of the batch, at least
    one per image (M), or image by image (T)."""
    pre_nms_top_k: Regions = 1000
    """Per level and image, after the score threshold."""

    @property
    def finds(self) -> tuple[str, ...]:
        """As an RCNN's."""
        return ("box",)

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        _check_names(self.class_names, self.num_classes)
        return self


Model = Annotated[RCNN | RetinaNet, Field(discriminator="kind")]


class Config(Settings):
    """Everything about a model, its data, its training and how detections are chosen; the root of every YAML file."""

    model: Model
    data: training.Data = training.Data()
    train: training.Train = training.Train()
    test: testing.Selection = testing.Selection()


def _check_names(names: ClassNames, num_classes: int) -> None:
    if names and len(names) != num_classes:
        raise ValueError(f"class_names has {len(names)} names for num_classes {num_classes}")
