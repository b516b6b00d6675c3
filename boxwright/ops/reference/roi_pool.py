"""RoIPool in plain torch: the definition the other backends must match."""

from collections.abc import Sequence

import torch
from torch import Tensor

from boxwright.ops.layout import MapShapes, at_least_float32, empty_maps, is_channels_last, memory_format
from boxwright.ops.rules import PoolingRule


def roi_pool(
    features: Sequence[Tensor], rois: Tensor, batch_index: Tensor, levels: Tensor, rule: PoolingRule
) -> tuple[Tensor, Tensor]:
    """L maps (B, C, Hl, Wl), (R, 4) RoIs in the network frame, (R,) image and (R,) level of each ->
    (R, C, ph, pw) largest value of each bin and (R, C, ph, pw) int64 y * W + x where it was found.

    Corners are rounded to whole pixels (halves away from zero) and both belong to the RoI. An empty bin gives 0 and
    index -1; NaN wins over every number; the first of equal values is found. Bad RoIs as in `roi_align`.
    """
    num_channels = features[0].shape[1]
    shape = (len(rois), num_channels, *rule.output_size)
    out = features[0].new_zeros(shape)
    where = torch.full(shape, -1, dtype=torch.int64, device=rois.device)
    for r, (roi, image, level) in enumerate(zip(rois, batch_index.tolist(), levels.tolist(), strict=True)):
        if not (0 <= level < len(features) and 0 <= image < len(features[0]) and roi.isfinite().all()):
            continue
        one_map = features[level][image]
        height, width = one_map.shape[1:]
        scaled = at_least_float32(roi) * rule.scales[level]
        x1, y1, x2, y2 = torch.sign(scaled) * torch.floor(scaled.abs() + 0.5)
        for p, (top, bottom) in enumerate(_bins(y1, y2, rule.output_size[0], height)):
            for q, (left, right) in enumerate(_bins(x1, x2, rule.output_size[1], width)):
                if bottom > top and right > left:
                    best, index = one_map[:, top:bottom, left:right].flatten(1).max(dim=1)
                    out[r, :, p, q] = best
                    rows, columns = index // (right - left) + top, index % (right - left) + left
                    where[r, :, p, q] = rows * width + columns
    layout = memory_format(is_channels_last(features))
    return out.contiguous(memory_format=layout), where.contiguous(memory_format=layout)


def roi_pool_backward(
    grad: Tensor, where: Tensor, batch_index: Tensor, levels: Tensor, maps: MapShapes
) -> list[Tensor]:
    """(R, C, ph, pw) and where each maximum was found -> the gradient of each map."""
    kind = torch.promote_types(grad.dtype, torch.float32)
    grads = empty_maps(grad, maps)
    for level, one in enumerate(grads):
        flat = torch.zeros(one.shape, dtype=kind, device=grad.device).flatten(2)
        for r in (levels == level).nonzero()[:, 0].tolist():
            image = int(batch_index[r])
            if 0 <= image < len(flat):
                index, value = where[r].flatten(1), grad[r].to(kind).flatten(1)
                flat[image].scatter_add_(1, index.clamp(min=0), torch.where(index >= 0, value, 0))
        one.copy_(flat.view(one.shape))
    return grads


def _bins(start: Tensor, end: Tensor, num_bins: int, size: int) -> list[tuple[int, int]]:
    """One axis of one RoI in whole pixels -> first and one-past-last pixel of each bin, inside the map."""
    bin_size = (end - start + 1).clamp(min=1) / num_bins
    bins = torch.arange(num_bins, dtype=start.dtype, device=start.device)
    first = (torch.floor(bins * bin_size) + start).clamp(0, size)
    last = (torch.ceil((bins + 1) * bin_size) + start).clamp(0, size)
    return list(zip(first.int().tolist(), last.int().tolist(), strict=True))
