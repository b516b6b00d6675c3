"""RoICrop on the CPU: the kernels of RoIAlign with one sample a bin."""

from collections.abc import Sequence

import torch
from torch import Tensor

from boxwright.ops.cpu.regions import SortedRegions, are_good, arrange, pool_regions, scale_rois, spread_regions
from boxwright.ops.layout import MapShapes
from boxwright.ops.rules import PoolingRule


def roi_crop(
    features: Sequence[Tensor], rois: Tensor, batch_index: Tensor, levels: Tensor, rule: PoolingRule
) -> Tensor:
    """As `reference.roi_crop`."""
    return pool_regions(features, _place(rois, batch_index, levels, features[0].shape[0], rule))


def roi_crop_backward(
    grad: Tensor, rois: Tensor, batch_index: Tensor, levels: Tensor, maps: MapShapes, rule: PoolingRule
) -> list[Tensor]:
    """As `reference.roi_crop_backward`; bitwise the same however many threads run."""
    return spread_regions(grad, _place(rois, batch_index, levels, maps.sizes[0], rule), maps)


def _place(rois: Tensor, batch_index: Tensor, levels: Tensor, num_images: int, rule: PoolingRule) -> SortedRegions:
    good = are_good(rois, batch_index, levels, num_images, len(rule.scales))
    scaled = scale_rois(torch.where(good[:, None], rois, 0), levels, rule.scales)
    first = scaled[:, :2].flip(1)  # y, x
    length = scaled[:, 2:].flip(1) - first
    num_points = torch.tensor(rule.output_size, dtype=rois.dtype)
    step = length / (num_points - 1).clamp(min=1)
    # A single point lies in the middle. The kernel samples the middle of each bin: begin half a bin before the point.
    first = torch.where(num_points == 1, first + length * 0.5, first)
    step = torch.where(num_points == 1, 0, step)
    geometry = torch.stack((first - 0.5 * step, step), dim=2).flatten(1)
    grids = torch.ones(len(rois), 2, dtype=torch.int64)
    return arrange(geometry, grids, good, batch_index, levels, rule, is_clamped=False)
