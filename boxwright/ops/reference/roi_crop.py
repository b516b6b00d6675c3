"""RoICrop in plain torch: the definition the other backends must match."""

from collections.abc import Sequence

import torch
from torch import Tensor

from boxwright.ops.layout import MapShapes, at_least_float32
from boxwright.ops.reference.roi_align import gradient_of_maps, stack_pooled
from boxwright.ops.rules import PoolingRule


def roi_crop(
    features: Sequence[Tensor], rois: Tensor, batch_index: Tensor, levels: Tensor, rule: PoolingRule
) -> Tensor:
    """L maps (B, C, Hl, Wl), (R, 4) RoIs in the network frame, (R,) image and (R,) level of each -> (R, C, ph, pw).

    One bilinear sample per output: the first and last lie on the corners of the RoI, the others evenly between (a
    single one lies in the middle). Pixels outside the map count as 0. Bad RoIs as in `roi_align`.
    """
    kind = torch.promote_types(features[0].dtype, torch.float32)
    pooled = []
    for roi, image, level in zip(rois, batch_index.tolist(), levels.tolist(), strict=True):
        if not (0 <= level < len(features) and 0 <= image < len(features[0]) and roi.isfinite().all()):
            pooled.append(features[0].new_zeros(features[0].shape[1], *rule.output_size, dtype=kind))
            continue
        one_map = features[level][image].to(kind)
        x1, y1, x2, y2 = at_least_float32(roi) * rule.scales[level]
        rows = _point_weights(y1, y2, rule.output_size[0], one_map.shape[1]).to(kind)
        columns = _point_weights(x1, x2, rule.output_size[1], one_map.shape[2]).to(kind)
        pooled.append(torch.einsum("ph,chw,qw->cpq", rows, one_map, columns))
    return stack_pooled(pooled, features, rule.output_size)


def roi_crop_backward(
    grad: Tensor, rois: Tensor, batch_index: Tensor, levels: Tensor, maps: MapShapes, rule: PoolingRule
) -> list[Tensor]:
    """(R, C, ph, pw) -> the gradient of each map, in its layout."""
    return gradient_of_maps(lambda *features: roi_crop(features, rois, batch_index, levels, rule), grad, maps)


def _point_weights(start: Tensor, end: Tensor, num_points: int, size: int) -> Tensor:
    """One axis of one RoI, in feature pixels -> (num_points, size)."""
    if num_points == 1:
        positions = (start + (end - start) * 0.5)[None]
    else:
        positions = start + torch.arange(num_points, dtype=start.dtype, device=start.device) * (
            (end - start) / (num_points - 1)
        )
    low = positions.floor()
    weights = positions.new_zeros(num_points, size)
    for index, share in ((low, 1 - (positions - low)), (low + 1, positions - low)):
        is_inside = (index >= 0) & (index <= size - 1)
        index = torch.where(is_inside, index, 0).long()[:, None]
        weights = weights.scatter_add(1, index, torch.where(is_inside, share, 0)[:, None])
    return weights
