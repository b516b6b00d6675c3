"""Proposals: the boxes that the second stage looks at, chosen from what the RPN says, or given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from boxwright import ops
from boxwright.errors import ShapeError
from boxwright.models.box_coder import BoxCoder
from boxwright.models.dense import DensePredictions
from boxwright.models.frames import Frames, clip_to_images
from boxwright.transfer import send


@dataclass(frozen=True)
class Proposals:
    """Up to P boxes of each of B images, best first, in the network frame."""

    boxes: Tensor  # (B, P, 4)
    logits: Tensor  # (B, P)
    is_valid: Tensor  # (B, P) bool; the rest is padding
    origin: Tensor | None = None  # (B, P) int64: the anchor each came from, or another number of its own

    def padded(self) -> tuple[Tensor, Tensor]:
        """-> (B * P, 4) boxes and (B * P,) int64 image of each, image by image, padding among them."""
        num_images, num_boxes = self.is_valid.shape
        image = torch.arange(num_images, device=self.boxes.device).repeat_interleave(num_boxes)
        return self.boxes.flatten(0, 1), image

    def of_image(self, index: int) -> tuple[Tensor, Tensor]:
        """-> (P_i, 4) boxes and (P_i,) logits."""
        kept = self.is_valid[index]
        return self.boxes[index][kept], self.logits[index][kept]

    def first(self, most: int) -> "Proposals":
        """At most so many of each image."""
        return self._each(lambda part: part[:, :most])

    def counted(self) -> "Proposals":
        """No more of each image than the fullest has."""
        return self.first(int(self.is_valid.sum(dim=1).amax()))

    def to(self, device: torch.device) -> "Proposals":
        """All of them on `device`; the host does not wait."""
        return self._each(lambda part: send(part, device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Proposals":
        origin = None if self.origin is None else change(self.origin)
        return Proposals(change(self.boxes), change(self.logits), change(self.is_valid), origin)


def pad_regions(boxes: Tensor, image: Tensor, *, num_images: int) -> Proposals:
    """(R, 4) boxes and (R,) image of each, image by image -> the same as Proposals, with logits of 0."""
    counts = torch.bincount(image, minlength=num_images)
    most = int(counts.max()) if len(image) else 0
    place = torch.arange(len(image), device=image.device) - (counts.cumsum(0) - counts)[image]
    padded = boxes.new_zeros(num_images, most, 4)
    padded[image, place] = boxes
    is_valid = torch.arange(most, device=image.device) < counts[:, None]
    return Proposals(padded, boxes.new_zeros(num_images, most), is_valid)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A number for training and one for inference."""

    train: int
    test: int

    def of(self, training: bool) -> int:
        """`train` where `training` is true, else `test`."""
        return self.train if training else self.test


@dataclass(frozen=True, kw_only=True)
class MinSize:
    """The smallest sides of a proposal that stays; the rules are those of `Conventions.proposal_min_size`."""

    side: float = 0.0
    rule: Literal["exclusive", "inclusive", "detectron"] = "exclusive"
    offset: float = 0.0

    def holds(self, boxes: Tensor, image: Tensor, frames: Frames, limits: Tensor) -> Tensor:
        """(R, 4) clipped boxes, (R,) image, (B, 2) sizes they were clipped to -> (R,) bool."""
        sides = boxes[:, 2:] - boxes[:, :2] + self.offset
        if self.rule == "exclusive":
            return (sides > self.side).all(dim=1)
        if self.rule == "inclusive":
            return (sides >= self.side).all(dim=1)
        centre = boxes[:, :2] + sides / 2
        is_inside = (centre < limits.flip(1)[image]).all(dim=1)
        return (sides >= self.side * frames.scales.flip(1)[image]).all(dim=1) & is_inside


@dataclass(frozen=True, kw_only=True)
class ProposalSelector:
    """From dense predictions to proposals: the best of each level, decoded, clipped, suppressed, the best of all.

    `per_batch`: in training the best are taken over the whole batch. `clips_to_padding`: at inference boxes are
    clipped to the padded image.
    """

    coder: BoxCoder
    pre_nms_top_k: Limit
    post_nms_top_k: Limit
    post_nms_top_k_level: Limit | None
    nms_iou: float
    nms_inclusive: bool
    score_threshold: float
    min_size: MinSize
    per_batch: bool
    clips_to_padding: bool

    @torch.no_grad()
    def __call__(self, dense: DensePredictions, frames: Frames, *, training: bool) -> Proposals:
        logits, boxes, levels, origin = self._best_of_levels(dense, self.pre_nms_top_k.of(training))
        num_images, num_boxes = logits.shape
        image = torch.arange(num_images, device=logits.device).repeat_interleave(num_boxes)
        limits = frames.padded if self.clips_to_padding and not training else frames.network
        flat = clip_to_images(boxes.flatten(0, 1), image, limits, offset=self.coder.offset)
        is_valid = self._is_valid(flat, logits.flatten(), image, frames, limits)
        # Boxes that are not valid share a group of their own, where they can suppress nobody.
        groups = torch.where(is_valid, image * len(dense.anchors) + levels.repeat(num_images), -1)
        keep = is_valid & ops.nms_keep(
            flat,
            logits.flatten(),
            groups,
            iou_threshold=self.nms_iou,
            offset=self.coder.offset,
            inclusive=self.nms_inclusive,
        )
        boxes, keep = flat.view_as(boxes), keep.view_as(logits)
        return self._best(boxes, logits, origin, self._limit_levels(keep, dense, training), training)

    def merged(self, boxes: Tensor, logits: Tensor) -> Tensor:
        """(R, 4) and (R,) proposals of several views of one image, in its frame -> the (P, 4) that stay, best first."""
        same = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
        rule = {"iou_threshold": self.nms_iou, "offset": self.coder.offset, "inclusive": self.nms_inclusive}
        return boxes[ops.nms(boxes, logits, same, **rule)[: self.post_nms_top_k.test]]  # type: ignore[arg-type]

    def _best_of_levels(self, dense: DensePredictions, limit: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """-> (B, T) logits, (B, T, 4) boxes, (T,) level, (B, T) anchor; each level's best first."""
        parts, levels, num_before = [], [], 0
        for level, (scores, deltas, anchors) in enumerate(zip(dense.logits, dense.deltas, dense.anchors, strict=True)):
            best, index = scores.topk(min(limit, scores.shape[1]), dim=1)
            picked = deltas.gather(1, index[..., None].expand(-1, -1, 4))
            parts.append((best.float(), picked.float(), anchors[index], index + num_before))
            levels.append(torch.full_like(index[0], level))
            num_before += len(anchors)
        logits, picked, near, origin = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        boxes = self.coder.decode(picked.flatten(0, 1), near.flatten(0, 1)).view_as(near)
        return logits, boxes, torch.cat(levels), origin

    def _is_valid(self, boxes: Tensor, logits: Tensor, image: Tensor, frames: Frames, limits: Tensor) -> Tensor:
        is_valid = boxes.isfinite().all(dim=1) & logits.isfinite()
        is_valid &= self.min_size.holds(boxes, image, frames, limits)
        return is_valid & (logits.sigmoid() >= self.score_threshold) if self.score_threshold > 0 else is_valid

    def _limit_levels(self, keep: Tensor, dense: DensePredictions, training: bool) -> Tensor:
        if self.post_nms_top_k_level is None:
            return keep
        limit, most = self.post_nms_top_k_level.of(training), self.pre_nms_top_k.of(training)
        parts = torch.split(keep, [min(most, len(anchors)) for anchors in dense.anchors], dim=1)
        return torch.cat([part & (part.cumsum(dim=1) <= limit) for part in parts], dim=1)

    def _best(self, boxes: Tensor, logits: Tensor, origin: Tensor, keep: Tensor, training: bool) -> Proposals:
        limit = self.post_nms_top_k.of(training)
        scores = logits.masked_fill(~keep, -torch.inf)
        if self.per_batch and training:
            over_all = scores.flatten().topk(min(limit, scores.numel())).indices
            is_best = torch.zeros_like(keep).flatten().scatter(0, over_all, True).view_as(keep)
            scores = scores.masked_fill(~is_best, -torch.inf)
        best, index = scores.topk(min(limit, scores.shape[1]), dim=1)
        chosen = boxes.gather(1, index[..., None].expand(-1, -1, 4))
        return Proposals(chosen, best, best > -torch.inf, origin.gather(1, index))


class GivenProposals(nn.Module):
    """Takes boxes from the caller in the place of an RPN (Fast R-CNN): clipped, small ones dropped, the first kept."""

    def __init__(self, *, top_k: Limit, min_size: float, offset: float) -> None:
        super().__init__()
        self.top_k = top_k
        self.min_size = min_size
        self.offset = offset

    def forward(self, boxes: Sequence[Tensor], frames: Frames, *, training: bool) -> Proposals:
        """(P_i, 4) boxes of each image in the network frame, best first -> Proposals."""
        flat, image = flat_on_host(boxes)
        flat = clip_to_images(flat, image, torch.tensor(frames.sizes), offset=self.offset)
        keep = (flat[:, 2:] - flat[:, :2] + self.offset > self.min_size).all(dim=1)
        padded = pad_regions(flat[keep], image[keep], num_images=len(frames))
        return padded.first(self.top_k.of(training)).to(frames.network.device)


def flat_on_host(boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(P_i, 4) boxes of each image -> (R, 4) float32 and (R,) image of each: counted where nothing waits for it."""
    image = torch.cat([torch.full((len(one),), i) for i, one in enumerate(boxes)])
    return torch.cat([one.to("cpu", torch.float32) for one in boxes]), image


def check_given(boxes: Sequence[Tensor] | None, num_images: int) -> None:
    """A ShapeError unless there is one (P, 4) tensor for each of `num_images` images."""
    if boxes is None:
        raise ShapeError("this model takes its proposals from the caller; give proposals, one (P, 4) tensor per image")
    if len(boxes) != num_images:
        raise ShapeError(f"proposals has {len(boxes)} entries for {num_images} images")
    for index, one in enumerate(boxes):
        if one.ndim != 2 or one.shape[1] != 4:
            raise ShapeError(f"proposals[{index}] has shape {tuple(one.shape)}; expected (P, 4) as x1, y1, x2, y2")
