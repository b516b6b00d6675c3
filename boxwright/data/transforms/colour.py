"""Changes of the picture that leave the objects where they are: colours, blur, cut-out rectangles."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from boxwright.data.image import RgbImage
from boxwright.data.sample import FILL, Sample


@dataclass(frozen=True)
class ColourJitter:
    """Brightness, contrast, saturation and hue, in random order, with this probability."""

    probability: float
    brightness: float = 0.3  # factors run from 1 - this to 1 + this
    contrast: float = 0.3
    saturation: float = 0.4
    hue: float = 0.05  # shift as a share of the colour circle

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        image = sample.image
        for change in rng.permutation(4):
            image = self._change(image, int(change), rng)
        return Sample(image, sample.target)

    def _change(self, image: RgbImage, change: int, rng: Generator) -> RgbImage:
        amount = (self.brightness, self.contrast, self.saturation, self.hue)[change]
        drawn = rng.uniform(-amount, amount)
        if change == 0:
            return _scale_levels(image, 1 + drawn, 0.0)
        if change == 1:
            grey = float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean())
            return _scale_levels(image, 1 + drawn, -grey * drawn)
        if change == 2:
            grey_image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            return cv2.addWeighted(image, 1 + drawn, grey_image, -drawn, 0.0)  # type: ignore[no-any-return]
        return _shift_hue(image, drawn)


def _scale_levels(image: RgbImage, factor: float, offset: float) -> RgbImage:
    table = np.clip(np.rint(np.arange(256) * factor + offset), 0, 255).astype(np.uint8)
    return cv2.LUT(image, table)  # type: ignore[no-any-return]


def _shift_hue(image: RgbImage, share: float) -> RgbImage:
    hsv: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)  # hue runs over all 256 levels and wraps
    hsv[:, :, 0] += np.uint8(round(share * 256) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Blur:
    """Gaussian, with this probability; sigma in pixels."""

    probability: float
    low: float = 0.1
    high: float = 2.0

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        blurred = cv2.GaussianBlur(sample.image, (0, 0), rng.uniform(self.low, self.high))
        return Sample(blurred, sample.target)


@dataclass(frozen=True)
class Cutout:
    """Rectangles filled with one colour, with this probability. Objects below them keep their annotations."""

    probability: float
    most: int = 5  # rectangles
    largest: float = 0.2  # share of height and width

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        image = sample.image.copy()
        size = np.array(sample.size)
        for _ in range(int(rng.integers(1, self.most + 1))):
            sides = np.maximum((size * rng.uniform(0.02, self.largest, 2)).astype(int), 1)
            y, x = (int(rng.integers(0, limit)) for limit in np.maximum(size - sides, 1))
            image[y : y + sides[0], x : x + sides[1]] = FILL
        return Sample(image, sample.target)
