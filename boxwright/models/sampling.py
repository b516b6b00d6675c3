"""Which examples train: a fixed number per image, with no more than a share of positives."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Choice = Literal["random", "first"]


@dataclass(frozen=True)
class Draw:
    """How examples are drawn: at random by `generator`, or the first by index, for results that can be repeated."""

    choice: Choice = "random"
    generator: torch.Generator | None = None

    def keys(self, shape: tuple[int, int], device: torch.device) -> Tensor:
        """(B, N) float32: the examples with the lowest keys are drawn."""
        if self.choice == "first":
            return torch.arange(shape[1], dtype=torch.float32, device=device).expand(shape)
        source = device if self.generator is None else self.generator.device
        return torch.rand(shape, generator=self.generator, device=source).to(device)


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """`size` examples per image, at most `positive_fraction` of them positive; the rest is filled with negatives.

    `kind` "all" takes every example, "ohem" those of the highest loss. `rounds_positives`: the share of positives is
    rounded instead of cut. `detectron_anchors`: the habit of Detectron's RPN, see `Conventions.rpn_sampling`.
    """

    size: int
    positive_fraction: float
    kind: Literal["random", "ohem", "all"] = "random"
    rounds_positives: bool = False
    detectron_anchors: bool = False

    @property
    def most_positives(self) -> int:
        wanted = self.size * self.positive_fraction
        return round(wanted) if self.rounds_positives else math.floor(wanted)

    def __call__(self, positive: Tensor, negative: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) bool candidates and (B, N) keys -> (B, N) bool positives and negatives that are drawn."""
        if self.kind == "all":
            return positive, negative
        if self.detectron_anchors:
            return self._detectron(positive, negative, keys)
        chosen = lowest(positive, keys, self.most_positives)
        return chosen, lowest(negative, keys, self.size - chosen.sum(dim=1), most=self.size)

    def _detectron(self, positive: Tensor, negative: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The surplus of positives is disabled from the front; negatives are enabled only where there is a surplus."""
        surplus = (positive.sum(dim=1) - self.most_positives).clamp(min=0)
        chosen = positive & ~lowest(positive, keys, surplus)
        wanted = self.size - chosen.sum(dim=1)
        enabled = lowest(negative, keys, wanted, most=self.size) & (negative.sum(dim=1) > wanted)[:, None]
        return chosen & ~enabled, enabled


def lowest(candidates: Tensor, keys: Tensor, limit: int | Tensor, *, most: int | None = None) -> Tensor:
    """(B, N) bool candidates and keys, a limit for all or (B,) for each image -> (B, N) bool: those of lowest keys.

    `most` bounds the limits where it is known, so that nothing waits for them.
    """
    if isinstance(limit, int):
        most = limit
    elif most is None:
        most = int(limit.max())
    found, index = keys.masked_fill(~candidates, torch.inf).topk(min(most, keys.shape[1]), dim=1, largest=False)
    place = torch.arange(found.shape[1], device=found.device)
    is_drawn = (found < torch.inf) & (place < (limit if isinstance(limit, int) else limit[:, None]))
    return torch.zeros_like(candidates).scatter(1, index, is_drawn)
