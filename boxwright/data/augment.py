"""Settings of the training input -> steps, and the way of one sample through them into the network frame."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from boxwright.data.network_input import InputRule, Prepared, prepare
from boxwright.data.resize import ResizeMethod
from boxwright.data.sample import MIN_SIDE, Sample, Step, crop_target, settle_target
from boxwright.data.transforms.albumentations import AlbumentationsStep, NamedTransform, pipeline_of
from boxwright.data.transforms.colour import Blur, ColourJitter, Cutout
from boxwright.data.transforms.geometry import (
    FixedCrop,
    Flip,
    RelativeCrop,
    Rotate,
    ScaleJitter,
    VerticalFlip,
    scale_target,
)
from boxwright.data.transforms.mixing import CopyPaste, Mosaic, SampleSource
from boxwright.errors import ConfigError
from boxwright.geometry.boxes import non_empty_boxes
from boxwright.geometry.keypoints import FlipPairs
from boxwright.types import Size, Target


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Changes to a training image and its objects, in the order of the fields; None or 0 is off.

    Names and meaning are those of the settings `data.augment`. `crop_aspect` comes last of all, in the network frame;
    `steps`, the user's own, and `albumentations` come first.
    """

    flip: float = 0.5
    vertical_flip: float = 0.0
    scale_jitter: tuple[float, float] | None = None
    crop: Size | None = None
    crop_relative: tuple[float, float] | None = None
    crop_aspect: tuple[float, float] | None = None
    rotate: float = 0.0
    colour: float = 0.0
    blur: float = 0.0
    cutout: float = 0.0
    mosaic: float = 0.0
    copy_paste: float = 0.0
    albumentations: Sequence[NamedTransform] = ()
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        if self.scale_jitter and not self.crop:
            raise ConfigError("augment.scale_jitter needs augment.crop: the size that its scales are relative to")

    @property
    def fixes_size(self) -> bool:
        """The steps bring the picture to its final size; nothing resizes it after them."""
        return self.scale_jitter is not None


def plain_steps(augmentation: Augmentation, *, method: ResizeMethod, flip_pairs: FlipPairs = ()) -> list[Step]:
    """The steps that look at one sample only."""
    chosen = augmentation
    steps: list[Step] = list(chosen.steps)
    if chosen.albumentations:
        steps.append(AlbumentationsStep(pipeline_of(chosen.albumentations)))
    if chosen.flip:
        steps.append(Flip(chosen.flip, flip_pairs))
    if chosen.vertical_flip:
        steps.append(VerticalFlip(chosen.vertical_flip))
    if chosen.scale_jitter and chosen.crop:
        # Detectron's resize by a nominal factor knows no wanted size; on whole levels it is OpenCV's.
        on_levels: ResizeMethod = "opencv" if method == "opencv_scaled" else method
        steps.append(ScaleJitter(*chosen.scale_jitter, size=chosen.crop, method=on_levels))
    if chosen.crop:
        steps.append(FixedCrop(chosen.crop))
    if chosen.crop_relative:
        steps.append(RelativeCrop(*chosen.crop_relative))
    if chosen.rotate:
        steps.append(Rotate(chosen.rotate))
    for probability, step in ((chosen.colour, ColourJitter), (chosen.blur, Blur), (chosen.cutout, Cutout)):
        if probability:
            steps.append(step(probability))
    return steps


def mixing_steps(augmentation: Augmentation, draw: SampleSource) -> list[Step]:
    """The steps that draw other samples; these have gone through the plain ones."""
    steps: list[Step] = []
    if augmentation.mosaic:
        steps.append(Mosaic(augmentation.mosaic, draw))
    if augmentation.copy_paste:
        steps.append(CopyPaste(augmentation.copy_paste, draw))
    return steps


def needed_side(rule: InputRule, augmentation: Augmentation) -> int | None:
    """The least short side that needs no enlarging afterwards; None where a crop counts the original's pixels."""
    if augmentation.crop and augmentation.scale_jitter:
        return math.ceil(max(augmentation.crop) * augmentation.scale_jitter[1])
    if augmentation.crop or augmentation.albumentations or augmentation.steps:
        return None
    return math.ceil(max(rule.short) / min(augmentation.crop_relative or (1.0,)))


def to_network(
    sample: Sample, rng: Generator, rule: InputRule, augmentation: Augmentation, *, as_levels: bool = False
) -> tuple[Prepared, Target]:
    """The last part: the drawn scale, normalising, aspect crop. -> the image and its target in the network frame.

    `as_levels` leaves uint8 levels as they are where normalising comes after the resize, for the device to do it.
    """
    short = None if augmentation.fixes_size else rule.draw_short(rng)
    prepared = prepare(sample.image, rule, short=short, as_levels=as_levels)
    target = scale_target(sample.target, prepared.size, scale=prepared.scale, method=rule.method)
    target = settle_target(target) if not bool(non_empty_boxes(target.boxes, min_side=MIN_SIDE).all()) else target
    if augmentation.crop_aspect:
        return crop_to_aspect(prepared, target, augmentation.crop_aspect, rng)
    return prepared, target


def crop_to_aspect(
    prepared: Prepared, target: Target, limits: tuple[float, float], rng: Generator
) -> tuple[Prepared, Target]:
    """An image with width / height outside `limits` is cut along its long side to the nearer limit.

    The window is drawn so that it holds all objects where they fit, and else begins among the upper or left ones.
    Objects of which a pixel or less is left are dropped.
    """
    height, width = prepared.size
    aspect = width / height
    if limits[0] <= aspect <= limits[1]:
        return prepared, target
    if aspect < limits[0]:
        length = min(math.ceil(width / limits[0]), height)
        begin = _draw_begin(target.boxes[:, 1::2].numpy(), length, height, rng)
        window = (0, begin, width, begin + length)
    else:
        length = min(math.ceil(height * limits[1]), width)
        begin = _draw_begin(target.boxes[:, 0::2].numpy(), length, width, rng)
        window = (begin, 0, begin + length, height)
    x1, y1, x2, y2 = window
    cropped = Prepared(prepared.pixels[:, y1:y2, x1:x2], prepared.original_size, prepared.scale)
    return cropped, crop_target(target, window, min_side=1.0)


def _draw_begin(
    extents: "np.ndarray[tuple[int, int], np.dtype[np.float32]]", length: int, side: int, rng: Generator
) -> int:
    """(N, 2) begin and end of each box along the side -> where the window of `length` begins."""
    if len(extents) == 0:
        return int(rng.integers(0, side - length + 1))
    low, high = math.floor(extents[:, 0].min()), math.floor(extents[:, 1].max())
    if low == 0:
        return 0
    region = high - low + 1
    if region < length:
        first, last = max(high - length, 0), min(low, side - length)
    else:
        first, last = low, min(low + (region - length) // 2, side - length)
    return int(rng.integers(first, max(first, last) + 1)) if first < last else min(first, side - length)
