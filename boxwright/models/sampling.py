"""Which examples train: a fixed number per image, with no more than a share of positives."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from boxwright.transfer import send

DrawKind = Literal["random", "first"]
SEEDS = 2**62  # seeds are below
RPN_STREAM, KEYPOINT_STREAM, BOX_STREAM = 0, 1, 2  # and one more for each stage of a cascade


@dataclass(frozen=True)
class Rows:
    """R examples of a batch, image by image."""

    image: Tensor  # (R,) int64
    place: Tensor  # (R,) int64, in the image
    is_real: Tensor  # (R,) bool; the others are padding, and any example of their image


@dataclass(frozen=True)
class Draw:
    """How examples are drawn: at random by `seeds`, (B,) int64, or the first by index, to compare programs.

    A random key depends on its image's seed, its number in the image and `stream` alone: neither on the other images
    of the batch nor on the device, so that the same images train alike however they are spread over processes.
    `pads`: as many rows are worked on as there may be, not as there are, so that a GPU need not wait for the host to
    count.
    """

    kind: DrawKind = "random"
    seeds: Tensor | None = None
    pads: bool = False

    def rows(self, drawn: Tensor, *, most: int) -> Rows:
        """(B, N) bool, of which no more than `most` of an image are set -> those."""
        if self.pads:
            return _padded_rows(drawn, min(most, drawn.shape[1]))
        image, place = drawn.nonzero(as_tuple=True)
        return Rows(image, place, torch.ones_like(image, dtype=torch.bool))

    def keys(
        self, shape: tuple[int, int], device: torch.device, *, stream: int, numbers: Tensor | None = None
    ) -> Tensor:
        """(B, N) float32: the examples with the lowest keys are drawn. Each use has a `stream` of its own.

        `numbers`, (B, N) int64, are the examples' own, where their places are not: those of proposals in the order of
        scores change with the last bit of a score.
        """
        places = torch.arange(shape[1], device=device)
        if self.kind == "first":
            return places.float().expand(shape)
        seeds = torch.randint(SEEDS, (shape[0],)) if self.seeds is None else self.seeds
        starts = send(_mixed(seeds * 1021 + stream), device)
        return (_mixed(starts[:, None] + (places if numbers is None else numbers)) >> 40 & 0xFFFFFF).float() / 2**24


def _padded_rows(drawn: Tensor, most: int) -> Rows:
    """`most` rows of each image, those that are drawn first, in their order."""
    num_images, count = drawn.shape
    slots = torch.arange(most, device=drawn.device)
    if most == count:
        place, is_real = slots.expand(num_images, most), drawn
    else:
        behind = torch.where(drawn, drawn.cumsum(dim=1) - 1, most)
        places = torch.arange(count, device=drawn.device).expand(num_images, count)
        place = places.new_zeros(num_images, most + 1).scatter(1, behind, places)[:, :most]
        is_real = slots < drawn.sum(dim=1, keepdim=True)
    image = torch.arange(num_images, device=drawn.device).repeat_interleave(most)
    return Rows(image, place.flatten(), is_real.flatten())


def _mixed(values: Tensor) -> Tensor:
    """int64 -> int64 in which every bit depends on every bit: the finaliser of SplitMix64."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15), (31, 1)):
        values = (values ^ (values >> shift & (1 << 64 - shift) - 1)) * factor
    return values


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
        """Of an image, unless all examples are taken."""
        wanted = self.size * self.positive_fraction
        return round(wanted) if self.rounds_positives else math.floor(wanted)

    def most(self, count: int) -> int:
        """How many of `count` candidates of an image may be drawn."""
        return count if self.kind == "all" else min(self.size, count)

    def most_positives_of(self, count: int) -> int:
        """How many of `count` candidates of an image may be drawn as positives."""
        return count if self.kind == "all" else min(self.most_positives, count)

    def __call__(self, positive: Tensor, negative: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) bool candidates and (B, N) keys -> (B, N) bool positives and negatives that are drawn."""
        if self.kind == "all":
            return positive, negative
        if self.detectron_anchors:
            return self._detectron(positive, negative, keys)
        chosen = lowest(positive, keys, self.most_positives)
        return chosen, lowest(negative, keys, self.size, self.size - chosen.sum(dim=1))

    def _detectron(self, positive: Tensor, negative: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The surplus of positives is disabled from the front; negatives are enabled only where there is a surplus."""
        chosen = lowest(positive, keys.neg(), self.most_positives)
        wanted = self.size - chosen.sum(dim=1)
        enabled = lowest(negative, keys, self.size, wanted) & (negative.sum(dim=1) > wanted)[:, None]
        return chosen & ~enabled, enabled


def lowest(candidates: Tensor, keys: Tensor, most: int, limit: Tensor | None = None) -> Tensor:
    """(B, N) bool candidates and keys -> (B, N) bool: the `most` of each image with the lowest keys.

    `limit`, (B,), leaves an image fewer.
    """
    found, index = keys.masked_fill(~candidates, torch.inf).topk(min(most, keys.shape[1]), dim=1, largest=False)
    is_drawn = found < torch.inf
    if limit is not None:
        is_drawn &= torch.arange(found.shape[1], device=found.device) < limit[:, None]
    return torch.zeros_like(candidates).scatter(1, index, is_drawn)
