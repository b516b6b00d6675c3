"""From regions of feature maps to tensors of one size: RoIAlign, RoIPool, RoICrop.

All take L maps (B, C, Hl, Wl) of one pyramid, (R, 4) RoIs in the network frame, (R,) int64 image and (R,) int64 level
of each, and the scale of each level (1 / stride), and give (R, C, ph, pw). The result lies in memory as the maps do;
maps in channels-last are used where they are. A RoI with a coordinate that is not finite, or whose image or level does
not exist (-1 marks padding), gives zeros and takes no gradient; beyond 2 ** 24 pixels counts as not finite. The RoIs
themselves get no gradient.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from boxwright.errors import ShapeError
from boxwright.ops.checks import check_boxes, check_per_box
from boxwright.ops.dispatch import forced_backend, run, use_backend
from boxwright.ops.layout import MapShapes, at_least_float32, empty_maps, empty_pooled, is_channels_last
from boxwright.ops.registration import register_fake, register_op
from boxwright.ops.rules import AlignRule, PoolingRule

MAX_COORDINATE = float(1 << 24)


def roi_align(
    features: Sequence[Tensor],
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    *,
    scales: Sequence[float],
    output_size: tuple[int, int],
    sampling_ratio: int = 0,
    aligned: bool = True,
) -> Tensor:
    """The mean of a grid of bilinear samples in each of ph x pw bins -> (R, C, ph, pw).

    `sampling_ratio` samples per bin and axis; 0: one for each feature pixel begun (at most 1024). `aligned`: pixel
    centres lie at halves (Detectron2, mmdetection); otherwise at whole numbers, and no RoI is smaller than one feature
    pixel (Detectron, torchvision).
    """
    given = _prepare(features, rois, batch_index, levels, scales, output_size)
    return torch.ops.boxwright.roi_align(  # type: ignore[no-any-return]
        *given, list(scales), list(output_size), sampling_ratio, aligned
    )


def roi_pool(
    features: Sequence[Tensor],
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    *,
    scales: Sequence[float],
    output_size: tuple[int, int],
) -> Tensor:
    """The largest value in each of ph x pw bins of the RoI rounded to whole feature pixels -> (R, C, ph, pw).

    An empty bin gives 0. NaN in the features wins over every number, so a broken network shows.
    """
    given = _prepare(features, rois, batch_index, levels, scales, output_size)
    return torch.ops.boxwright.roi_pool(*given, list(scales), list(output_size))[0]  # type: ignore[no-any-return]


def roi_crop(
    features: Sequence[Tensor],
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    *,
    scales: Sequence[float],
    output_size: tuple[int, int],
) -> Tensor:
    """One bilinear sample at each of ph x pw points, the outer ones on the corners of the RoI -> (R, C, ph, pw).

    Pixels outside the map count as 0. A single row or column of points lies in the middle.
    """
    given = _prepare(features, rois, batch_index, levels, scales, output_size)
    return torch.ops.boxwright.roi_crop(*given, list(scales), list(output_size))  # type: ignore[no-any-return]


def _prepare(
    features: Sequence[Tensor],
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    output_size: tuple[int, int],
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    if hasattr(features, "dim") or not len(features):
        raise ShapeError("features must be a list of maps (B, C, H, W), one for each level; for one level give [map]")
    check_boxes("rois", rois)
    check_per_box("batch_index", batch_index, rois)
    check_per_box("levels", levels, rois)
    if len(scales) != len(features):
        raise ShapeError(f"there are {len(features)} maps but {len(scales)} scales; give 1 / stride of each map")
    if len(output_size) != 2 or min(output_size) < 1:
        raise ShapeError(f"output_size must be (height, width), both at least 1; got {tuple(output_size)}")
    first = features[0]
    for level, f in enumerate(features):
        if f.ndim != 4 or f.shape[:2] != first.shape[:2] or min(f.shape[2:]) < 1:
            raise ShapeError(f"level {level} must be (B, C, H, W) with the B and C of level 0; got {tuple(f.shape)}")
        if (f.dtype, f.device) != (first.dtype, first.device) or f.device != rois.device:
            raise ShapeError(
                f"level {level} is {f.dtype} on {f.device}; level 0 is {first.dtype}, rois on {rois.device}"
            )
    rois = at_least_float32(rois.detach())
    # So far out nothing can be meant: such a region is a bad one, and no backend has to think about overflow.
    rois = torch.where(rois.abs() <= MAX_COORDINATE, rois, torch.nan)
    return list(features), rois, batch_index.long(), levels.long()


@register_op("roi_align", has_gradient=True)
def _roi_align(
    features: Sequence[Tensor],
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    output_size: Sequence[int],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    rule = _align_rule(scales, output_size, sampling_ratio, aligned)
    return run("roi_align", rois.device.type, features, rois, batch_index, levels, rule)  # type: ignore[no-any-return]


@register_op("roi_align_backward")
def _roi_align_backward(
    grad: Tensor,
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    sizes: Sequence[int],
    channels_last: bool,
    scales: Sequence[float],
    output_size: Sequence[int],
    sampling_ratio: int,
    aligned: bool,
) -> list[Tensor]:
    maps, rule = MapShapes(sizes, channels_last), _align_rule(scales, output_size, sampling_ratio, aligned)
    return run("roi_align_backward", rois.device.type, grad, rois, batch_index, levels, maps, rule)  # type: ignore[no-any-return]


def _align_rule(scales: Sequence[float], output_size: Sequence[int], sampling_ratio: int, aligned: bool) -> AlignRule:
    return AlignRule(scales, (output_size[0], output_size[1]), sampling_ratio, aligned)


@register_op("roi_pool", has_gradient=True)
def _roi_pool(
    features: Sequence[Tensor],
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    output_size: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """The maxima, and where in its map (y * W + x, or -1) each was found."""
    rule = _pooling_rule(scales, output_size)
    return run("roi_pool", rois.device.type, features, rois, batch_index, levels, rule)  # type: ignore[no-any-return]


@register_op("roi_pool_backward")
def _roi_pool_backward(
    grad: Tensor, where: Tensor, batch_index: Tensor, levels: Tensor, sizes: Sequence[int], channels_last: bool
) -> list[Tensor]:
    maps = MapShapes(sizes, channels_last)
    return run("roi_pool_backward", grad.device.type, grad, where, batch_index, levels, maps)  # type: ignore[no-any-return]


@register_op("roi_crop", has_gradient=True)
def _roi_crop(
    features: Sequence[Tensor],
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    output_size: Sequence[int],
) -> Tensor:
    rule = _pooling_rule(scales, output_size)
    return run("roi_crop", rois.device.type, features, rois, batch_index, levels, rule)  # type: ignore[no-any-return]


@register_op("roi_crop_backward")
def _roi_crop_backward(
    grad: Tensor,
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    sizes: Sequence[int],
    channels_last: bool,
    scales: Sequence[float],
    output_size: Sequence[int],
) -> list[Tensor]:
    maps, rule = MapShapes(sizes, channels_last), _pooling_rule(scales, output_size)
    return run("roi_crop_backward", rois.device.type, grad, rois, batch_index, levels, maps, rule)  # type: ignore[no-any-return]


def _pooling_rule(scales: Sequence[float], output_size: Sequence[int]) -> PoolingRule:
    return PoolingRule(scales, (output_size[0], output_size[1]))


# Results without data, and gradients to be, look alike for all three: `rest` is what only the numbers depend on.


@register_fake("roi_align")
@register_fake("roi_crop")
def _(
    features: Sequence[Tensor],
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    output_size: Sequence[int],
    *rest: Any,
) -> Tensor:
    return empty_pooled(features, rois.shape[0], output_size)


@register_fake("roi_pool")
def _(
    features: Sequence[Tensor],
    rois: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    output_size: Sequence[int],
) -> tuple[Tensor, Tensor]:
    out = empty_pooled(features, rois.shape[0], output_size)
    return out, torch.empty_like(out, dtype=torch.int64)


@register_fake("roi_align_backward")
@register_fake("roi_pool_backward")
@register_fake("roi_crop_backward")
def _(
    grad: Tensor,
    place: Tensor,
    batch_index: Tensor,
    levels: Tensor,
    sizes: Sequence[int],
    channels_last: bool,
    *rest: Any,
) -> list[Tensor]:
    return empty_maps(grad, MapShapes(sizes, channels_last))


# Gradients. The backward pass may run in a thread of the autograd engine, which does not see `use_backend` of the
# caller: the choice is noted in forward.


def _note(ctx: Any, inputs: tuple[Any, ...]) -> None:
    features, _, batch_index, levels = inputs[:4]
    ctx.save_for_backward(inputs[1], batch_index, levels)
    ctx.sizes, ctx.channels_last = [n for f in features for n in f.shape], is_channels_last(features)
    ctx.settings, ctx.backend = inputs[4:], forced_backend()


def _setup_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _note(ctx, inputs)


def _setup_roi_pool(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _note(ctx, inputs)
    ctx.save_for_backward(output[1], *inputs[2:4])
    ctx.mark_non_differentiable(output[1])


def _backward_roi_align(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    with use_backend(ctx.backend):
        sources = (ctx.sizes, ctx.channels_last, *ctx.settings)
        grads = torch.ops.boxwright.roi_align_backward(grad, *ctx.saved_tensors, *sources)
    return (grads, *[None] * 7)


def _backward_roi_crop(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    with use_backend(ctx.backend):
        sources = (ctx.sizes, ctx.channels_last, *ctx.settings)
        grads = torch.ops.boxwright.roi_crop_backward(grad, *ctx.saved_tensors, *sources)
    return (grads, *[None] * 5)


def _backward_roi_pool(ctx: Any, grad: Tensor, grad_where: Tensor | None) -> tuple[Any, ...]:
    with use_backend(ctx.backend):
        grads = torch.ops.boxwright.roi_pool_backward(grad, *ctx.saved_tensors, ctx.sizes, ctx.channels_last)
    return (grads, *[None] * 5)


torch.library.register_autograd("boxwright::roi_align", _backward_roi_align, setup_context=_setup_linear)
torch.library.register_autograd("boxwright::roi_crop", _backward_roi_crop, setup_context=_setup_linear)
torch.library.register_autograd("boxwright::roi_pool", _backward_roi_pool, setup_context=_setup_roi_pool)
