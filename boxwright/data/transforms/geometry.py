"""Flips, crops, rotation and scale jitter of a sample. Each step is called with the sample and a random generator."""

import math
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from boxwright.data.resize import ResizeMethod, resize_image, resize_rle
from boxwright.data.sample import FILL, Sample, crop_sample, has_mask, settle_target
from boxwright.geometry.boxes import flip_boxes, flip_boxes_vertically, scale_boxes
from boxwright.geometry.keypoints import (
    FlipPairs,
    flip_keypoints,
    flip_keypoints_vertically,
    map_keypoints,
    scale_keypoints,
)
from boxwright.geometry.masks import (
    flip_masks,
    flip_masks_vertically,
    map_masks,
    scale_masks,
    to_pixel_centres,
)
from boxwright.types import Size, Target


@dataclass(frozen=True)
class Flip:
    """Left to right, with this probability; `pairs` of keypoints change places."""

    probability: float
    pairs: FlipPairs = ()

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        return _flip_sample(sample, pairs=self.pairs) if rng.random() < self.probability else sample


@dataclass(frozen=True)
class VerticalFlip:
    """Top to bottom, with this probability; no keypoints change places."""

    probability: float

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        target, height = sample.target, sample.size[0]
        keypoints = None if target.keypoints is None else flip_keypoints_vertically(target.keypoints, height)
        masks = None if target.masks is None else flip_masks_vertically(target.masks)
        boxes = flip_boxes_vertically(target.boxes, height)
        return Sample(cv2.flip(sample.image, 0), replace(target, boxes=boxes, masks=masks, keypoints=keypoints))


def _flip_sample(sample: Sample, *, pairs: FlipPairs = ()) -> Sample:
    """Left to right."""
    target, width = sample.target, sample.size[1]
    flipped = replace(
        target,
        boxes=flip_boxes(target.boxes, width),
        masks=None if target.masks is None else flip_masks(target.masks),
        keypoints=None if target.keypoints is None else flip_keypoints(target.keypoints, width, pairs),
    )
    return Sample(cv2.flip(sample.image, 1), flipped)


def scale_target(target: Target, size: Size, *, scale: tuple[float, float], method: ResizeMethod) -> Target:
    """Into an image of `size`, by the (y, x) factors."""
    if size == target.size and scale == (1.0, 1.0):
        return target
    masks, nearest = target.masks, partial(resize_rle, method=method)
    return replace(
        target,
        boxes=scale_boxes(target.boxes, scale),
        masks=None if masks is None else scale_masks(masks, size, scale=scale, nearest=nearest),
        keypoints=None if target.keypoints is None else scale_keypoints(target.keypoints, scale),
        size=size,
    )


def resize_sample(sample: Sample, size: Size, *, method: ResizeMethod) -> Sample:
    """To exactly `size`, (height, width); each axis is scaled by its own factor."""
    scale = (size[0] / sample.size[0], size[1] / sample.size[1])
    target = scale_target(sample.target, size, scale=scale, method=method)
    return Sample(resize_image(sample.image, size, method=method), target)


@dataclass(frozen=True)
class ScaleJitter:
    """Large-scale jitter: resized by a factor from `low` to `high` of the size that just fits into `size`."""

    low: float
    high: float
    size: Size
    method: ResizeMethod

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        factor = rng.uniform(self.low, self.high)
        height, width = sample.size
        scale = min(self.size[0] * factor / height, self.size[1] * factor / width)
        new = max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)
        return resize_sample(sample, new, method=self.method)


@dataclass(frozen=True)
class FixedCrop:
    """A random window of `size`; sides that are shorter stay as they are, and the batch is padded to them."""

    size: Size

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        height, width = sample.size
        rows, columns = min(self.size[0], height), min(self.size[1], width)
        y, x = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
        if (rows, columns) == (height, width):
            return sample
        return crop_sample(sample, (x, y, x + columns, y + rows))


@dataclass(frozen=True)
class RelativeCrop:
    """A random window of at least these shares of height and width, each drawn by itself."""

    low_height: float
    low_width: float

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        shares = rng.uniform((self.low_height, self.low_width), 1.0)
        rows, columns = (max(int(side * share + 0.5), 1) for side, share in zip(sample.size, shares, strict=True))
        return FixedCrop((rows, columns))(sample, rng)


@dataclass(frozen=True)
class Rotate:
    """By up to `degrees` to either side around the centre; the canvas keeps its size.

    A box without a mask becomes the box around the rotated ellipse that filled it: the box around the rotated corners
    is far too large for most things.
    """

    degrees: float

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        angle = math.radians(rng.uniform(-self.degrees, self.degrees))
        height, width = sample.size
        matrix = _rotation(angle, (width / 2, height / 2))
        image = cv2.warpAffine(sample.image, to_pixel_centres(matrix), (width, height), borderValue=FILL)
        target = sample.target
        map32 = torch.from_numpy(matrix)
        rotated = replace(
            target,
            boxes=_rotate_boxes(target.boxes, angle, map32),
            masks=None if target.masks is None else map_masks(target.masks, sample.size, matrix),
            keypoints=None if target.keypoints is None else map_keypoints(target.keypoints, map32),
        )
        return Sample(image, settle_target(rotated, had_mask=has_mask(target)))


def _rotation(angle: float, centre: tuple[float, float]) -> NDArray[np.float64]:
    """(2, 3): counter-clockwise on the screen for a positive angle."""
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    return np.column_stack((turn, np.array(centre) - turn @ centre))


def _rotate_boxes(boxes: torch.Tensor, angle: float, matrix: torch.Tensor) -> torch.Tensor:
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2).double() @ matrix[:, :2].T + matrix[:, 2]
    half = ((boxes[:, 2:] - boxes[:, :2]) / 2).double()
    cos, sin = math.cos(angle), math.sin(angle)
    reach = torch.stack(
        (torch.hypot(half[:, 0] * cos, half[:, 1] * sin), torch.hypot(half[:, 0] * sin, half[:, 1] * cos)), 1
    )
    return torch.cat((centres - reach, centres + reach), dim=1).float()
