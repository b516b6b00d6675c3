"""Pillow's bilinear resize by Pillow itself: the definition that the compiled one must match to the last bit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize_pillow(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) or (H, W, C) uint8 -> the same with `size` (height, width)."""
    flat: NDArray[Any] = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
    resized = Image.fromarray(flat).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized).reshape(*size, *image.shape[2:])
