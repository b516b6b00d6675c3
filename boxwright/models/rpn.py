"""The region proposal network: object or not, and where exactly, for every anchor."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boxwright.models.anchors import Anchors
from boxwright.models.assignment import AnchorAssigner
from boxwright.models.box_coder import BoxCoder
from boxwright.models.dense import DensePredictions, map_sizes, per_anchor
from boxwright.models.frames import Frames
from boxwright.models.layers import ConvNorm, activate
from boxwright.models.losses import BoxLoss, at_least_one
from boxwright.models.matching import NEGATIVE, POSITIVE
from boxwright.models.objects import Objects
from boxwright.models.proposals import ProposalSelector
from boxwright.models.sampling import RPN_STREAM, Draw, Rows, Sampler
from boxwright.transfer import send

PredictionsAt = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
ClassAverage = Literal["batch_size", "sampled", "sampled_or_one", "per_level"]
BoxAverage = Literal["batch_size", "sampled", "sampled_or_one", "per_image"]


class RPNHead(nn.Module):
    """3x3 convolutions with ReLU, then 1x1 ones for logits and deltas; one set of weights for all levels.

    Keys: convs.0.weight, convs.0.bias, ..., score.weight, score.bias, delta.weight, delta.bias. Of A anchors per cell
    anchor a has logit a and deltas 4 a to 4 a + 3. With `two_logits` (softmax) it has logits 2 a for object and
    2 a + 1 for background, of which only the difference counts.
    """

    def __init__(self, *, in_channels: int, conv_channels: Sequence[int], two_logits: bool, num_anchors: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        for channels in conv_channels:
            self.convs.append(ConvNorm(in_channels, channels, kernel_size=3, activation="relu"))
            in_channels = channels
        self.two_logits = two_logits
        self.num_anchors = num_anchors
        self.score = ConvNorm(in_channels, num_anchors * (2 if two_logits else 1), kernel_size=1)
        self.delta = ConvNorm(in_channels, num_anchors * 4, kernel_size=1)
        for layer in [*self.convs, self.score, self.delta]:
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps (B, C, H, W) of the levels -> per level logits (B, H W A) and deltas (B, H W A, 4)."""
        logits, deltas = [], []
        for x in maps:
            for conv in self.convs:
                x = conv(x)
            logits.append(self._logits(self.score(x)))
            deltas.append(per_anchor(self.delta(x), 4))
        return logits, deltas

    def _logits(self, scores: Tensor) -> Tensor:
        if not self.two_logits:
            return per_anchor(scores, 1)[..., 0]
        both = per_anchor(scores, 2)
        return both[..., 0] - both[..., 1]

    @property
    def recomputes(self) -> bool:
        """Whether `at` can be called: one convolution without a norm stands between the map and the logits."""
        return len(self.convs) == 1 and cast(ConvNorm, self.convs[0]).norm is None

    def at(self, maps: Sequence[Tensor], image: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (S,) and deltas (S, 4) of S anchors, computed from the cells around them alone."""
        cell = anchor // self.num_anchors
        of_cell = anchor - cell * self.num_anchors
        conv = cast(ConvNorm, self.convs[0])
        around = neighbourhoods(maps, image, cell)
        x = activate(F.linear(around, conv.weight.permute(0, 2, 3, 1).flatten(1), conv.bias), conv.activation)
        scores, deltas = (F.linear(x, layer.weight.flatten(1), layer.bias) for layer in (self.score, self.delta))
        deltas = deltas.view(len(x), self.num_anchors, 4)
        row = torch.arange(len(x), device=x.device)
        if not self.two_logits:
            return scores[row, of_cell], deltas[row, of_cell]
        return scores[row, 2 * of_cell] - scores[row, 2 * of_cell + 1], deltas[row, of_cell]


class RPN(nn.Module):
    """A head over the levels, its anchors, and what is made of both.

    Keys: head.*. Another head is a module that takes maps and gives logits and deltas as `RPNHead.forward` does.
    """

    def __init__(
        self, *, head: nn.Module, anchors: Anchors, select: ProposalSelector, training_loss: "RPNLoss"
    ) -> None:
        super().__init__()
        self.head = head
        self.anchors = anchors
        self.select = select
        self.training_loss = training_loss

    @property
    def levels(self) -> tuple[str, ...]:
        """Those that it reads, fine to coarse."""
        return tuple(self.anchors.strides)

    def forward(self, features: Mapping[str, Tensor], batch_size: tuple[int, int]) -> DensePredictions:
        """Maps (B, C, H, W) by level, (height, width) of the padded batch -> logits (B, N_l) and deltas."""
        maps = self._maps(features)
        logits, deltas = self.head(maps)
        return DensePredictions(logits, deltas, self.anchors(maps, batch_size), map_sizes(maps))

    def predict_for_training(self, features: Mapping[str, Tensor], batch_size: tuple[int, int]) -> DensePredictions:
        """As `forward`, without gradients where `losses` computes the few anchors it draws a second time.

        Of some 80,000 cells an image some 200 have a loss; all others would have gradients of zero.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._recompute_sampled is None):
            return self(features, batch_size)  # type: ignore[no-any-return]

    def losses(
        self,
        features: Mapping[str, Tensor],
        dense: DensePredictions,
        objects: Objects,
        frames: Frames,
        draw: Draw,
    ) -> dict[str, Tensor]:
        """-> loss_rpn_class and loss_rpn_box; `dense` is what `predict_for_training` said of `features`."""
        recompute = self._recompute_sampled
        at = dense.at if recompute is None else partial(recompute, self._maps(features))
        return self.training_loss(dense, objects, frames, draw, self.anchors, at)

    @property
    def _recompute_sampled(self) -> Callable[..., tuple[Tensor, Tensor]] | None:
        return self.head.at if isinstance(self.head, RPNHead) and self.head.recomputes else None

    def _maps(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        return [features[level] for level in self.levels]


@dataclass(frozen=True, kw_only=True)
class RPNLoss:
    """Anchors get their objects, some are drawn, and the losses averaged; habits as in `Conventions`."""

    coder: BoxCoder
    assigner: AnchorAssigner
    sampler: Sampler
    box_loss: BoxLoss
    class_weight: float
    class_average: ClassAverage
    box_average: BoxAverage

    def __call__(
        self, dense: DensePredictions, objects: Objects, frames: Frames, draw: Draw, anchors: Anchors, at: PredictionsAt
    ) -> dict[str, Tensor]:
        """`at` gives logits (S,) and deltas (S, 4), with gradients, of anchors by their (S,) image and number."""
        logits = dense.all_logits.detach().float()
        assigned = self.assigner(dense, objects, frames, anchors)
        positive, negative = assigned.label == POSITIVE, assigned.label == NEGATIVE
        if self.sampler.detectron_anchors:
            negative = assigned.is_below
        with torch.no_grad():
            keys = _losses(logits, positive).neg() if self.sampler.kind == "ohem" else None
            if keys is None:
                keys = draw.keys((logits.shape[0], logits.shape[1]), logits.device, stream=RPN_STREAM)
            positive, negative = self.sampler(positive, negative, keys)
        rows = draw.rows(positive | negative, most=self.sampler.most(positive.shape[1]))
        is_positive = positive[rows.image, rows.place] & rows.is_real
        drawn, deltas = at(rows.image, rows.place)
        class_loss = _losses(drawn.float(), is_positive).masked_fill(~rows.is_real, 0)
        places = targets = dense.all_anchors[rows.place]
        if len(assigned.objects):
            targets = assigned.objects.boxes[assigned.owner[rows.image, rows.place]]
        box_loss = self.box_loss(deltas, places, targets, self.coder).masked_fill(~is_positive, 0)
        return {
            "loss_rpn_class": self._mean_class_loss(class_loss, rows, positive, negative, dense),
            "loss_rpn_box": self._mean_box_loss(box_loss, rows, positive, negative),
        }

    def _mean_class_loss(
        self, loss: Tensor, rows: Rows, positive: Tensor, negative: Tensor, dense: DensePredictions
    ) -> Tensor:
        """(S,) losses of the drawn anchors."""
        loss = loss * self.class_weight
        if self.class_average != "per_level":
            return loss.sum() / self._count(positive, negative, self.class_average)
        level = dense.level_of_anchor[rows.place]
        is_of_level = level[:, None] == torch.arange(len(dense.anchors), device=level.device)
        counts = at_least_one((is_of_level & rows.is_real[:, None]).sum(dim=0))
        return (loss / counts[level]).sum()

    def _mean_box_loss(self, loss: Tensor, rows: Rows, positive: Tensor, negative: Tensor) -> Tensor:
        """(S,) losses of the drawn anchors, 0 where they are not positive."""
        if self.box_average != "per_image":
            return loss.sum() / self._count(positive, negative, self.box_average)
        counts = (positive | negative).sum(dim=1).clamp(min=1)
        return (loss / counts[rows.image]).sum() / len(counts)

    def _count(self, positive: Tensor, negative: Tensor, average: str) -> Tensor | float:
        if average == "batch_size":
            return float(self.sampler.size * len(positive))
        if average == "sampled":
            return at_least_one(positive.sum() + negative.sum())
        return at_least_one((positive.sum(dim=1).clamp(min=1) + negative.sum(dim=1).clamp(min=1)).sum())


def neighbourhoods(maps: Sequence[Tensor], image: Tensor, cell: Tensor) -> Tensor:
    """The 3 x 3 cells around each of S cells -> (S, 9 C), as y, x, channel; zeros outside the map.

    Maps (B, C, H, W), fine to coarse; (S,) image of each, and its index among the cells of all levels.
    """
    sizes = torch.tensor([x.shape[2:] for x in maps])
    ends = sizes.prod(dim=1).cumsum(0)
    level = torch.bucketize(cell, send(ends, cell.device), right=True)
    of_levels = send(torch.stack((sizes[:, 0], sizes[:, 1], ends - sizes.prod(dim=1))), cell.device)
    height, width, first = of_levels[:, level, None, None]
    here, step = cell[:, None, None] - first, torch.arange(-1, 2, device=cell.device)
    row, column = here // width + step[:, None], here % width + step
    is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = (image[:, None, None] * height + row) * width + column
    found = maps[0].new_zeros(index.numel(), maps[0].shape[1])
    for number, x in enumerate(maps):
        is_read = (is_inside & (level == number)[:, None, None]).flatten()
        cells = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        found = torch.where(is_read[:, None], cells.index_select(0, index.flatten().where(is_read, 0)), found)
    return found.view(len(cell), 9 * maps[0].shape[1])


def _losses(logits: Tensor, positive: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
