"""From a picture to what the network sees: resized and normalised as the weights' source did it, then batched."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.random import Generator
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


@dataclass(frozen=True, kw_only=True)
class InputRule:
    """How a picture becomes what the network sees. Names and defaults are those of the settings `model.input`.

    `mean` and `std` are in the network's channel order and on its scale: `value_range` 255 leaves the levels as they
    are, 1 divides them by 255 first. In training the short side is drawn anew for each picture.
    """

    short: Sequence[int] = (800,)
    short_mode: Literal["choice", "range"] = "choice"
    long: int | None = 1333
    method: ResizeMethod = "pillow"
    channels: ChannelOrder = "bgr"
    value_range: float = 255
    mean: Sequence[float] = (103.53, 116.28, 123.675)
    std: Sequence[float] = (1.0, 1.0, 1.0)
    pad_to: int = 32

    def draw_short(self, rng: Generator) -> int:
        """For training: one of `short`, or with "range" an integer from its first to its last, both included."""
        if self.short_mode == "range":
            return int(rng.integers(self.short[0], self.short[-1] + 1))
        return int(self.short[int(rng.integers(len(self.short)))])

    def size_at(self, size: Size, short: int) -> Size:
        """(height, width) of the original image -> of the resized one, whose short side becomes `short`."""
        return shortest_edge_size(size, short=short, long=self.long, method=self.method)


@dataclass(frozen=True)
class Prepared:
    """One image in the network frame."""

    pixels: Tensor  # (3, h, w) float32; uint8 where levels were asked for
    original_size: Size
    scale: tuple[float, float]  # (y, x) factors from the original image to the network frame

    @property
    def size(self) -> Size:
        """(height, width) in the network frame, before padding."""
        return self.pixels.shape[1], self.pixels.shape[2]


def prepare(image: NDArray[np.uint8], rule: InputRule, *, short: int | None, as_levels: bool = False) -> Prepared:
    """(H, W, 3) uint8 RGB -> (3, h, w) float32 in the network frame.

    The short side becomes `short`, as far as `rule.long` lets it; None keeps the size. The scale is the true ratio of
    sizes per axis, but for `opencv_scaled` the nominal factor, by which Detectron takes its boxes back. `as_levels`
    gives uint8 in the network's channel order, for `normalise_levels` on the device, where the method resizes levels.
    """
    _check_image(image)
    height, width = image.shape[:2]
    as_levels = as_levels and rule.method in ("opencv", "pillow")  # the others normalise before they resize
    if short is None:
        pixels = _to_planes(image, rule.channels) if as_levels else normalise(image, rule)
        return Prepared(pixels, (height, width), (1.0, 1.0))
    if rule.method == "opencv_scaled":
        nominal = shortest_edge_scale((height, width), short=short, long=rule.long, method=rule.method)
        return Prepared(_scale_centred(image, rule, nominal), (height, width), (nominal, nominal))
    size = rule.size_at((height, width), short)
    if rule.method == "torch":
        pixels = _normalised_and_resized(image, rule, size)
    else:
        resized = resize_image(image, size, method=rule.method)
        pixels = _to_planes(resized, rule.channels) if as_levels else normalise(resized, rule)
    return Prepared(pixels, (height, width), (pixels.shape[1] / height, pixels.shape[2] / width))


def normalise(image: NDArray[Any], rule: InputRule) -> Tensor:
    """(H, W, 3) RGB levels -> (3, H, W) float32, (level - mean) / std in the network's channel order.

    The operations are torch's, in float32 and in this order, as every source but Detectron has them.
    """
    return normalise_levels(_to_planes(image, rule.channels), rule)


def normalise_levels(planes: Tensor, rule: InputRule) -> Tensor:
    """(..., 3, H, W) uint8 levels in the network's channel order -> float32, on whichever device they are."""
    values = planes.float()
    if rule.value_range == 1:
        values.div_(255)
    elif rule.value_range != 255:
        raise ConfigError(f"value_range is {rule.value_range}; expected 255 or 1")
    values.sub_(torch.tensor(rule.mean, dtype=torch.float32, device=values.device)[:, None, None])
    return values.div_(torch.tensor(rule.std, dtype=torch.float32, device=values.device)[:, None, None])


def _to_planes(image: NDArray[Any], channels: ChannelOrder) -> Tensor:
    """(H, W, 3) RGB -> (3, H, W) of the same type, in the network's channel order."""
    if channels not in ("rgb", "bgr"):
        raise ConfigError(f"channels is {channels!r}; expected rgb or bgr")
    planes = cv2.split(image)  # three times as fast as a transposed copy
    return torch.from_numpy(np.stack(planes if channels == "rgb" else planes[::-1]))


def _normalised_and_resized(image: NDArray[np.uint8], rule: InputRule, size: Size) -> Tensor:
    """torchvision's way: the resize is of normalised floats."""
    levels = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    table = normalise_levels(levels, rule)[:, 0]
    return resize_normalised(_ordered(image, rule.channels), table.numpy(), size)


def _scale_centred(image: NDArray[np.uint8], rule: InputRule, scale: float) -> Tensor:
    """Detectron's way: means off in double precision, then the resize on floats; its std is 1."""
    if rule.value_range != 255:
        raise ConfigError(f"the opencv_scaled resize works on levels 0..255; value_range is {rule.value_range}")
    centred = (_ordered(image, rule.channels) - np.asarray(rule.mean, dtype=np.float64)).astype(np.float32)
    planes = torch.from_numpy(resize_centred(centred, scale=scale).transpose(2, 0, 1)).contiguous()
    return planes.div_(torch.tensor(rule.std, dtype=torch.float32)[:, None, None])


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


def batches_of_equal_size(sizes: Sequence[Size], *, divisibility: int, batch: int) -> list[list[int]]:
    """Sizes in the network frame -> positions in batches, each of one padded size: none is padded for another's sake.

    The batches, and the positions in each, are in rising order.
    """
    groups: dict[Size, list[int]] = {}
    for position, size in enumerate(sizes):
        groups.setdefault(padded_size([size], divisibility=divisibility), []).append(position)
    return sorted(group[k : k + batch] for group in groups.values() for k in range(0, len(group), batch))


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
