"""RoICrop on the GPU: the kernels of RoIAlign with one sample a bin, and zeros outside the map."""

from collections.abc import Sequence

from torch import Tensor

from boxwright.ops.gpu.sampling import pool_regions, spread_regions


def roi_crop(
    features: Sequence[Tensor],
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    *,
    scales: Sequence[float],
    output_size: tuple[int, int],
) -> Tensor:
    """As `reference.roi_crop`."""
    return pool_regions(
        features,
        rois,
        batch_index,
        levels,
        scales=scales,
        output_size=output_size,
        sampling_ratio=1,
        aligned=False,
        is_crop=True,
    )


def roi_crop_backward(
    grad: Tensor,
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    *,
    sizes: Sequence[int],
    channels_last: bool,
    scales: Sequence[float],
    output_size: tuple[int, int],
) -> list[Tensor]:
    """As `reference.roi_crop_backward`; the order of the sums differs from run to run."""
    return spread_regions(
        "roi_crop_backward",
        grad,
        rois,
        batch_index,
        levels,
        sizes=sizes,
        channels_last=channels_last,
        scales=scales,
        output_size=output_size,
        sampling_ratio=1,
        aligned=False,
        is_crop=True,
    )
