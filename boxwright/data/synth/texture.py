"""Surfaces: a grey pattern from noise and waves, coloured through a ramp of 256 colours.

Patterns are computed in float64 and rounded once; all that follows is integer arithmetic. That is what makes a picture
the same byte for byte on machines whose vector units round float32 differently.
"""

import colorsys

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Grey = NDArray[np.uint8]  # (height, width)
Pixels = NDArray[np.uint8]  # (height, width, 3) RGB
Rgb = tuple[int, int, int]


def noise(rng: Generator, height: int, width: int, period: float) -> NDArray[np.float64]:
    """Smooth noise, mostly in 0..1, whose bumps are about `period` pixels apart."""
    rows, columns = int(height / period) + 4, int(width / period) + 4
    return np.asarray(cv2.resize(rng.random((rows, columns)), (width, height), interpolation=cv2.INTER_CUBIC))


def cloud_pattern(rng: Generator, height: int, width: int, period: float) -> Grey:
    """Smooth noise with finer noise on it; its largest bumps are about `period` pixels apart."""
    field = 0.6 * noise(rng, height, width, period) + 0.3 * noise(rng, height, width, period / 4)
    return _to_grey(field + 0.1 * noise(rng, height, width, max(period / 12, 1.5)))


def _wave_pattern(rng: Generator, height: int, width: int, period: float) -> Grey:
    """Stripes that bend, as wood or water; two crossing sets of them look woven."""
    rows, columns = np.ogrid[0:height, 0:width]
    field = np.zeros((height, width))
    for angle in rng.random(int(rng.integers(1, 3))) * np.pi:
        bend = 3 * noise(rng, height, width, 3 * period)
        field += np.sin((rows * np.sin(angle) + columns * np.cos(angle)) * (2 * np.pi / period) + bend)
    return _to_grey(field / 4 + 0.5)


def _tile_pattern(rng: Generator, height: int, width: int, period: float) -> Grey:
    """A turned grid of tiles, each of its own grey, with dark joints."""
    angle = rng.random() * np.pi
    rows, columns = np.ogrid[0:height, 0:width]
    u = (rows * np.sin(angle) + columns * np.cos(angle)) / period + 100
    v = (rows * np.cos(angle) - columns * np.sin(angle)) / period + 100
    shades = rng.random((16, 16))[u.astype(np.int64) % 16, v.astype(np.int64) % 16]
    joint = (u % 1 < 0.08) | (v % 1 < 0.08)
    return _to_grey(np.where(joint, 0.0, 0.25 + 0.6 * shades + 0.15 * noise(rng, height, width, 4)))


def any_pattern(rng: Generator, height: int, width: int, period: float) -> Grey:
    """Clouds half of the time, else waves or tiles."""
    pattern = (cloud_pattern, cloud_pattern, _wave_pattern, _tile_pattern)[int(rng.integers(4))]
    return pattern(rng, height, width, period)


def paint(pattern: Grey, dark: Rgb, light: Rgb) -> Pixels:
    """(height, width) greys -> RGB between two colours."""
    steps = np.arange(256, dtype=np.int64)[:, None]
    ramp = (np.array(dark) * (255 - steps) + np.array(light) * steps + 127) // 255
    colours: Pixels = ramp.astype(np.uint8).take(pattern, axis=0)
    return colours


def random_colour(rng: Generator, *, saturation: tuple[float, float], value: tuple[float, float]) -> Rgb:
    """Any hue; saturation and value, both 0..1, from these ranges."""
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return int(red * 255), int(green * 255), int(blue * 255)


def contrasting_colour(rng: Generator, background: Rgb, *, distance: int = 110) -> Rgb:
    """A strong colour that can be told from `background`: the first of some tries that is far enough from it."""
    colour = random_colour(rng, saturation=(0.35, 1.0), value=(0.35, 1.0))
    for _ in range(12):
        if sum((a - b) ** 2 for a, b in zip(colour, background, strict=True)) >= distance**2:
            break
        colour = random_colour(rng, saturation=(0.35, 1.0), value=(0.35, 1.0))
    return colour


def shade(colour: Rgb, factor: float) -> Rgb:
    """Each channel times `factor`, cut at 255."""
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue


def add_grain(rng: Generator, picture: Pixels, strength: int) -> Pixels:
    """A slight blur, as a lens has, then grey noise, as a sensor has."""
    blurred = cv2.GaussianBlur(picture, (3, 3), 0.6)
    grain = rng.integers(0, strength + 1, (2, *picture.shape[:2]), dtype=np.int16)
    grainy: Pixels = np.clip(blurred + (grain[0] - grain[1])[:, :, None], 0, 255).astype(np.uint8)
    return grainy


def _to_grey(field: NDArray[np.float64]) -> Grey:
    return (np.clip(field, 0, 1) * 255).astype(np.uint8)
