"""From a picture to what the network sees: resized and normalised as the weights' source did it, then batched."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from boxwright.data.resize import (
    ResizeMethod,
    resize_centred,
    resize_image,
    resize_normalised,
    shortest_edge_scale,
    shortest_edge_size,
)
from boxwright.errors import ConfigError, ShapeError
from boxwright.types import Batch, Size, Target

ChannelOrder = Literal["rgb", "bgr"]


@dataclass(frozen=True)
class Prepared:
    """One image in the network frame."""

    pixels: Tensor  # (3, h, w) float32; uint8 where levels were asked for
    original_size: Size
    scale: tuple[float, float]  # (y, x) factors from the original image to the network frame

    @property
    def size(self) -> Size:
        return self.pixels.shape[1], self.pixels.shape[2]


def prepare(
    image: NDArray[np.uint8],
    *,
    short: int | None,
    long: int | None,
    method: ResizeMethod,
    mean: Sequence[float],
    std: Sequence[float],
    channels: ChannelOrder = "rgb",
    value_range: float = 255.0,
    as_levels: bool = False,
) -> Prepared:
    """(H, W, 3) uint8 RGB -> (3, h, w) float32 in the network frame.

    `mean` and `std` are in the network's channel order and on its scale: `value_range` 255 leaves the levels as they
    are, 1 divides them by 255 first. `short` None keeps the size. The scale is the true ratio of sizes per axis,
    but for `opencv_scaled` the nominal factor, by which Detectron takes its boxes back. `as_levels` gives uint8 in
    the network's channel order, for `normalise_levels` on the device, where the method resizes levels.
    """
    _check_image(image)
    height, width = image.shape[:2]
    limits: dict[str, Any] = {"short": short, "long": long, "method": method}
    levels: dict[str, Any] = {"mean": mean, "std": std, "channels": channels, "value_range": value_range}
    if short is None:
        pixels = to_planes(image, channels) if as_levels and resizes_levels(method) else normalise(image, **levels)
        return Prepared(pixels, (height, width), (1.0, 1.0))
    nominal = shortest_edge_scale((height, width), **limits)
    if method == "opencv_scaled":
        return Prepared(_scale_centred(image, nominal, **levels), (height, width), (nominal, nominal))
    if method == "torch":
        pixels = _normalised_and_resized(image, shortest_edge_size((height, width), **limits), **levels)
    else:
        resized = resize_image(image, shortest_edge_size((height, width), **limits), method=method)
        pixels = to_planes(resized, channels) if as_levels else normalise(resized, **levels)
    return Prepared(pixels, (height, width), (pixels.shape[1] / height, pixels.shape[2] / width))


def normalise(
    image: NDArray[Any],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    channels: ChannelOrder,
    value_range: float = 255.0,
) -> Tensor:
    """(H, W, 3) RGB levels -> (3, H, W) float32, (level - mean) / std in the network's channel order.

    The operations are torch's, in float32 and in this order, as every source but Detectron has them.
    """
    return normalise_levels(to_planes(image, channels), mean=mean, std=std, value_range=value_range)


def normalise_levels(
    planes: Tensor, *, mean: Sequence[float], std: Sequence[float], value_range: float = 255.0
) -> Tensor:
    """(..., 3, H, W) uint8 levels in the network's channel order -> float32, on whichever device they are."""
    values = planes.float()
    if value_range == 1:
        values.div_(255)
    elif value_range != 255:
        raise ConfigError(f"value_range is {value_range}; expected 255 or 1")
    values.sub_(torch.tensor(mean, dtype=torch.float32, device=values.device)[:, None, None])
    return values.div_(torch.tensor(std, dtype=torch.float32, device=values.device)[:, None, None])


def to_planes(image: NDArray[Any], channels: ChannelOrder) -> Tensor:
    """(H, W, 3) RGB -> (3, H, W) of the same type, in the network's channel order."""
    if channels not in ("rgb", "bgr"):
        raise ConfigError(f"channels is {channels!r}; expected rgb or bgr")
    planes = cv2.split(image)  # three times as fast as a transposed copy
    return torch.from_numpy(np.stack(planes if channels == "rgb" else planes[::-1]))


def resizes_levels(method: ResizeMethod) -> bool:
    """True where normalising comes after the resize."""
    return method in ("opencv", "pillow")


def _normalised_and_resized(
    image: NDArray[np.uint8],
    size: Size,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    channels: ChannelOrder,
    value_range: float,
) -> Tensor:
    """torchvision's way: the resize is of normalised floats."""
    levels = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    table = normalise_levels(levels, mean=mean, std=std, value_range=value_range)[:, 0]
    return resize_normalised(_ordered(image, channels), table.numpy(), size)


def _scale_centred(
    image: NDArray[np.uint8],
    scale: float,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    channels: ChannelOrder,
    value_range: float,
) -> Tensor:
    """Detectron's way: means off in double precision, then the resize on floats; its std is 1."""
    if value_range != 255:
        raise ConfigError(f"the opencv_scaled resize works on levels 0..255; value_range is {value_range}")
    centred = (_ordered(image, channels) - np.asarray(mean, dtype=np.float64)).astype(np.float32)
    planes = torch.from_numpy(resize_centred(centred, scale=scale).transpose(2, 0, 1)).contiguous()
    return planes.div_(torch.tensor(std, dtype=torch.float32)[:, None, None])


def _ordered(image: NDArray[Any], channels: ChannelOrder) -> NDArray[Any]:
    if channels not in ("rgb", "bgr"):
        raise ConfigError(f"channels is {channels!r}; expected rgb or bgr")
    return np.ascontiguousarray(image[:, :, ::-1]) if channels == "bgr" else image


def _check_image(image: NDArray[Any]) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ShapeError(f"prepare() got {image.dtype} {image.shape}; expected (H, W, 3) uint8, see load_image()")


def pad_batch(
    prepared: Sequence[Prepared],
    *,
    divisibility: int = 1,
    shape: Size | None = None,
    targets: Sequence[Target] | None = None,
) -> Batch:
    """Images of the network frame -> one batch, zeros at the right and bottom up to a multiple of `divisibility`.

    `shape` asks for at least that height and width, so that batches of one bucket have equal shapes.
    """
    if not prepared:
        raise ShapeError("pad_batch() got no images")
    height, width = padded_size([item.size for item in prepared], divisibility=divisibility, shape=shape)
    images = _zeros((len(prepared), 3, height, width), prepared[0].pixels.dtype)
    for slot, item in zip(images, prepared, strict=True):
        slot[:, : item.size[0], : item.size[1]].copy_(item.pixels)
    return Batch(
        images=images,
        sizes=[item.size for item in prepared],
        original_sizes=[item.original_size for item in prepared],
        scales=[item.scale for item in prepared],
        targets=None if targets is None else list(targets),
    )


def _zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """In a worker in memory that is shared from the start: it would be copied there on its way to the main process."""
    if get_worker_info() is None:
        return torch.zeros(shape, dtype=dtype)
    memory: Any = torch.UntypedStorage
    shared = memory._new_shared(math.prod(shape) * dtype.itemsize)  # of zeros, as the system gives its pages
    images: Tensor = torch.tensor([], dtype=dtype).set_(shared, 0, shape)  # type: ignore[call-overload]
    return images


def padded_size(sizes: Sequence[Size], *, divisibility: int = 1, shape: Size | None = None) -> Size:
    """The smallest (height, width) that holds all `sizes` and `shape`, each a multiple of `divisibility`."""
    tallest = max([size[0] for size in sizes] + ([shape[0]] if shape else []))
    widest = max([size[1] for size in sizes] + ([shape[1]] if shape else []))
    return math.ceil(tallest / divisibility) * divisibility, math.ceil(widest / divisibility) * divisibility


def bucket_of(sizes: Sequence[Size], shapes: Sequence[Size]) -> Size | None:
    """The smallest of `shapes` that holds all `sizes`; None where none does."""
    tallest, widest = max(size[0] for size in sizes), max(size[1] for size in sizes)
    fitting = [shape for shape in shapes if shape[0] >= tallest and shape[1] >= widest]
    return min(fitting, key=lambda shape: shape[0] * shape[1], default=None)
