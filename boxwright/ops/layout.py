"""Memory layouts and number types that every backend agrees on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class MapShapes:
    """The maps of a pyramid without what they hold: what their gradients are made to fit."""

    sizes: Sequence[int]  # B, C, H, W of the first map, then of the second, and so on
    channels_last: bool


def is_channels_last(features: Sequence[Tensor]) -> bool:
    """Whether the maps lie in memory as B, H, W, C: then what is pooled from them does too."""
    return all(f.is_contiguous(memory_format=torch.channels_last) for f in features) and not all(
        f.is_contiguous() for f in features
    )


def memory_format(channels_last: bool) -> torch.memory_format:
    """Torch's name of the layout B, H, W, C, or of B, C, H, W."""
    return torch.channels_last if channels_last else torch.contiguous_format


def empty_maps(like: Tensor, maps: MapShapes) -> list[Tensor]:
    """Uninitialised maps of these shapes, in the type of `like` and on its device."""
    shapes = [tuple(maps.sizes[i : i + 4]) for i in range(0, len(maps.sizes), 4)]
    layout = memory_format(maps.channels_last)
    return [torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout) for shape in shapes]


def empty_pooled(features: Sequence[Tensor], num_rois: int, output_size: Sequence[int]) -> Tensor:
    """Uninitialised (R, C, ph, pw) in the type and layout of the features."""
    shape = (num_rois, features[0].shape[1], *output_size)
    layout = memory_format(is_channels_last(features))
    return torch.empty(shape, dtype=features[0].dtype, device=features[0].device, memory_format=layout)


def at_least_float32(x: Tensor) -> Tensor:
    """Coordinates in half precision would be off by pixels, and long sums by per cents."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
