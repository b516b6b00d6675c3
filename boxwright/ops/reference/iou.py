"""Pairwise overlap of boxes in plain torch: the definition the other backends must match."""

import torch
from torch import Tensor


def box_iou(a: Tensor, b: Tensor, *, offset: float) -> Tensor:
    """(N, 4) and (M, 4) boxes -> (N, M) intersection over union; a pair without union gives 0, NaN gives NaN."""
    inter, union = _inter_and_union(a, b, offset)
    return torch.where(union == 0, torch.zeros_like(inter), inter / union)


def generalized_box_iou(a: Tensor, b: Tensor) -> Tensor:
    """(N, 4) and (M, 4) boxes -> (N, M) IoU less the share of the hull that the union leaves empty, in -1..1."""
    inter, union = _inter_and_union(a, b, 0.0)
    iou = torch.where(union == 0, torch.zeros_like(inter), inter / union)
    hull_size = (torch.maximum(a[:, None, 2:], b[:, 2:]) - torch.minimum(a[:, None, :2], b[:, :2])).clamp(min=0)
    hull = hull_size[..., 0] * hull_size[..., 1]
    return iou - torch.where(hull == 0, torch.zeros_like(hull), (hull - union) / hull)


def _inter_and_union(a: Tensor, b: Tensor, offset: float) -> tuple[Tensor, Tensor]:
    area_a, area_b = ((x[:, 2] - x[:, 0] + offset) * (x[:, 3] - x[:, 1] + offset) for x in (a, b))
    top_left = torch.maximum(a[:, None, :2], b[:, :2])
    bottom_right = torch.minimum(a[:, None, 2:], b[:, 2:])
    size = (bottom_right - top_left + offset).clamp(min=0)
    inter = size[..., 0] * size[..., 1]
    return inter, area_a[:, None] + area_b - inter
