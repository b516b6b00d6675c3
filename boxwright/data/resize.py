"""The four resizes of the source systems, each bit for bit: how large the result is and how pixels are sampled.

A method is a size rule and a sampler together, because each source has one of each:

| method          | source             | size of a side x     | sampled                                            |
|-----------------|--------------------|----------------------|----------------------------------------------------|
| `opencv`        | mmdetection        | int(x * scale + 0.5) | OpenCV bilinear on uint8                           |
| `pillow`        | Detectron2         | int(x * scale + 0.5) | Pillow bilinear on uint8, smoothed when shrinking  |
| `torch`         | torchvision        | floor(x * scale)     | torch bilinear on the normalised floats            |
| `opencv_scaled` | Detectron(.pytorch)| round half to even   | OpenCV bilinear on centred floats, by 1 / scale    |
"""

import math
from functools import lru_cache
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from boxwright.errors import ConfigError
from boxwright.ops.dispatch import on_host
from boxwright.ops.reference.resize import resize_pillow
from boxwright.ops.reference.resize_normalised import resize_normalised as resize_through_torch
from boxwright.types import Rle

ResizeMethod = Literal["opencv", "pillow", "torch", "opencv_scaled"]
RESIZE_METHODS: tuple[str, ...] = get_args(ResizeMethod)
SUMS_OTHERWISE = 128  # up to this height and width together torch adds in another order


def _check_method(method: str) -> None:
    if method not in RESIZE_METHODS:
        raise ConfigError(f"resize method is {method!r}; expected one of {', '.join(RESIZE_METHODS)}")


def shortest_edge_scale(size: tuple[int, int], *, short: int, long: int | None, method: ResizeMethod) -> float:
    """The nominal factor that brings the shorter side to `short` and the longer to at most `long`."""
    _check_method(method)
    scale = short / min(size)
    if long is None:
        return scale
    if method == "opencv_scaled":  # Detectron looks at the rounded long side, so it may keep a scale just above
        return long / max(size) if np.round(scale * max(size)) > long else scale
    return min(scale, long / max(size))


def shortest_edge_size(size: tuple[int, int], *, short: int, long: int | None, method: ResizeMethod) -> tuple[int, int]:
    """(height, width) of the original image -> that of the resized one, by the rule of the method's source."""
    scale = shortest_edge_scale(size, short=short, long=long, method=method)
    height, width = size
    if method == "torch":
        sides = math.floor(height * scale), math.floor(width * scale)
    elif method == "opencv_scaled":
        sides = round(height * scale), round(width * scale)
    elif method == "opencv":
        sides = int(height * scale + 0.5), int(width * scale + 0.5)
    else:
        sides = _pillow_size(size, short, long)
    return max(sides[0], 1), max(sides[1], 1)


def _pillow_size(size: tuple[int, int], short: int, long: int | None) -> tuple[int, int]:
    """Detectron2 scales twice where the long side is too long; one product would round differently now and then."""
    scale = short / min(size)
    height, width = size[0] * scale, size[1] * scale
    if size[0] < size[1]:
        height = float(short)
    else:
        width = float(short)
    if long is not None and max(height, width) > long:
        scale = long / max(height, width)
        height, width = height * scale, width * scale
    return int(height + 0.5), int(width + 0.5)


def resize_image(image: NDArray[Any], size: tuple[int, int], *, method: ResizeMethod) -> NDArray[Any]:
    """(H, W[, C]) pixels -> (h, w[, C]) of the same type. `size` is (height, width).

    `torch` and `opencv_scaled` here sample the pixels they are given; on uint8 they round to the nearest level.
    """
    _check_method(method)
    if tuple(image.shape[:2]) == tuple(size):
        return image
    if method == "pillow":
        return _resize_pillow(image, size)
    if method == "torch":
        return _resize_through_torch(image, size)
    resized: NDArray[Any] = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return resized.reshape(*size, *image.shape[2:])  # OpenCV drops a channel axis of length one


def _resize_pillow(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    if image.dtype != np.uint8:
        raise ConfigError(f"the pillow resize takes uint8 pixels, not {image.dtype}; use opencv or torch for floats")
    grows = size[0] >= image.shape[0] and image.shape[2:] in ((), (1,), (3,))  # with alpha Pillow does more
    resize = on_host("resize").resize_pillow if grows else resize_pillow
    resized: NDArray[Any] = resize(image, size)
    return resized


def _resize_through_torch(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    planes = torch.from_numpy(np.ascontiguousarray(image)).reshape(*image.shape[:2], -1).permute(2, 0, 1)
    resized = F.interpolate(planes[None].float(), size=size, mode="bilinear", align_corners=False)[0]
    if image.dtype == np.uint8:
        resized = resized.round_().clamp_(0, 255)
    back = resized.permute(1, 2, 0).reshape(*size, *image.shape[2:]).numpy()
    return np.ascontiguousarray(back.astype(image.dtype, copy=False))


def resize_normalised(image: NDArray[np.uint8], table: NDArray[np.float32], size: tuple[int, int]) -> Tensor:
    """(H, W, 3) levels, (3, 256) what they become -> (3, h, w) normalised floats, sampled as torchvision does."""
    if sum(size) > SUMS_OTHERWISE:
        return on_host("resize_normalised").resize_normalised(image, table, size)  # type: ignore[no-any-return]
    return resize_through_torch(image, table, size)


def resize_centred(image: NDArray[np.float32], *, scale: float) -> NDArray[np.float32]:
    """(H, W, 3) floats with the means taken off -> (h, w, 3), sampled by 1 / scale and not by the size ratio."""
    resized: NDArray[np.float32] = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    return resized


def resize_rle(rle: Rle, size: tuple[int, int], *, method: ResizeMethod) -> Rle:
    """Run lengths -> those of `size`: the nearest pixel as the method's source takes it for its masks."""
    height, width = rle["size"]
    rows, columns = _nearest(height, size[0], method), _nearest(width, size[1], method)
    return Rle(size=list(size), counts=on_host("resize_runs").resize_runs(rle["counts"], height, rows, columns))


@lru_cache(maxsize=512)
def _nearest(length: int, new: int, method: ResizeMethod) -> NDArray[np.int64]:
    """(new,) the place that each new pixel of a side is taken from, as the source's own function says."""
    places = np.arange(length, dtype=np.float32)[:, None]
    if method == "torch":
        resized = F.interpolate(torch.from_numpy(places)[None, None], size=(new, 1), mode="nearest").numpy()
    elif method == "pillow":
        resized = np.asarray(Image.fromarray(places).resize((1, new), Image.Resampling.NEAREST))
    else:
        resized = cv2.resize(places, (1, new), interpolation=cv2.INTER_NEAREST)
    return resized.reshape(-1).astype(np.int64)
