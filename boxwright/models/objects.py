"""The objects of a batch, as training needs them: one list, image by image."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from boxwright.errors import DatasetError, ShapeError
from boxwright.transfer import send
from boxwright.types import Batch, Segment, Target

EMPTY_SIDE = 1e-5  # pixels; an object without area can be neither matched nor encoded


@dataclass(frozen=True)
class Objects:
    """G objects of B images, in the network frame. Far corners follow the model's box offset.

    What says how many there are of a kind is in the host's memory, so that nothing waits for a GPU to count.
    """

    boxes: Tensor  # (G, 4)
    labels: Tensor  # (G,) int64
    is_crowd: Tensor  # (G,) bool, on the host
    counts: tuple[int, ...]  # objects of each image
    segments: tuple[Segment, ...] | None = None
    keypoints: Tensor | None = None  # (G, K, 3)

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def image(self) -> Tensor:
        """(G,) int64."""
        return send(self.image_on_host, self.boxes.device)

    @property
    def image_on_host(self) -> Tensor:
        """(G,) int64: `image` in the host's memory."""
        return torch.repeat_interleave(torch.arange(len(self.counts)), torch.tensor(self.counts, dtype=torch.int64))

    def of_image(self, index: int) -> slice:
        """The rows of image `index`."""
        start = sum(self.counts[:index])
        return slice(start, start + self.counts[index])

    def without_crowds(self) -> "Objects":
        """Those that are no crowds; `self` where there are no crowds."""
        return self[(~self.is_crowd).nonzero()[:, 0]] if self.is_crowd.any() else self

    def crowds(self) -> "Objects":
        """The crowds alone; `counts` still has an entry for each image."""
        return self[self.is_crowd.nonzero()[:, 0]]

    def __getitem__(self, index: Tensor) -> "Objects":
        """`index` is on the host."""
        kept = torch.bincount(self.image_on_host[index], minlength=len(self.counts)).tolist()
        rows = send(index, self.boxes.device)
        return Objects(
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            is_crowd=self.is_crowd[index],
            counts=tuple(kept),
            segments=None if self.segments is None else tuple(self.segments[i] for i in index.tolist()),
            keypoints=None if self.keypoints is None else self.keypoints[rows],
        )

    def padded(self) -> tuple[Tensor, Tensor, Tensor]:
        """-> (B, M, 4) boxes, (B, M) int64 which object, (B, M) bool which are real and no crowds.

        The fullest image has M objects.
        """
        most = max(self.counts, default=0)
        place, counts = torch.arange(most), torch.tensor(self.counts)
        is_real = place < counts[:, None]
        index = torch.where(is_real, (counts.cumsum(0) - counts)[:, None] + place, 0)
        if len(self):
            is_real &= ~self.is_crowd[index]
        index, is_real = (send(one, self.boxes.device) for one in (index, is_real))
        boxes = self.boxes[index] if len(self) else self.boxes.new_zeros(len(self.counts), most, 4)
        return boxes, index, is_real


def gather_objects(batch: Batch, *, num_classes: int, box_offset: float = 0.0, keypoint_offset: float = 0.0) -> Objects:
    """Every target of the batch but those without area, crowds included.

    Targets have x2 = x1 + width; with `box_offset` 1 (Detectron) the far corner becomes the last pixel, which in the
    network frame is one pixel of the original image nearer. `keypoint_offset` is in such pixels too.
    """
    if batch.targets is None:
        raise ShapeError("losses need the objects of the images; give the batch targets")
    device = batch.images.device
    kept = [_with_area(target.to("cpu")) for target in batch.targets]
    for index, target in enumerate(kept):
        _check_labels(target, index, num_classes)
    boxes = [_moved(target.boxes, scale, box_offset) for target, scale in zip(kept, batch.scales, strict=True)]
    return Objects(
        boxes=send(torch.cat(boxes), device),
        labels=send(torch.cat([target.labels for target in kept]), device),
        is_crowd=torch.cat([_is_crowd(target) for target in kept]),
        counts=tuple(len(target) for target in kept),
        segments=_segments(kept),
        keypoints=_keypoints(kept, batch.scales, keypoint_offset, device),
    )


def _with_area(target: Target) -> Target:
    has_area = (target.boxes[:, 2:] - target.boxes[:, :2] > EMPTY_SIDE).all(dim=1)
    return target if bool(has_area.all()) else target[has_area]


def _moved(boxes: Tensor, scale: tuple[float, float], box_offset: float) -> Tensor:
    if not box_offset:
        return boxes
    pixel = boxes.new_tensor([scale[1], scale[0]]) * box_offset
    return torch.cat((boxes[:, :2], torch.maximum(boxes[:, 2:] - pixel, boxes[:, :2])), dim=1)


def _check_labels(target: Target, index: int, num_classes: int) -> None:
    if not len(target):
        return
    low, high = target.labels.aminmax()
    if int(low) < 0 or int(high) >= num_classes:
        raise DatasetError(
            f"targets[{index}] (image {target.image_id}) has labels {int(low)} to {int(high)}; "
            f"the model has classes 0 to {num_classes - 1}: change model.num_classes or the labels"
        )


def _is_crowd(target: Target) -> Tensor:
    assert target.is_crowd is not None  # set when the target is made
    return target.is_crowd


def _segments(targets: Sequence[Target]) -> tuple[Segment, ...] | None:
    """None unless every image that has objects has their masks."""
    if any(len(target) and target.masks is None for target in targets):
        return None
    return tuple(segment for target in targets if target.masks is not None for segment in target.masks.segments)


def _keypoints(
    targets: Sequence[Target], scales: Sequence[tuple[float, float]], offset: float, device: torch.device
) -> Tensor | None:
    """None unless every image that has objects has their keypoints."""
    found = []
    for target, (y, x) in zip(targets, scales, strict=True):
        if not len(target):
            continue
        if target.keypoints is None:
            return None
        found.append(target.keypoints + target.keypoints.new_tensor([x * offset, y * offset, 0.0]))
    return send(torch.cat(found), device) if found else None
