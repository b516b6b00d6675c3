"""Boxes as x1, y1, x2, y2 floats: between forms, into the image, mirrored, moved.

Every function takes and returns torch tensors of (..., 4); sizes are (height, width).
"""

import torch
from torch import Tensor


def xywh_to_xyxy(boxes_xywh: Tensor) -> Tensor:
    """x, y, width, height -> x1, y1, x2, y2."""
    return torch.cat((boxes_xywh[..., :2], boxes_xywh[..., :2] + boxes_xywh[..., 2:]), dim=-1)


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Corners moved into the image of `size`; a box outside becomes one without area on the border."""
    height, width = size
    limits = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limits)


def non_empty_boxes(boxes: Tensor, *, min_side: float = 0.0) -> Tensor:
    """(N, 4) -> (N,) bool: both sides are longer than `min_side`."""
    return (boxes[:, 2:] - boxes[:, :2] > min_side).all(dim=1)


def scale_boxes(boxes: Tensor, scale: tuple[float, float]) -> Tensor:
    """Multiplied by the (y, x) factors."""
    y, x = scale
    return boxes * boxes.new_tensor([x, y, x, y])


def shift_boxes(boxes: Tensor, *, x: float, y: float) -> Tensor:
    """Moved right by `x` and down by `y` pixels."""
    return boxes + boxes.new_tensor([x, y, x, y])


def flip_boxes(boxes: Tensor, width: float) -> Tensor:
    """Mirrored left to right inside an image of `width`."""
    return torch.stack((width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]), dim=-1)


def flip_boxes_vertically(boxes: Tensor, height: float) -> Tensor:
    """Mirrored top to bottom inside an image of `height`."""
    return torch.stack((boxes[..., 0], height - boxes[..., 3], boxes[..., 2], height - boxes[..., 1]), dim=-1)
