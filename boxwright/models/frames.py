"""The frames of a batch as tensors: image sizes, and the way between the network frame and the original images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from boxwright.transfer import send
from boxwright.types import Batch, Size


@dataclass(frozen=True)
class Frames:
    """B images; every size is (height, width) in pixels."""

    network: Tensor  # (B, 2) in the network frame, before padding
    padded: Tensor  # (B, 2) in the network frame, each image padded by itself
    original: Tensor  # (B, 2) of the pictures they came from
    scales: Tensor  # (B, 2) y, x factors from the original image to the network frame
    sizes: Sequence[Size]  # as `network`, in the host's memory
    factors: Sequence[tuple[float, float]]  # as `scales`, likewise
    batch_size: tuple[int, int]  # of the padded batch

    def __len__(self) -> int:
        return len(self.network)

    def to_original(self, boxes: Tensor, image: Tensor) -> Tensor:
        """(R, 4) or (R, k, 4) boxes in the network frame, (R,) image of each -> the same in the original images."""
        return boxes / _per_box(self.scales, image, boxes)

    def to_network(self, boxes: Tensor, image: Tensor) -> Tensor:
        """The inverse of `to_original`."""
        return boxes * _per_box(self.scales, image, boxes)


def make_frames(batch: Batch, *, pad_to: int) -> Frames:
    """Tensors are on the device of the images. `pad_to`: sides of an image padded by itself are multiples of this."""
    padded = [[-(-side // pad_to) * pad_to for side in size] for size in batch.sizes]
    height, width = batch.images.shape[2:]

    def sizes(values: object) -> Tensor:
        return send(torch.tensor(values, dtype=torch.float32), batch.images.device)

    return Frames(
        network=sizes(batch.sizes),
        padded=sizes(padded),
        original=sizes(batch.original_sizes),
        scales=sizes(batch.scales),
        sizes=batch.sizes,
        factors=batch.scales,
        batch_size=(int(height), int(width)),
    )


def clip_to_images(boxes: Tensor, image: Tensor, sizes: Tensor, *, offset: float) -> Tensor:
    """(R, 4) or (R, k, 4) boxes, (R,) image of each, (B, 2) sizes -> boxes inside their image.

    With `offset` 1 the last corner is a pixel: width - 1.
    """
    return torch.minimum(boxes, _per_box(sizes - offset, image, boxes)).clamp(min=0)


def by_image(change: Callable[[Tensor, Tensor], Tensor], boxes: Tensor) -> Tensor:
    """(B, M, 4) boxes -> the same through a change that takes (R, 4) boxes and the (R,) image of each."""
    image = torch.arange(len(boxes), device=boxes.device).repeat_interleave(boxes.shape[1])
    return change(boxes.flatten(0, 1), image).view_as(boxes)


def _per_box(sizes: Tensor, image: Tensor, boxes: Tensor) -> Tensor:
    """(B, 2) y, x -> (R, 4) or (R, 1, 4) as x, y, x, y, beside the boxes."""
    corners = sizes.to(boxes.dtype).flip(1).repeat(1, 2)[image]
    return corners if boxes.ndim == 2 else corners[:, None]
