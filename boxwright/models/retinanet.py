"""The single-stage detector: classes and boxes for every anchor of the pyramid."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from boxwright.models.anchors import Anchors
from boxwright.models.assignment import AnchorAssigner, Assigned
from boxwright.models.box_coder import BoxCoder
from boxwright.models.dense import DensePredictions, map_sizes, per_anchor
from boxwright.models.detected import ForwardPass, detected_rows
from boxwright.models.frames import Frames, by_image, clip_to_images, make_frames
from boxwright.models.layers import ConvNorm
from boxwright.models.losses import BoxLoss, ClassLoss, at_least_one
from boxwright.models.matching import IGNORED, POSITIVE
from boxwright.models.norms import Norm
from boxwright.models.objects import Objects, gather_objects
from boxwright.models.sampling import Draw, DrawKind
from boxwright.models.select import DetectionSelector, gather_candidates
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


@dataclass(frozen=True, kw_only=True)
class DenseDecoder:
    """The best of each level as boxes. `clips_before_nms`: to the images; `in_original`: boxes compete there."""

    coder: BoxCoder
    pre_nms_top_k: int
    clips_before_nms: bool
    in_original: bool

    def __call__(self, dense: DensePredictions, frames: Frames) -> tuple[Tensor, Tensor, Tensor]:
        """-> (B, M, 4) boxes in the network frame, (B, M) scores and labels; each level's best first."""
        parts = []
        for logits, deltas, anchors in zip(dense.logits, dense.deltas, dense.anchors, strict=True):
            num_classes = logits.shape[2]
            best, index = logits.float().flatten(1).topk(min(self.pre_nms_top_k, logits[0].numel()), dim=1)
            anchor, label = index // num_classes, index % num_classes
            picked = deltas.gather(1, anchor[..., None].expand(-1, -1, 4)).float()
            boxes = self.coder.decode(picked.flatten(0, 1), anchors[anchor].flatten(0, 1)).view_as(picked)
            parts.append((boxes, best.sigmoid(), label))
        boxes, scores, labels = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        if self.clips_before_nms:
            boxes = by_image(partial(clip_to_images, sizes=frames.network, offset=self.coder.offset), boxes)
        return boxes, scores, labels

    def to_competing(self, boxes: Tensor, frames: Frames) -> Tensor:
        """(B, M, 4) boxes in the network frame -> in that in which they compete."""
        return by_image(frames.to_original, boxes) if self.in_original else boxes


class RetinaNet(nn.Module):
    """Keys: backbone.*, neck.*, head.*."""

    moving_average: Tensor

    def __init__(
        self,
        *,
        backbone: nn.Module,
        neck: nn.Module | None,
        head: nn.Module,
        anchors: Anchors,
        decode: DenseDecoder,
        select: DetectionSelector,
        training_loss: DenseLoss,
        pad_to: int,
    ) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = backbone, neck, head
        self.anchors = anchors
        self.decode = decode
        self.select = select
        self.training_loss = training_loss
        self.pad_to = pad_to
        self.register_buffer("moving_average", torch.tensor(FIRST_AVERAGE), persistent=False)

    @property
    def num_classes(self) -> int:
        """Foreground classes; there is no background column."""
        return self.select.num_classes

    @property
    def box_offset(self) -> float:
        """1 where the far corner of a box is its last pixel, 0 where it is the end of that pixel."""
        return self.decode.coder.offset

    proposes = True  # nothing is needed beside the images

    def forward(self, batch: Batch, *, proposals: Sequence[Tensor] | None = None) -> list[RawDetections]:
        """Images -> what is found in each, in the network frame. There is no place for proposals."""
        frames = make_frames(batch, pad_to=self.pad_to)
        return self.results(self.run(batch.images, frames), frames)

    def run(self, images: Tensor, frames: Frames, *, counts: bool | None = None) -> ForwardPass:
        """(B, 3, H, W) images -> everything that is made of them.

        `counts`: shapes may depend on what is in the images; None: on CPUs, where nothing waits for that.
        """
        counts = images.device.type == "cpu" if counts is None else counts
        features = self.features(images)
        dense = self.predict(features, frames.batch_size)
        network_boxes, scores, labels = self.decode(dense, frames)
        boxes = self.decode.to_competing(network_boxes, frames)
        is_likely = self.select.is_likely(boxes[:, :, None], scores[..., None])
        limit = None if counts else scores.shape[1]
        found = gather_candidates(boxes[:, :, None], scores[..., None], is_likely, limit=limit)
        found = replace(found, labels=labels.gather(1, found.source))
        chosen = self.select(found, counts=counts)
        of_network = network_boxes.gather(1, chosen.source[..., None].expand(-1, -1, 4))
        detected = detected_rows(chosen, of_network if self.decode.in_original else None, compact=counts)
        return ForwardPass(features, dense, None, None, detected)

    def results(self, run: ForwardPass, frames: Frames) -> list[RawDetections]:
        """The detections of each image, in the host's memory."""
        found = run.detected.on_host(len(frames))
        assert found is not None, "there is room for all that a level may give"
        return found

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised and padded images -> maps by level."""
        features: dict[str, Tensor] = self.backbone(images)
        return features if self.neck is None else self.neck(features)

    def predict(self, features: Mapping[str, Tensor], batch_size: tuple[int, int]) -> DensePredictions:
        """Maps by level, (height, width) of the padded batch -> logits, deltas and anchors of every level."""
        maps = [features[level] for level in self.anchors.strides]
        logits, deltas = self.head(maps)
        return DensePredictions(logits, deltas, self.anchors(maps, batch_size), map_sizes(maps))

    def trace(self, batch: Batch, *, proposals: Sequence[Tensor] | None = None) -> dict[str, Any]:
        """Every stage of one forward pass by name, in order."""
        frames = make_frames(batch, pad_to=self.pad_to)
        run = self.run(batch.images, frames)
        assert run.dense is not None
        parts = (("box scores", run.dense.logits), ("box deltas", run.dense.deltas), ("anchors", run.dense.anchors))
        by_level = {name: dict(zip(self.anchors.strides, values, strict=True)) for name, values in parts}
        found = self.results(run, frames)
        return {"image": batch.images, "features": dict(run.features), **by_level, "detections": found}

    def losses(
        self,
        batch: Batch,
        *,
        sampling: DrawKind = "random",
        seeds: Tensor | None = None,
        proposals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Images with targets -> loss_class and loss_box. Every anchor trains: nothing is drawn."""
        objects = gather_objects(batch, num_classes=self.num_classes, box_offset=self.box_offset)
        frames = make_frames(batch, pad_to=self.pad_to)
        class_loss, box_loss = self.training_loss(
            self.predict(self.features(batch.images), frames.batch_size),
            objects,
            frames,
            self.anchors,
            Draw(pads=batch.images.device.type != "cpu"),
            self.moving_average if self.training else self.moving_average.clone(),
        )
        return {"loss_class": class_loss, "loss_box": box_loss}
