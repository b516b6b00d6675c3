"""RoIAlign on the CPU."""

from collections.abc import Sequence

import torch
from torch import Tensor

from boxwright.ops.cpu.regions import SortedRegions, are_good, arrange, pool_regions, scale_rois, spread_regions
from boxwright.ops.layout import MapShapes
from boxwright.ops.reference.roi_align import MAX_GRID
from boxwright.ops.rules import AlignRule


def roi_align(features: Sequence[Tensor], rois: Tensor, batch_index: Tensor, levels: Tensor, rule: AlignRule) -> Tensor:
    """As `reference.roi_align`."""
    return pool_regions(features, _place(rois, batch_index, levels, features[0].shape[0], rule))


def roi_align_backward(
    grad: Tensor, rois: Tensor, batch_index: Tensor, levels: Tensor, maps: MapShapes, rule: AlignRule
) -> list[Tensor]:
    """As `reference.roi_align_backward`; bitwise the same however many threads run."""
    return spread_regions(grad, _place(rois, batch_index, levels, maps.sizes[0], rule), maps)


def _place(rois: Tensor, batch_index: Tensor, levels: Tensor, num_images: int, rule: AlignRule) -> SortedRegions:
    good = are_good(rois, batch_index, levels, num_images, len(rule.scales))
    scaled = scale_rois(torch.where(good[:, None], rois, 0), levels, rule.scales) - (0.5 if rule.aligned else 0.0)
    start = scaled[:, :2].flip(1)  # y, x
    length = scaled[:, 2:].flip(1) - start
    bin_size = (length if rule.aligned else length.clamp(min=1)) / torch.tensor(rule.output_size, dtype=rois.dtype)
    if rule.sampling_ratio > 0:
        grids = torch.full(bin_size.shape, rule.sampling_ratio)
    else:
        grids = bin_size.ceil().clamp(0, MAX_GRID).long()
    geometry = torch.stack((start, bin_size), dim=2).flatten(1)
    return arrange(geometry, grids, good, batch_index, levels, rule, is_clamped=True)
