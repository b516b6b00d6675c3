"""RoIAlign on the CPU."""

from collections.abc import Sequence

import torch
from torch import Tensor

from boxwright.ops.cpu.regions import Regions, are_good, arrange, pool_regions, scale_rois, spread_regions
from boxwright.ops.reference.roi_align import MAX_GRID


def roi_align(
    features: Sequence[Tensor],
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    *,
    scales: Sequence[float],
    output_size: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """As `reference.roi_align`."""
    num_images = features[0].shape[0]
    regions = _regions(rois, batch_index, levels, num_images, scales, output_size, sampling_ratio, aligned)
    return pool_regions(features, regions)


def roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    *,
    sizes: Sequence[int],
    channels_last: bool,
    scales: Sequence[float],
    output_size: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> list[Tensor]:
    """As `reference.roi_align_backward`; bitwise the same however many threads run."""
    regions = _regions(rois, batch_index, levels, sizes[0], scales, output_size, sampling_ratio, aligned)
    return spread_regions(grad, regions, sizes, channels_last)


def _regions(
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    num_images: int,
    scales: Sequence[float],
    output_size: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> Regions:
    good = are_good(rois, batch_index, levels, num_images, len(scales))
    scaled = scale_rois(torch.where(good[:, None], rois, 0), levels, scales) - (0.5 if aligned else 0.0)
    start = scaled[:, :2].flip(1)  # y, x
    length = scaled[:, 2:].flip(1) - start
    bin_size = (length if aligned else length.clamp(min=1)) / torch.tensor(output_size, dtype=rois.dtype)
    if sampling_ratio > 0:
        grids = torch.full(bin_size.shape, sampling_ratio)
    else:
        grids = bin_size.ceil().clamp(0, MAX_GRID).long()
    geometry = torch.stack((start, bin_size), dim=2).flatten(1)
    return arrange(
        geometry, grids, good, batch_index, levels, num_levels=len(scales), num_bins=output_size, is_clamped=True
    )
