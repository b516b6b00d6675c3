"""RoIAlign in plain torch: the definition the other backends must match.

The mean of a regular grid of bilinear samples is separable: each bin is (a row of weights over the map's rows) x map x
(a column of weights over its columns). So a RoI's output is one matrix product on either side of its map.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from boxwright.ops.layout import (
    MapShapes,
    at_least_float32,
    empty_maps,
    empty_pooled,
    is_channels_last,
    memory_format,
)
from boxwright.ops.rules import AlignRule

# An adaptive grid has about one sample per feature pixel. Only a RoI thousands of feature pixels wide reaches this cap,
# which bounds the work that a wild but finite coordinate can ask for.
MAX_GRID = 1024


def roi_align(features: Sequence[Tensor], rois: Tensor, batch_index: Tensor, levels: Tensor, rule: AlignRule) -> Tensor:
    """L maps (B, C, Hl, Wl), (R, 4) RoIs in the network frame, (R,) image and (R,) level of each -> (R, C, ph, pw).

    A RoI with a coordinate that is not finite, or whose image or level does not exist, gives zeros and takes no
    gradient. Sums are taken in float32 or better; the result has the type of the features.
    """
    kind = torch.promote_types(features[0].dtype, torch.float32)
    pooled = []
    for roi, image, level in zip(rois, batch_index.tolist(), levels.tolist(), strict=True):
        if not (0 <= level < len(features) and 0 <= image < len(features[0]) and roi.isfinite().all()):
            pooled.append(features[0].new_zeros(features[0].shape[1], *rule.output_size, dtype=kind))
            continue
        one_map = features[level][image].to(kind)
        x1, y1, x2, y2 = at_least_float32(roi) * rule.scales[level] - (0.5 if rule.aligned else 0.0)
        rows = _bin_weights(y1, y2, rule.output_size[0], one_map.shape[1], rule).to(kind)
        columns = _bin_weights(x1, x2, rule.output_size[1], one_map.shape[2], rule).to(kind)
        pooled.append(torch.einsum("ph,chw,qw->cpq", rows, one_map, columns))
    return stack_pooled(pooled, features, rule.output_size)


def roi_align_backward(
    grad: Tensor, rois: Tensor, batch_index: Tensor, levels: Tensor, maps: MapShapes, rule: AlignRule
) -> list[Tensor]:
    """(R, C, ph, pw) -> the gradient of each map, in its layout."""
    return gradient_of_maps(lambda *features: roi_align(features, rois, batch_index, levels, rule), grad, maps)


def gradient_of_maps(pool: Callable[..., Tensor], grad: Tensor, maps: MapShapes) -> list[Tensor]:
    """What comes back for each map where `pool`, linear in them, makes one tensor of the maps."""
    features = empty_maps(grad, maps)
    grads = torch.func.vjp(pool, *(f.zero_() for f in features))[1](grad)
    return [f.copy_(g) for f, g in zip(features, grads, strict=True)]


def stack_pooled(pooled: list[Tensor], features: Sequence[Tensor], output_size: tuple[int, int]) -> Tensor:
    """R results (C, ph, pw) -> (R, C, ph, pw) in the type and layout of the features."""
    if not pooled:
        return empty_pooled(features, 0, output_size)
    return torch.stack(pooled).to(features[0].dtype, memory_format=memory_format(is_channels_last(features)))


def _bin_weights(start: Tensor, end: Tensor, num_bins: int, size: int, rule: AlignRule) -> Tensor:
    """One axis of one RoI, in feature pixels -> (num_bins, size): how much of each pixel each bin holds."""
    length = end - start if rule.aligned else (end - start).clamp(min=1)
    bin_size = length / num_bins
    grid = rule.sampling_ratio if rule.sampling_ratio > 0 else int(min(max(math.ceil(bin_size), 0), MAX_GRID))
    if grid == 0:
        return start.new_zeros(num_bins, size)
    bins = torch.arange(num_bins, dtype=start.dtype, device=start.device)
    samples = torch.arange(grid, dtype=start.dtype, device=start.device)
    positions = (start + bins * bin_size)[:, None] + (samples + 0.5) * bin_size / grid
    return _clamped_weights(positions, size)


def _clamped_weights(positions: Tensor, size: int) -> Tensor:
    """(bins, samples) positions -> (bins, size). Up to one pixel outside counts as the border; farther counts as 0."""
    is_inside = (positions >= -1) & (positions <= size)
    positions = torch.where(is_inside, positions, 0).clamp(min=0, max=size - 1)
    low = positions.floor()
    high_share = positions - low
    low_index = low.long()
    share = is_inside.to(positions.dtype) / positions.shape[1]
    weights = positions.new_zeros(len(positions), size)
    weights = weights.scatter_add(1, low_index, (1 - high_share) * share)
    return weights.scatter_add(1, (low_index + 1).clamp(max=size - 1), high_share * share)
