"""Typed settings of the parts of a model. Where a part comes in kinds, `kind` chooses among a union.

Channels and strides that follow from another part are not repeated here; `models/build.py` and
`models/build_body.py` derive them.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from boxwright.config.bounds import (
    Amount,
    Channels,
    Factor,
    Few,
    Fraction,
    Keypoints,
    Number,
    Regions,
    Side,
    UpTo64,
)
from boxwright.config.losses import BoxLoss, ClassLoss, CrossEntropy, SmoothL1
from boxwright.config.norms import FrozenBatchNorm, NoNorm, Norm
from boxwright.config.settings import Settings

BoxWeights = tuple[Factor, Factor, Factor, Factor]

# --- backbones ---------------------------------------------------------------------------------------------------


class Deformable(Settings):
    """Deformable 3x3 convolutions in a ResNet from depth 50 on: DCNv1, or DCNv2 with masks (D2, M)."""

    version: Literal[1, 2] = 1
    stages: UpTo64[Literal["c3", "c4", "c5"]] = ("c3", "c4", "c5")
    groups: Channels = 1


class ResNet(Settings):
    """ResNet, or ResNeXt where `groups` is above 1 (D, D2, M, T)."""

    kind: Literal["resnet"] = "resnet"
    depth: Literal[18, 34, 50, 101, 152] = 50
    groups: Channels = 1
    width_per_group: Channels = 64
    stride_in_1x1: bool = False
    """Bottlenecks that halve the map do so in their 1x1 convolution (Detectron) or the 3x3 (torchvision)."""
    norm: Norm = FrozenBatchNorm()
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = 2
    """How many stages do not learn, counted from the stem: 0 none, 1 the stem, 2 the stem and c2, ... 5 all."""
    dilated_c5: bool = False
    """c5 keeps the stride of c4 and dilates its 3x3 convolutions (DC5)."""
    deformable: Deformable | None = None
    zero_init_residual: bool = False

    @model_validator(mode="after")
    def _is_not_too_wide(self) -> Self:
        width = self.groups * self.width_per_group
        if width > 4096:
            raise ValueError(f"groups x width_per_group is {width}; the widest may have 4096 (32x48d has 1536)")
        return self


class EfficientNet(Settings):
    """EfficientNet B0 to B7 as a backbone of five levels; none of D, D2, M and T builds it."""

    kind: Literal["efficientnet"] = "efficientnet"
    variant: Annotated[int, Field(ge=0, le=7)] = 4
    padding: Literal["same", "same_nominal", "symmetric"] = "same"
    """TensorFlow's, by each input's size or for ever by the variant's design size, or torchvision's."""
    norm: Norm = FrozenBatchNorm(eps=1e-3)
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = 2


class MobileNetV3(Settings):
    """MobileNetV3-Large, the backbone of T's small detectors."""

    kind: Literal["mobilenet_v3_large"] = "mobilenet_v3_large"
    norm: Norm = FrozenBatchNorm()
    frozen_stages: Annotated[int, Field(ge=0, le=6)] = 3
    """Counted as torchvision's 6 - trainable_layers."""


class VGG16(Settings):
    """The 13 convolutions of VGG-16, without norms (D). There is no pooling after the last, so c5 has stride 16."""

    kind: Literal["vgg16"] = "vgg16"
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = 2


Backbone = Annotated[ResNet | EfficientNet | MobileNetV3 | VGG16, Field(discriminator="kind")]


# --- necks -------------------------------------------------------------------------------------------------------


class NoNeck(Settings):
    """The RPN and the heads read one level of the backbone: c4 (C4, VGG) or c5 (DC5)."""

    kind: Literal["none"] = "none"
    level: Literal["c4", "c5"] = "c4"


class FPN(Settings):
    """Feature pyramid: level cN of the backbone becomes pN, and `top` adds coarser levels (D, D2, M, T)."""

    kind: Literal["fpn"] = "fpn"
    in_levels: UpTo64[str] = ("c2", "c3", "c4", "c5")
    channels: Channels = 256
    fuse: Literal["sum", "avg"] = "sum"
    norm: Norm = NoNorm()
    top: Literal["none", "max_pool", "p6", "p6p7"] = "max_pool"
    """Levels above the last: none, its stride-2 subsampling, or one or two stride-2 3x3 convolutions."""
    top_input: Literal["c5", "p5", "lateral"] = "c5"
    """What the first extra convolution reads: the backbone, the finished or the lateral map."""
    top_relu: Literal["never", "between"] = "between"
    """ReLU before the extra convolutions: never, or before all but the first."""
    norm_on_lateral: bool = True


class PAFPN(FPN):
    """FPN with a second way, from fine levels back to coarse ones (M)."""

    kind: Literal["pafpn"] = "pafpn"  # type: ignore[assignment]


Neck = Annotated[NoNeck | FPN | PAFPN, Field(discriminator="kind")]


# --- anchors, matching, sampling ---------------------------------------------------------------------------------


class Anchors(Settings):
    """The boxes that the RPN or the dense head starts from, the same at every cell of a level."""

    sizes: UpTo64[UpTo64[Annotated[float, Field(gt=0, le=32_768)]]] = ((32,), (64,), (128,), (256,), (512,))
    """Square roots of the areas in pixels of the network frame, one list per level."""
    aspect_ratios: UpTo64[UpTo64[Factor]] = ((0.5, 1.0, 2.0),)
    """height / width, one list per level, or one for all."""
    offset: Number = 0.0
    """The anchor of cell (0, 0) is centred this share of a stride from the corner."""


class Matching(Settings):
    """Which regions or anchors are positive, negative or neither, by their IoU with the objects."""

    positive_iou: Fraction = 0.5
    negative_iou: Fraction = 0.5
    negative_iou_low: Fraction = 0.0
    """Regions whose best IoU is below this are neither."""
    low_quality: bool = False
    """Each object's best candidates become positive whatever their IoU, if above `low_quality_iou`."""
    low_quality_iou: Fraction = 0.0
    inside_border: Number | None = None
    """Only anchors within this many pixels of the image take part; None: all."""
    crowd_share: Fraction | None = None
    """Regions with more of their area than this inside a crowd object take no part (M's ignore_iof_thr, D's
    CROWD_FILTER_THRESH for precomputed proposals); None: crowds change nothing."""


class Sampling(Settings):
    """Which of the matched regions of an image train a stage."""

    kind: Literal["random", "ohem", "all"] = "random"
    """At random, those of highest loss, or all (then `size` only counts for rpn_class_average batch_size)."""
    size: Regions = 512
    positive_fraction: Fraction = 0.25


# --- proposals ---------------------------------------------------------------------------------------------------


class TrainTest(Settings):
    """A number for training and one for inference."""

    train: Regions
    test: Regions


class RPN(Settings):
    """Region proposal network: convolutions that slide over the levels, its losses, and which boxes it hands on."""

    kind: Literal["rpn"] = "rpn"
    conv_channels: UpTo64[Channels | Literal[-1]] = (-1,)
    """Output channels of each 3x3 convolution; -1 is the number of the input."""
    score: Literal["sigmoid", "softmax"] = "sigmoid"
    box_weights: BoxWeights = (1.0, 1.0, 1.0, 1.0)
    matching: Matching = Matching(positive_iou=0.7, negative_iou=0.3, low_quality=True)
    sampling: Sampling = Sampling(size=256, positive_fraction=0.5)
    pre_nms_top_k: TrainTest = TrainTest(train=2000, test=1000)
    """Per level and image."""
    post_nms_top_k: TrainTest = TrainTest(train=1000, test=1000)
    """Over all levels."""
    post_nms_top_k_level: TrainTest | None = None
    """Per level, before the levels are put together; None: no such limit."""
    nms_iou: Fraction = 0.7
    score_threshold: Fraction = 0.0
    """Proposals with a lower score are dropped before NMS."""
    min_size: Amount = 0.0
    box_loss: BoxLoss = SmoothL1()
    class_loss_weight: Amount = 1.0


class PrecomputedProposals(Settings):
    """Boxes from a file or from the caller (Fast R-CNN)."""

    kind: Literal["precomputed"] = "precomputed"
    top_k: TrainTest = TrainTest(train=2000, test=1000)
    min_size: Amount = 0.0


Proposals = Annotated[RPN | PrecomputedProposals, Field(discriminator="kind")]


# --- heads -------------------------------------------------------------------------------------------------------


class Pooling(Settings):
    """How a region becomes a map of `size` x `size` cells, and from which level it is read."""

    kind: Literal["align", "pool", "crop"] = "align"
    size: Few = 7
    sampling_ratio: Annotated[int, Field(ge=0, le=64)] = 0
    """Samples per bin and axis; 0: as many as the bin has cells."""
    aligned: bool = True
    """Half-pixel RoIAlign; False is the legacy one."""
    levels: UpTo64[str] = ("p2", "p3", "p4", "p5")
    canonical_size: Factor = 224.0
    canonical_level: Annotated[int, Field(ge=0, le=16)] = 4
    """A region of canonical_size squared reads this level, counted as log2 of the stride. M's finest_scale 56 is size
    56 at level 2."""


class Res5Box(Settings):
    """The backbone's last stage applied to each pooled region, then the mean over the map (C4)."""

    kind: Literal["res5"] = "res5"


class ConvFcBox(Settings):
    """`convs` 3x3 convolutions, then `fcs` fully connected layers (2 FC: convs empty)."""

    kind: Literal["conv_fc"] = "conv_fc"
    convs: UpTo64[Channels] = ()
    fcs: UpTo64[Channels] = (1024, 1024)
    norm: Norm = NoNorm()
    dropout: Fraction = 0.0


BoxFeatures = Annotated[Res5Box | ConvFcBox, Field(discriminator="kind")]


class CascadeStage(Settings):
    """What one stage of Cascade R-CNN has of its own; everything else is that of its BoxHead."""

    positive_iou: Fraction
    box_weights: BoxWeights
    loss_weight: Amount = 1.0


class BoxHead(Settings):
    """Classes and boxes of each region; which regions train them, and the stages of a cascade."""

    features: BoxFeatures = ConvFcBox()
    pooling: Pooling = Pooling()
    class_agnostic: bool = False
    box_weights: BoxWeights = (10.0, 10.0, 5.0, 5.0)
    matching: Matching = Matching()
    sampling: Sampling = Sampling()
    use_ground_truth: bool = True
    """Ground-truth boxes join the proposals in training."""
    class_loss: ClassLoss = CrossEntropy()
    box_loss: BoxLoss = SmoothL1()
    cascade: UpTo64[CascadeStage] = ()
    """Stages of a cascade in order; empty: one stage with the values above. A stage's IoU is both its thresholds."""


class MaskHead(Settings):
    """A mask for each region that is kept (Mask R-CNN)."""

    features: Literal["own", "box"] = "own"
    """"own": regions are pooled for the mask head; "box": it reads the box head's map (shared res5)."""
    res5: bool = False
    """With features "own": a res5 stage of its own precedes (v0up)."""
    convs: UpTo64[Channels] = (256, 256, 256, 256)
    dilation: Few = 1
    norm: Norm = NoNorm()
    upsample: Literal["deconv", "bilinear", "none"] = "deconv"
    upsample_channels: Channels = 256
    pooling: Pooling = Pooling(size=14)
    enlarge: Few = 1
    """The logits are enlarged bilinearly by this factor (D's UPSAMPLE_RATIO)."""
    class_agnostic: bool = False
    per_stage: bool = False
    """In a cascade: one mask head per stage, trained on its regions; the probabilities are averaged (M)."""
    loss_weight: Amount = 1.0


class KeypointHead(Settings):
    """A heatmap for each keypoint of each region that is kept (Keypoint R-CNN: D, D2, T)."""

    num_keypoints: Keypoints = 17
    convs: UpTo64[Channels] = (512,) * 8
    kernel: Few = 3
    hidden_deconv: Channels | None = None
    """Channels of a stride-2 transposed convolution with ReLU after the convolutions (D's USE_DECONV); None: none."""
    deconv: bool = True
    """A stride-2 transposed convolution gives the heatmaps; without it a 1x1 convolution does."""
    deconv_kernel: Few = 4
    upsample: Few = 2
    """The heatmaps are enlarged bilinearly by this factor."""
    pooling: Pooling = Pooling(size=14)
    loss_weight: Amount = 1.0
    loss_average: Literal["visible", "sampled"] = "visible"
    """Divide by the visible keypoints, or by the most that could have been sampled."""
    min_visible: Annotated[int, Field(ge=0, le=1024)] = 1
    """Regions with fewer visible keypoints inside do not train the head."""


# --- the picture as the network sees it --------------------------------------------------------------------------


class Resize(Settings):
    """The shortest side becomes `short`, unless the longest would pass `long`."""

    method: Literal["pillow", "opencv", "torch", "opencv_scaled"] = "pillow"
    """Whose bilinear, and on what: bytes (Pillow: D2; OpenCV: M), normalised floats by the rounded size (torch: T),
    mean-free floats by the nominal factor (opencv_scaled: D)."""
    short_train: UpTo64[Side] = (800,)
    short_train_mode: Literal["choice", "range"] = "choice"
    short_test: Side = 800
    long_train: Side = 1333
    long_test: Side = 1333

    @model_validator(mode="after")
    def _range_has_two_ends(self) -> Self:
        if self.short_train_mode == "range" and len(self.short_train) != 2:
            raise ValueError(
                f"short_train is {list(self.short_train)}; with short_train_mode range give [lowest, highest]"
            )
        return self


class Input(Settings):
    """How a picture becomes the network's input: order and scale of channels, size, padding."""

    channels: Literal["rgb", "bgr"] = "bgr"
    value_range: Literal[1, 255] = 255
    """Pixels run from 0 to this before mean and std are applied."""
    mean: tuple[Number, Number, Number] = (103.53, 116.28, 123.675)
    std: tuple[Factor, Factor, Factor] = (1.0, 1.0, 1.0)
    resize: Resize = Resize()
    pad_to: Annotated[int, Field(gt=0, le=4096)] = 32
    """Padded sides are multiples of this."""
