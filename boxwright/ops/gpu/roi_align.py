"""RoIAlign on the GPU: all levels in one launch."""

from collections.abc import Sequence

from torch import Tensor

from boxwright.ops.gpu.sampling import pool_regions, spread_regions


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
    return pool_regions(
        features,
        rois,
        batch_index,
        levels,
        scales=scales,
        output_size=output_size,
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        is_crop=False,
    )


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
    """As `reference.roi_align_backward`; the order of the sums differs from run to run."""
    return spread_regions(
        "roi_align_backward",
        grad,
        rois,
        batch_index,
        levels,
        sizes=sizes,
        channels_last=channels_last,
        scales=scales,
        output_size=output_size,
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        is_crop=False,
    )
