"""From regions to tensors of one size, each from the level of the pyramid that fits it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from boxwright import ops


@dataclass(frozen=True, kw_only=True)
class LevelRule:
    """A region of `canonical_size` squared belongs to level `canonical_level`; twice the side is one level up.

    Levels count as log2 of the stride. `epsilon` keeps sizes on the border of two levels in the upper one; it stands
    inside the logarithm, or is added to it.
    """

    canonical_size: float = 224.0
    canonical_level: int = 4
    epsilon: float = 1e-8
    epsilon_inside: bool = True
    offset: float = 0.0

    def __call__(self, boxes: Tensor, *, lowest: int, highest: int) -> Tensor:
        """(R, 4) boxes in the network frame -> (R,) int64, 0 for level `lowest`."""
        sides = (boxes[:, 2:] - boxes[:, :2] + self.offset).clamp(min=0)
        size = sides.prod(dim=1).sqrt() / self.canonical_size
        if self.epsilon_inside:
            level = self.canonical_level + torch.log2(size + self.epsilon)
        else:
            level = self.canonical_level + torch.log2(size) + self.epsilon
        return level.floor().clamp(lowest, highest).long() - lowest


@dataclass(frozen=True, kw_only=True)
class RegionPooler:
    """Reads `levels`, fine to coarse, with `strides`; no weights."""

    levels: Sequence[str]
    strides: Sequence[int]
    size: int
    kind: Literal["align", "pool", "crop"] = "align"
    sampling_ratio: int = 0
    aligned: bool = True
    level_rule: LevelRule = LevelRule()

    def __call__(self, features: Mapping[str, Tensor], boxes: Tensor, image: Tensor) -> Tensor:
        """Maps (B, C, H, W) by level, (R, 4) boxes in the network frame, (R,) image -> (R, C, size, size)."""
        maps = [features[level] for level in self.levels]
        where = (boxes, image, self.level_of(boxes))
        scales = [1 / stride for stride in self.strides]
        size = (self.size, self.size)
        if self.kind == "pool":
            return ops.roi_pool(maps, *where, scales=scales, output_size=size)
        if self.kind == "crop":
            return ops.roi_crop(maps, *where, scales=scales, output_size=size)
        return ops.roi_align(
            maps,
            *where,
            scales=scales,
            output_size=size,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
        )

    def level_of(self, boxes: Tensor) -> Tensor:
        """(R, 4) -> (R,) int64 index into `levels`. Of two levels with one stride the first is read."""
        if len(self.levels) == 1:
            return torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
        lowest, highest = int(math.log2(self.strides[0])), int(math.log2(self.strides[-1]))
        return self.level_rule(boxes, lowest=lowest, highest=highest)
