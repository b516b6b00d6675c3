"""The single-stage detector: classes and boxes for every anchor of the pyramid."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from boxwright.models.anchors import Anchors
from boxwright.models.assignment import AnchorAssigner, Assigned
from boxwright.models.box_coder import BoxCoder
from boxwright.models.dense import DensePredictions, map_sizes, per_anchor
from boxwright.models.frames import Frames, clip_to_images, make_frames
from boxwright.models.layers import ConvNorm
from boxwright.models.losses import BoxLoss, ClassLoss, at_least_one
from boxwright.models.matching import IGNORED, POSITIVE
from boxwright.models.norms import Norm
from boxwright.models.objects import Objects, gather_objects
from boxwright.models.sampling import Choice, Draw
from boxwright.models.select import Candidates, DetectionSelector, per_image
from boxwright.types import Batch, RawDetections

FIRST_AVERAGE, AVERAGE_MOMENTUM = 100.0, 0.9  # of the moving number of positives that losses are divided by


class RetinaNetHead(nn.Module):
    """Two towers of 3x3 convolutions with ReLU, one for classes and one for boxes, over all levels.

    Keys: class_convs.0.weight, class_convs.0.bias or class_convs.0.norm.*, ..., box_convs.0.weight, ...;
    score.weight, score.bias (class k of anchor a is row a K + k), delta.weight, delta.bias.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        conv_channels: Sequence[int],
        norm: Norm | None,
        num_anchors: int,
        num_classes: int,
        prior_probability: float,
    ) -> None:
        super().__init__()
        channels = [in_channels, *conv_channels]
        pairs = list(itertools.pairwise(channels))

        def tower() -> nn.ModuleList:
            return nn.ModuleList(
                ConvNorm(before, after, kernel_size=3, norm=norm, activation="relu") for before, after in pairs
            )

        self.class_convs, self.box_convs = tower(), tower()
        self.num_classes = num_classes
        self.score = nn.Conv2d(channels[-1], num_anchors * num_classes, 3, padding=1)
        self.delta = nn.Conv2d(channels[-1], num_anchors * 4, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.constant_(self.score.bias, -math.log((1 - prior_probability) / prior_probability))  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps (B, C, H, W) -> per level logits (B, H W A, K) and deltas (B, H W A, 4)."""
        logits, deltas = [], []
        for one_map in maps:
            x = y = one_map
            for conv in self.class_convs:
                x = conv(x)
            for conv in self.box_convs:
                y = conv(y)
            logits.append(per_anchor(self.score(x), self.num_classes))
            deltas.append(per_anchor(self.delta(y), 4))
        return logits, deltas


@dataclass(frozen=True, kw_only=True)
class DenseLoss:
    """Every anchor trains but those between the thresholds; habits as in `Conventions` and `RetinaNet.loss_average`."""

    coder: BoxCoder
    assigner: AnchorAssigner
    class_loss: ClassLoss
    box_loss: BoxLoss
    average: Literal["moving", "positives", "per_image"]

    def __call__(
        self,
        dense: DensePredictions,
        objects: Objects,
        frames: Frames,
        anchors: Anchors,
        draw: Draw,
        moving_average: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """-> class and box loss. If they are divided by `moving_average`, it is first brought up to date in place."""
        num_images = len(objects.counts)
        assigned = self.assigner(dense, objects, frames, anchors)
        positive = assigned.label == POSITIVE
        share = self._shares(positive.sum(dim=1), num_images, moving_average)
        class_loss = self._class_loss(dense, assigned, share)
        rows = draw.rows(positive, most=positive.shape[1] if len(assigned.objects) else 0)
        targets = assigned.objects.boxes[assigned.owner[rows.image, rows.place]]
        deltas = dense.all_deltas[rows.image, rows.place]
        box_loss = self.box_loss(deltas, dense.all_anchors[rows.place], targets, self.coder)
        return class_loss, (box_loss.masked_fill(~rows.is_real, 0) * share[rows.image]).sum()

    def _shares(self, counts: Tensor, num_images: int, moving_average: Tensor) -> Tensor:
        """(B,) positives of each image -> (B,): what the losses of each image are multiplied by."""
        if self.average == "per_image":
            return 1 / counts.clamp(min=1) / num_images
        if self.average == "positives":
            return (1 / at_least_one(counts.clamp(min=1).sum())).expand(num_images)
        now = at_least_one(counts.sum()).to(moving_average.dtype)
        moving_average.mul_(AVERAGE_MOMENTUM).add_(now * (1 - AVERAGE_MOMENTUM))
        return (1 / moving_average.clone()).expand(num_images)

    def _class_loss(self, dense: DensePredictions, assigned: Assigned, share: Tensor) -> Tensor:
        logits = dense.all_logits.float()
        targets = torch.zeros_like(logits)
        if len(assigned.objects):
            labels = assigned.objects.labels[assigned.owner]
            targets.scatter_(2, labels[..., None], (assigned.label == POSITIVE)[..., None].to(targets.dtype))
        loss = self.class_loss.dense(logits, targets).sum(dim=2) * (assigned.label != IGNORED)
        return self.class_loss.weight * (loss.sum(dim=1) * share).sum()


class RetinaNet(nn.Module):
    """Keys: backbone.*, neck.*, head.*."""

    moving_average: Tensor

    def __init__(
        self,
        *,
        backbone: nn.Module,
        neck: nn.Module | None,
        levels: Sequence[str],
        head: RetinaNetHead,
        anchors: Anchors,
        coder: BoxCoder,
        training_loss: DenseLoss,
        select: DetectionSelector,
        score_threshold: float,
        pre_nms_top_k: int,
        min_size: float,
        clips_before_nms: bool,
        selects_in_original: bool,
        num_classes: int,
        pad_to: int,
    ) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = backbone, neck, head
        self.levels = tuple(levels)
        self.anchors = anchors
        self.coder = coder
        self.training_loss = training_loss
        self.select = select
        self.score_threshold = score_threshold
        self.pre_nms_top_k = pre_nms_top_k
        self.min_size = min_size
        self.clips_before_nms = clips_before_nms
        self.selects_in_original = selects_in_original
        self.num_classes = num_classes
        self.pad_to = pad_to
        self.register_buffer("moving_average", torch.tensor(FIRST_AVERAGE), persistent=False)

    def forward(self, batch: Batch, *, proposals: Sequence[Tensor] | None = None) -> list[RawDetections]:
        """Images -> what is found in each, in the network frame. There is no place for proposals."""
        return self._detect(self.predict(batch), make_frames(batch, pad_to=self.pad_to))

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised and padded images -> maps by level."""
        features: dict[str, Tensor] = self.backbone(images)
        return features if self.neck is None else self.neck(features)

    def predict(self, batch: Batch) -> DensePredictions:
        return self._dense(self.features(batch.images), batch)

    def _dense(self, features: dict[str, Tensor], batch: Batch) -> DensePredictions:
        maps = [features[level] for level in self.levels]
        logits, deltas = self.head(maps)
        size = (int(batch.images.shape[2]), int(batch.images.shape[3]))
        return DensePredictions(logits, deltas, self.anchors(maps, size), map_sizes(maps))

    def _detect(self, dense: DensePredictions, frames: Frames) -> list[RawDetections]:
        boxes, scores, labels, image = self._best_of_levels(dense, frames)
        if self.clips_before_nms:
            boxes = clip_to_images(boxes, image, frames.network, offset=self.coder.offset)
        network_boxes = boxes
        if self.selects_in_original:
            boxes = frames.to_original(boxes, image)
        kept = boxes.isfinite().all(dim=1)
        if self.min_size > 0:
            kept &= (network_boxes[:, 2:] - network_boxes[:, :2] + self.coder.offset >= self.min_size).all(dim=1)
        source = torch.arange(len(boxes), device=boxes.device)
        candidates = Candidates(boxes, scores, labels, image, source)[kept.nonzero()[:, 0]]
        chosen = self.select(candidates, num_classes=self.num_classes)
        original = chosen.boxes if self.selects_in_original else None
        return per_image(
            chosen.image, len(frames), network_boxes[chosen.source], chosen.scores, chosen.labels, original
        )

    def _best_of_levels(self, dense: DensePredictions, frames: Frames) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of each level and image the best scores above the threshold -> boxes, scores, labels, image, all (N, ...)."""
        parts = []
        for logits, deltas, anchors in zip(dense.logits, dense.deltas, dense.anchors, strict=True):
            flat = logits.float().flatten(1)
            best, index = flat.topk(min(self.pre_nms_top_k, flat.shape[1]), dim=1)
            scores = best.sigmoid()
            image, place = (scores > self.score_threshold).nonzero(as_tuple=True)
            anchor, label = index[image, place] // self.num_classes, index[image, place] % self.num_classes
            boxes = self.coder.decode(deltas[image, anchor].float(), anchors[anchor])
            parts.append((boxes, scores[image, place], label, image))
        boxes, scores, labels, image = (torch.cat(part) for part in zip(*parts, strict=True))
        return boxes, scores, labels, image

    def trace(self, batch: Batch, *, proposals: Sequence[Tensor] | None = None) -> dict[str, Any]:
        """Every stage of one forward pass by name, in order."""
        features = self.features(batch.images)
        dense = self._dense(features, batch)
        found = self._detect(dense, make_frames(batch, pad_to=self.pad_to))
        by_level = {
            name: dict(zip(self.levels, values, strict=True))
            for name, values in (("box scores", dense.logits), ("box deltas", dense.deltas), ("anchors", dense.anchors))
        }
        return {"image": batch.images, "features": features, **by_level, "detections": found}

    def losses(
        self,
        batch: Batch,
        *,
        sampling: Choice = "random",
        seeds: Tensor | None = None,
        proposals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Images with targets -> loss_class and loss_box. Every anchor trains: nothing is drawn."""
        objects = gather_objects(batch, num_classes=self.num_classes, box_offset=self.coder.offset)
        frames = make_frames(batch, pad_to=self.pad_to)
        class_loss, box_loss = self.training_loss(
            self.predict(batch),
            objects,
            frames,
            self.anchors,
            Draw(pads=batch.images.device.type != "cpu"),
            self.moving_average if self.training else self.moving_average.clone(),
        )
        return {"loss_class": class_loss, "loss_box": box_loss}
