"""Which object each anchor or region belongs to, by IoU."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from boxwright import ops

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1


@dataclass(frozen=True)
class Matches:
    """Of N boxes of one image: the object each belongs to, its IoU with it, and whether that makes it an example."""

    index: Tensor  # (N,) int64, among the objects given; 0 where there are none
    iou: Tensor  # (N,) with the best object; 0 where there are none
    label: Tensor  # (N,) int8: POSITIVE, NEGATIVE or IGNORED


@dataclass(frozen=True, kw_only=True)
class Matcher:
    """A box whose best IoU is `positive_iou` or more is positive, below `negative_iou` negative, else ignored.

    `low_quality` makes each object's best boxes (all that share the best IoU) positive too, if that IoU reaches
    `low_quality_iou` and is not 0; they belong to their own best object, or with `claiming` to the last object that
    claims them. Below `negative_iou_low` a box is ignored.
    """

    positive_iou: float
    negative_iou: float
    negative_iou_low: float = 0.0
    low_quality: bool = False
    low_quality_iou: float = 0.0
    low_quality_owner: Literal["own_best", "claiming"] = "own_best"
    offset: float = 0.0

    def __call__(self, objects: Tensor, boxes: Tensor, takes_part: Tensor | None = None) -> Matches:
        """(G, 4) objects and (N, 4) boxes of one image, in one frame.

        takes_part (N,) bool: the other boxes match nothing and are nobody's best.
        """
        if not len(objects) or not len(boxes):
            none = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
            return Matches(none, none.to(boxes.dtype), none.to(torch.int8))
        iou = ops.box_iou(objects, boxes, offset=self.offset)
        if takes_part is not None:
            iou = iou.masked_fill(~takes_part, -1)
        best, index = iou.max(dim=0)
        label = torch.full_like(index, IGNORED, dtype=torch.int8)
        label[(best < self.negative_iou) & (best >= self.negative_iou_low)] = NEGATIVE
        label[best >= self.positive_iou] = POSITIVE
        if self.low_quality:
            index, label = self._with_low_quality(iou, index, label)
        return Matches(index, best, label)

    def is_below(self, matches: Matches) -> Tensor:
        """(N,) bool: boxes that are negative by their IoU alone."""
        return (matches.iou < self.negative_iou) & (matches.iou >= self.negative_iou_low)

    def _with_low_quality(self, iou: Tensor, index: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        best = iou.amax(dim=1, keepdim=True)
        # A best IoU of 0 would claim every box that misses the object.
        claims = (iou == best) & (best >= self.low_quality_iou) & (best > 0)
        is_claimed = claims.any(dim=0)
        label = torch.where(is_claimed, POSITIVE, label)
        if self.low_quality_owner == "claiming":
            number = torch.arange(1, len(iou) + 1, device=iou.device)[:, None]
            last = (claims * number).amax(dim=0) - 1
            index = torch.where(is_claimed, last, index)
        return index, label


def covered_share(boxes: Tensor, crowds: Tensor, *, offset: float) -> Tensor:
    """(N, 4) boxes and (C, 4) crowd objects of one image -> (N,) largest share of each box inside a crowd object."""
    if not len(crowds):
        return boxes.new_zeros(len(boxes))
    near = torch.maximum(boxes[:, None, :2], crowds[:, :2])
    far = torch.minimum(boxes[:, None, 2:], crowds[:, 2:])
    inside = (far - near + offset).clamp(min=0).prod(dim=2)
    area = (boxes[:, 2:] - boxes[:, :2] + offset).prod(dim=1).clamp(min=1e-6)
    return (inside / area[:, None]).amax(dim=1)
