"""What every op asks of the tensors it is given, with errors that say which one is wrong."""

from torch import Tensor

from boxwright.errors import ShapeError


def check_boxes(name: str, boxes: Tensor) -> None:
    """Float boxes as rows of x1, y1, x2, y2."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError(f"{name} must be boxes of shape (N, 4), x1 y1 x2 y2; got {tuple(boxes.shape)}")
    if not boxes.dtype.is_floating_point:
        raise ShapeError(f"{name} must be floating point; got {boxes.dtype}: convert with .float()")


def check_per_box(name: str, values: Tensor, boxes: Tensor) -> None:
    """One value for each box, on the same device."""
    if values.shape != boxes.shape[:1]:
        raise ShapeError(
            f"{name} must have one entry for each of the {boxes.shape[0]} boxes; got {tuple(values.shape)}"
        )
    if values.device != boxes.device:
        raise ShapeError(f"{name} is on {values.device}, but the boxes are on {boxes.device}; move one of them")
