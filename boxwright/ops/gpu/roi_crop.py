"""RoICrop on the GPU: the kernels of RoIAlign with one sample a bin, and zeros outside the map."""

from collections.abc import Sequence

from torch import Tensor

from boxwright.ops.gpu.launch import refuse_if_deterministic
from boxwright.ops.gpu.sampling import pool_regions, spread_regions
from boxwright.ops.layout import MapShapes
from boxwright.ops.rules import PoolingRule

CONSTANTS = {"SAMPLING": 1, "ALIGNED": False, "IS_CROP": True}


def roi_crop(
    features: Sequence[Tensor], rois: Tensor, batch_index: Tensor, levels: Tensor, rule: PoolingRule
) -> Tensor:
    """As `reference.roi_crop`."""
    return pool_regions(features, rois, batch_index, levels, rule, CONSTANTS)


def roi_crop_backward(
    grad: Tensor, rois: Tensor, batch_index: Tensor, levels: Tensor, maps: MapShapes, rule: PoolingRule
) -> list[Tensor]:
    """As `reference.roi_crop_backward`; the order of the sums differs from run to run."""
    refuse_if_deterministic("roi_crop_backward")
    return spread_regions(grad, rois, batch_index, levels, maps, rule, CONSTANTS)
