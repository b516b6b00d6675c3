"""Typed settings of the data and of a training run."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PlainSerializer, model_validator

from boxwright.config.bounds import (
    Amount,
    ClassNames,
    Factor,
    Fraction,
    Images,
    Share,
    Side,
    StepCount,
    UpTo64,
    UpTo1024,
)
from boxwright.config.settings import Settings
from boxwright.config.table import frozen, thawed

NamedTransform = Annotated[
    Mapping[str, Mapping[str, Any]], Field(max_length=64), AfterValidator(frozen), PlainSerializer(thawed)
]


class Augment(Settings):
    """Changes to a training image and its objects, in the order of the fields; null or 0 is off."""

    flip: Fraction = 0.5
    vertical_flip: Fraction = 0.0
    scale_jitter: tuple[Factor, Factor] | None = None
    """Large-scale jitter: the image is resized by a factor from this range of its fitted size, then cropped or padded
    to `crop`."""
    crop: tuple[Side, Side] | None = None
    """Height and width of a crop of fixed size."""
    crop_relative: tuple[Share, Share] | None = None
    """Smallest share of height and width kept by a random crop."""
    crop_aspect: tuple[Factor, Factor] | None = None
    """Images whose width / height lies outside are cropped to the nearest end."""
    rotate: Annotated[float, Field(ge=0, le=360)] = 0.0
    """Degrees to either side."""
    colour: Fraction = 0.0
    """Probability of other brightness, contrast, saturation and hue."""
    blur: Fraction = 0.0
    cutout: Fraction = 0.0
    mosaic: Fraction = 0.0
    copy_paste: Fraction = 0.0
    albumentations: UpTo64[NamedTransform] = ()
    """Transforms of that library, which has to be installed, by name with their arguments; they come before all others:
    `[{CLAHE: {p: 0.3}}, {RandomGamma: {p: 0.2}}]`."""

    @model_validator(mode="after")
    def _ranges_fit(self) -> Self:
        for name, ends in (("scale_jitter", self.scale_jitter), ("crop_aspect", self.crop_aspect)):
            if ends and ends[0] > ends[1]:
                raise ValueError(f"{name} runs from {ends[0]:g} to {ends[1]:g}; the first end must be the smaller one")
        if self.scale_jitter and not self.crop:
            raise ValueError("scale_jitter needs crop: the size that its scales are relative to")
        return self


class Data(Settings):
    """Which pictures a run trains on and is evaluated on, and how they are read, changed and put into batches."""

    train: str | None = None
    """A folder, an annotation file, or a known data set's name."""
    val: str | None = None
    root: str | None = None
    """Where known data sets lie."""
    only_with_objects: bool = True
    """Images without a usable object are not trained on; false: they are, as background."""
    min_keypoints: Annotated[int, Field(ge=0, le=1024)] = 0
    """Only images with so many labelled keypoints."""
    classes: ClassNames = ()
    """Only images with an object of one of these classes, such as [person], whatever else is in them; empty: all."""
    repeat_factor: Fraction | None = None
    """Images with classes rarer than this share are repeated."""
    aspect_grouping: bool = True
    """Wide images and high ones do not share a batch, so there is less padding."""
    shapes: UpTo64[tuple[Side, Side]] = ()
    """Heights and widths to pad batches to, each to the smallest that holds it; one that none holds is padded as if
    there were none."""
    reduced_decode: bool = False
    """JPEGs far larger than the input are decoded at a half, quarter or eighth: faster, but other pixels."""
    augment: Augment = Augment()
    workers: Annotated[int, Field(ge=0, le=1024)] = 2
    """Processes that read pictures, for each process that trains."""
    max_bad_share: Fraction = 0.01
    """Training stops when more than this share of the samples could not be read."""


class SGD(Settings):
    """Stochastic gradient descent with momentum (D, D2, M, T)."""

    kind: Literal["sgd"] = "sgd"
    momentum: Fraction = 0.9
    nesterov: bool = False


class AdamW(Settings):
    """Adam with decoupled weight decay (D2's lazy configs, M; the preset of the demo)."""

    kind: Literal["adamw"] = "adamw"
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)


Optimizer = Annotated[SGD | AdamW, Field(discriminator="kind")]


class Steps(Settings):
    """The rate is multiplied by `gamma` at each of `steps`."""

    kind: Literal["steps"] = "steps"
    steps: UpTo64[StepCount] = (60000, 80000)
    gamma: Amount = 0.1


class Cosine(Settings):
    """The rate falls along half a cosine, from the base rate at step 0 to its share `final` at `max_steps`."""

    kind: Literal["cosine"] = "cosine"
    final: Amount = 0.0
    """Share of the base rate at the end."""


class OneCycle(Settings):
    """The rate rises from 0 to the base rate in `warm_share` of the steps and falls to 0 again, by half cosines."""

    kind: Literal["one_cycle"] = "one_cycle"
    warm_share: Fraction = 0.3


class Constant(Settings):
    """The base rate at every step."""

    kind: Literal["constant"] = "constant"


Decay = Annotated[Steps | Cosine | OneCycle | Constant, Field(discriminator="kind")]


class WarmUp(Settings):
    """The first `steps` steps: the rate is multiplied by `factor`, rising to 1 (linear) or jumping to it (constant)."""

    kind: Literal["linear", "constant"] = "linear"
    steps: Annotated[int, Field(ge=0, le=1_000_000_000)] = 1000
    factor: Amount = 0.001
    """Share of the base rate at the first step."""


class Schedule(Settings):
    """How many steps a run has, and the rate at each; steps as for `Train.reference_batch`, if that is set."""

    max_steps: StepCount = 90000
    decay: Decay = Steps()
    warm_up: WarmUp = WarmUp()


class Stage(Settings):
    """A part of the run with its own frozen parameters."""

    steps: StepCount
    freeze: UpTo1024[str] = ()
    """Patterns of parameter names that do not learn, as in `detector.freeze`."""
    losses: UpTo64[str] = ()
    """Names of the losses that count; empty: all."""


class Train(Settings):
    """A training run: batch, rates, schedule, precision, and what is written while it goes on."""

    batch: Images | Literal["auto"] = 16
    """Images per step over all processes."""
    accumulate: Images = 1
    """Batches whose gradients are added up before a step."""
    reference_batch: Images | None = None
    """The batch that `lr` and `schedule` were written for; with another batch both are scaled. None: no scaling."""
    lr: Amount = 0.02
    bias_lr_factor: Amount = 1.0
    backbone_lr_factor: Amount = 1.0
    layer_decay: Share | None = None
    weight_decay: Amount = 1e-4
    weight_decay_norm: Amount = 0.0
    weight_decay_bias: Amount | None = None
    """None: as `weight_decay`."""
    optimizer: Optimizer = SGD()
    schedule: Schedule = Schedule()
    clip: Literal["none", "value", "norm"] = "none"
    clip_limit: Amount = 1.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    ema: Fraction | None = None
    """Decay of the moving mean of the weights; None: off."""
    checkpoint_activations: bool = False
    compile: bool = False
    weights: str | None = None
    """A checkpoint to start from: ImageNet weights or a detector's. None: from scratch."""
    stages: UpTo64[Stage] = ()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    checkpoint_every: StepCount = 1000
    keep_checkpoints: StepCount = 3
    evaluate_every: StepCount | None = None
    early_stop: StepCount | None = None
    """Evaluations without a better result after which the run ends."""
    log_every: StepCount = 20
    picture_every: StepCount | None = None
    """Steps between pictures of what the model sees, learns from and finds."""
    log_to: UpTo64[Literal["tensorboard", "wandb", "mlflow"]] = ()
    """Where the figures go beside the run's own metrics.jsonl."""
    non_finite: Literal["stop", "skip"] = "stop"
