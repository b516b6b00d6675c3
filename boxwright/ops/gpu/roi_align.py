"""RoIAlign on the GPU: all levels in one launch."""

from collections.abc import Sequence

from torch import Tensor

from boxwright.ops.gpu.launch import refuse_if_deterministic
from boxwright.ops.gpu.sampling import pool_regions, spread_regions
from boxwright.ops.layout import MapShapes
from boxwright.ops.rules import AlignRule


def roi_align(features: Sequence[Tensor], rois: Tensor, batch_index: Tensor, levels: Tensor, rule: AlignRule) -> Tensor:
    """As `reference.roi_align`."""
    return pool_regions(features, rois, batch_index, levels, rule, _constants(rule))


def roi_align_backward(
    grad: Tensor, rois: Tensor, batch_index: Tensor, levels: Tensor, maps: MapShapes, rule: AlignRule
) -> list[Tensor]:
    """As `reference.roi_align_backward`; the order of the sums differs from run to run."""
    refuse_if_deterministic("roi_align_backward")
    return spread_regions(grad, rois, batch_index, levels, maps, rule, _constants(rule))


def _constants(rule: AlignRule) -> dict[str, int]:
    return {"SAMPLING": rule.sampling_ratio, "ALIGNED": rule.aligned, "IS_CROP": False}
