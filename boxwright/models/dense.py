"""What a head that slides over the pyramid says of every anchor."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DensePredictions:
    """Lists over L levels, fine to coarse; level l has N_l anchors, ordered y, x, anchor of the cell."""

    logits: list[Tensor]  # (B, N_l), or (B, N_l, K) with K classes
    deltas: list[Tensor]  # (B, N_l, 4)
    anchors: list[Tensor]  # (N_l, 4) in the network frame
    map_sizes: list[tuple[int, int]]  # (H, W) of each level

    @property
    def all_anchors(self) -> Tensor:
        """(N, 4), N over all levels."""
        return torch.cat(self.anchors)

    @property
    def all_logits(self) -> Tensor:
        """(B, N) or (B, N, K), N over all levels."""
        return torch.cat(self.logits, dim=1)

    @property
    def all_deltas(self) -> Tensor:
        """(B, N, 4), N over all levels."""
        return torch.cat(self.deltas, dim=1)

    def at(self, image: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
        """(S,) image and anchor -> logits (S,) and deltas (S, 4)."""
        return self.all_logits[image, anchor], self.all_deltas[image, anchor]

    @property
    def level_of_anchor(self) -> Tensor:
        """(N,) int64."""
        device = self.anchors[0].device
        return torch.cat([torch.full((len(one),), level, device=device) for level, one in enumerate(self.anchors)])


def per_anchor(output: Tensor, channels: int) -> Tensor:
    """(B, A * channels, H, W) -> (B, H * W * A, channels); without copying where memory is channels-last."""
    return output.permute(0, 2, 3, 1).reshape(len(output), -1, channels)


def map_sizes(maps: Sequence[Tensor]) -> list[tuple[int, int]]:
    """(B, C, H, W) maps -> (H, W) of each."""
    return [(one_map.shape[2], one_map.shape[3]) for one_map in maps]
