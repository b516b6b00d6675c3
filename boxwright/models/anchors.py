"""Anchors: boxes of fixed sizes and shapes about every cell of every level."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from boxwright import ops
from boxwright.errors import ConfigError

Rounding = Literal["none", "half_even", "detectron"]
Order = Literal["size_major", "ratio_major"]


class Anchors(nn.Module):
    """The anchors of a pyramid. No weights; the anchors of one cell are buffers that are not saved."""

    def __init__(
        self,
        *,
        strides: Mapping[str, int],
        sizes: Sequence[Sequence[float]],
        aspect_ratios: Sequence[Sequence[float]],
        offset: float = 0.0,
        rounding: Rounding = "none",
        order: Order = "size_major",
        measure_strides: bool = False,
    ) -> None:
        """`strides` name the levels, fine to coarse; `sizes` and `aspect_ratios` have one entry each, or one for all.

        `measure_strides`: the distance of two anchors is padded image size // map size, and not the level's stride.
        """
        super().__init__()
        self.strides = dict(strides)
        self.offset = offset
        self.measure_strides = measure_strides
        shapes = zip(
            _per_level(sizes, len(strides), "sizes"),
            _per_level(aspect_ratios, len(strides), "aspect_ratios"),
            strict=True,
        )
        for (level, stride), (level_sizes, ratios) in zip(strides.items(), shapes, strict=True):
            cell = cell_anchors(level_sizes, ratios, stride=stride, rounding=rounding, order=order)
            self.register_buffer(level, cell, persistent=False)
        counts = {len(self.get_buffer(level)) for level in strides}
        if len(counts) != 1:
            raise ConfigError(f"anchors: levels have {sorted(counts)} anchors per cell; one head serves all levels")
        self.per_cell = counts.pop()

    def forward(self, maps: Sequence[Tensor], batch_size: tuple[int, int]) -> list[Tensor]:
        """Maps (B, C, H, W) of the levels and the (height, width) of the padded batch -> per level (H * W * A, 4).

        In the network frame, ordered y, x, anchor of the cell.
        """
        found = []
        for (level, stride), one_map in zip(self.strides.items(), maps, strict=True):
            size = (one_map.shape[2], one_map.shape[3])
            step = self._steps(stride, size, batch_size)
            found.append(ops.anchor_grid(self.get_buffer(level), size=size, stride=step, centre=self.offset))
        return found

    def inside_padding(self, map_sizes: Sequence[tuple[int, int]], padded: Tensor) -> Tensor:
        """(H, W) per level, (B, 2) sizes of the images padded by themselves -> (B, anchors of all levels) bool.

        True for the anchors whose cell starts inside its image's own padding.
        """
        parts = []
        for stride, size in zip(self.strides.values(), map_sizes, strict=True):
            y, x = (torch.arange(n, device=padded.device) * stride for n in size)
            inside = (y < padded[:, :1])[:, :, None] & (x < padded[:, 1:])[:, None, :]
            parts.append(inside.flatten(1).repeat_interleave(self.per_cell, dim=1))
        return torch.cat(parts, dim=1)

    def _steps(self, stride: int, size: tuple[int, int], batch_size: tuple[int, int]) -> tuple[float, float]:
        if not self.measure_strides:
            return float(stride), float(stride)
        return float(batch_size[0] // size[0]), float(batch_size[1] // size[1])


def cell_anchors(
    sizes: Sequence[float], aspect_ratios: Sequence[float], *, stride: int, rounding: Rounding, order: Order
) -> Tensor:
    """Anchors of one cell about its centre -> (A, 4) float32. Sizes are roots of areas, ratios height / width."""
    if rounding == "detectron":
        return _detectron_cell(sizes, aspect_ratios, stride)
    pairs = list(itertools.product(sizes, aspect_ratios))
    if order == "ratio_major":
        pairs = [(size, ratio) for ratio, size in itertools.product(aspect_ratios, sizes)]
    shapes = [(size / math.sqrt(ratio), size * math.sqrt(ratio)) for size, ratio in pairs]
    cell = torch.tensor([(-w / 2, -h / 2, w / 2, h / 2) for w, h in shapes], dtype=torch.float64).float()
    return cell.round() if rounding == "half_even" else cell


def _detectron_cell(sizes: Sequence[float], aspect_ratios: Sequence[float], stride: int) -> Tensor:
    """A box of one stride gets each ratio, with whole sides, and is then enlarged about (stride - 1) / 2."""
    centre = (stride - 1) / 2
    rows = []
    for ratio in aspect_ratios:
        width = np.round(math.sqrt(stride * stride / ratio))
        height = np.round(width * ratio)
        for size in sizes:
            half = (width * (size / stride) - 1) / 2, (height * (size / stride) - 1) / 2
            rows.append((centre - half[0], centre - half[1], centre + half[0], centre + half[1]))
    return torch.tensor(rows, dtype=torch.float64).float()


def _per_level(values: Sequence[Sequence[float]], count: int, name: str) -> list[Sequence[float]]:
    if len(values) not in (1, count):
        raise ConfigError(f"anchors.{name} has {len(values)} entries for {count} levels; give one for each, or one")
    return list(values) * (count if len(values) == 1 else 1)
