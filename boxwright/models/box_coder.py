"""Boxes as differences to other boxes, with the habits of the model fixed once."""

from dataclasses import dataclass

from torch import Tensor

from boxwright import ops


@dataclass(frozen=True, kw_only=True)
class BoxCoder:
    """`weights` multiply the deltas of x, y, width and height; `offset` 1 counts x2 - x1 + 1 as the width.

    `clips_both_sides`: see `Conventions.delta_clip`.
    """

    weights: tuple[float, float, float, float]
    offset: float = 0.0
    clips_both_sides: bool = False

    def encode(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """(N, 4) boxes and the (N, 4) anchors they belong to, in one frame -> (N, 4) deltas."""
        return ops.encode_boxes(boxes, anchors, weights=self.weights, offset=self.offset)

    def decode(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        """(N, 4) or (N, k, 4) deltas and (N, 4) anchors -> boxes of the shape of the deltas, in the anchors' frame."""
        boxes = ops.decode_boxes(
            deltas.flatten(1),
            anchors,
            weights=self.weights,
            offset=self.offset,
            symmetric_clip=self.clips_both_sides,
        )
        return boxes.view(deltas.shape)
