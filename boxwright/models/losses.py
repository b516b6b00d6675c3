"""Losses of classes and boxes, before any averaging."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from boxwright.models.box_coder import BoxCoder

ClassLossKind = Literal["cross_entropy", "sigmoid_cross_entropy", "focal"]
BoxLossKind = Literal["smooth_l1", "iou", "giou", "diou", "ciou"]
EPSILON = 1e-7

_counts_all_ranks: ContextVar[bool] = ContextVar("counts_all_ranks", default=False)


@contextmanager
def averages_over_all_ranks() -> Iterator[None]:
    """Inside, losses are averaged so that the mean of the ranks' losses is the loss of all their images together.

    Every rank must then compute its losses at the same time: each average waits for all.
    """
    before = _counts_all_ranks.set(True)
    try:
        yield
    finally:
        _counts_all_ranks.reset(before)


def at_least_one(count: Tensor) -> Tensor:
    """What a sum over `count` examples is divided by."""
    if not _counts_all_ranks.get():
        return count.clamp(min=1)
    total = count.detach().float().clone()
    distributed.all_reduce(total)
    return total.clamp(min=1) / distributed.get_world_size()


@dataclass(frozen=True, kw_only=True)
class ClassLoss:
    """The loss of R decisions among K classes and background, which is column K.

    The sigmoid kinds decide each of the K classes alone and do not read the background's column.
    """

    kind: ClassLossKind = "cross_entropy"
    weight: float = 1.0
    alpha: float = 0.25
    gamma: float = 2.0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(R, K + 1) logits, (R,) labels with K for background -> (R,)."""
        logits = logits.float()
        if self.kind == "cross_entropy":
            return self.weight * F.cross_entropy(logits, labels, reduction="none")
        targets = F.one_hot(labels, logits.shape[1])[:, :-1].to(logits.dtype)
        return self.weight * self.dense(logits[:, :-1], targets).sum(dim=1)

    def dense(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(R, K) logits and 0 / 1 targets -> (R, K), without the weight."""
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return loss if self.kind != "focal" else loss * _focus(logits, targets, alpha=self.alpha, gamma=self.gamma)

    def probabilities(self, logits: Tensor) -> Tensor:
        """(R, K + 1) logits -> (R, K) probabilities of the foreground classes."""
        logits = logits.float()
        return logits.softmax(dim=1)[:, :-1] if self.kind == "cross_entropy" else logits[:, :-1].sigmoid()


def _focus(logits: Tensor, targets: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """The weight of each decision in the focal loss: alpha or 1 - alpha, times its distance to the target ** gamma."""
    probability = logits.sigmoid()
    distance = probability * (1 - targets) + (1 - probability) * targets
    return (alpha * targets + (1 - alpha) * (1 - targets)) * distance**gamma


@dataclass(frozen=True, kw_only=True)
class BoxLoss:
    """The loss of P boxes that should be their objects: on deltas ("smooth_l1", L1 with beta 0) or decoded boxes."""

    kind: BoxLossKind = "smooth_l1"
    weight: float = 1.0
    beta: float = 0.0

    def __call__(self, deltas: Tensor, anchors: Tensor, objects: Tensor, coder: BoxCoder) -> Tensor:
        """(P, 4) deltas, (P, 4) anchors and (P, 4) objects in one frame -> (P,)."""
        deltas = deltas.float()
        if self.kind == "smooth_l1":
            return self.weight * smooth_l1(deltas, coder.encode(objects, anchors), beta=self.beta).sum(dim=1)
        return self.weight * iou_loss(coder.decode(deltas, anchors), objects, kind=self.kind)


def smooth_l1(values: Tensor, targets: Tensor, *, beta: float) -> Tensor:
    """Quadratic below `beta`, |difference| - beta / 2 above; elementwise."""
    distance = (values - targets).abs()
    if beta < 1e-5:
        return distance
    return torch.where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta)


def iou_loss(boxes: Tensor, targets: Tensor, *, kind: BoxLossKind) -> Tensor:
    """(P, 4) boxes and targets -> (P,): -log(IoU), or 1 - GIoU, 1 - DIoU, 1 - CIoU."""
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    target_size = targets[:, 2:] - targets[:, :2]
    overlap = torch.minimum(boxes[:, 2:], targets[:, 2:]) - torch.maximum(boxes[:, :2], targets[:, :2])
    inter = overlap.clamp(min=0).prod(dim=1)
    union = size.prod(dim=1) + target_size.prod(dim=1) - inter
    iou = inter / (union + EPSILON)
    if kind == "iou":
        return -iou.clamp(min=1e-6).log()
    hull = torch.maximum(boxes[:, 2:], targets[:, 2:]) - torch.minimum(boxes[:, :2], targets[:, :2])
    if kind == "giou":
        hull_area = hull.prod(dim=1)
        return 1 - iou + (hull_area - union) / (hull_area + EPSILON)
    shift = (boxes[:, :2] + boxes[:, 2:] - targets[:, :2] - targets[:, 2:]) / 2
    loss = 1 - iou + (shift**2).sum(dim=1) / ((hull**2).sum(dim=1) + EPSILON)
    return loss if kind == "diou" else loss + _shape_penalty(size, target_size, iou)


def _shape_penalty(size: Tensor, target_size: Tensor, iou: Tensor) -> Tensor:
    """CIoU's third term: how far the aspect ratio is off, weighted by how well the boxes overlap."""
    angle = torch.atan2(target_size[:, 0], target_size[:, 1]) - torch.atan(size[:, 0] / (size[:, 1] + EPSILON))
    off = (4 / math.pi**2) * angle**2
    with torch.no_grad():
        share = off / (1 - iou + off + EPSILON)
    return share * off


def no_loss(module: nn.Module) -> Tensor:
    """0, with a gradient of 0 for each weight of a part nothing went through: distributed training waits for it."""
    weights = [weight.sum() for weight in module.parameters() if weight.requires_grad]
    return torch.stack(weights).sum() * 0 if weights else torch.zeros(())
