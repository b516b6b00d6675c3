"""The box head's work from proposals to boxes and losses: one stage, or several that refine each other's regions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from boxwright.models.box_coder import BoxCoder
from boxwright.models.box_head import BoxPrediction
from boxwright.models.frames import Frames, clip_to_images
from boxwright.models.losses import BoxLoss, ClassLoss, at_least_one
from boxwright.models.matching import NEGATIVE, POSITIVE, Matcher
from boxwright.models.objects import Objects
from boxwright.models.pooler import RegionPooler
from boxwright.models.proposals import Proposals, pad_regions
from boxwright.models.regions import Labelled, RegionLabeller, Regions
from boxwright.models.sampling import BOX_STREAM, Draw, Sampler

Features = Mapping[str, Tensor]
RegionFrame = Literal["network", "original", "rescaled"]


@dataclass(frozen=True, kw_only=True)
class BoxStage:
    """How one box head is used: what its deltas mean, which regions train it."""

    coder: BoxCoder
    matcher: Matcher
    loss_weight: float = 1.0


@dataclass(frozen=True)
class StageResult:
    """One stage on R regions."""

    regions: Tensor  # (R, 4) in the network frame
    pooled: Tensor  # (R, C, P, P)
    prediction: BoxPrediction


@dataclass(frozen=True)
class BoxResult:
    """Every stage, and what they say together: K foreground classes."""

    stages: list[StageResult]
    image: Tensor  # (R,) int64
    probabilities: Tensor  # (R, K)
    boxes: Tensor  # (R, K, 4) or (R, 1, 4), clipped; in the network frame or the original images, as the model does


@dataclass(frozen=True)
class BoxLosses:
    """The losses, the regions that trained each stage, and those they were drawn from."""

    losses: dict[str, Tensor]
    regions: list[Regions]
    region_maps: list[Tensor | None]
    labelled: Labelled


@dataclass(frozen=True, kw_only=True)
class BoxStages:
    """How the box heads of the model, one for each stage, are used. Habits as in `Conventions`."""

    stages: Sequence[BoxStage]
    pooler: RegionPooler
    labeller: RegionLabeller
    sampler: Sampler
    class_loss: ClassLoss
    box_loss: BoxLoss
    num_classes: int
    frame: RegionFrame
    averages_logits: bool
    resamples: bool
    scales_gradient: bool

    # --- inference

    def predict(
        self, heads: Sequence[nn.Module], features: Features, boxes: Tensor, image: Tensor, frames: Frames
    ) -> BoxResult:
        """(R, 4) proposals in the network frame, (R,) image -> scores and boxes of every class."""
        results: list[StageResult] = []
        for number, head in enumerate(heads):
            if number:
                boxes = self._refine(number - 1, results[-1], image, frames)
            results.append(self._run(head, features, boxes, image))
        last = results[-1]
        decoded = self._decode(self.stages[-1].coder, last.prediction.deltas.float(), last.regions, image, frames)
        if self.frame == "rescaled":
            decoded = frames.to_original(decoded, image)
        return BoxResult(results, image, self._probabilities(results), decoded)

    def _run(self, head: nn.Module, features: Features, boxes: Tensor, image: Tensor) -> StageResult:
        pooled = self.pooler(features, boxes, image)
        return StageResult(boxes, pooled, head(pooled))

    def _probabilities(self, results: Sequence[StageResult]) -> Tensor:
        """The mean over the stages -> (R, K)."""
        logits = [result.prediction.logits.float() for result in results]
        if self.averages_logits:
            return self.class_loss.probabilities(_mean(logits))
        return _mean([self.class_loss.probabilities(one) for one in logits])

    def _decode(self, coder: BoxCoder, deltas: Tensor, boxes: Tensor, image: Tensor, frames: Frames) -> Tensor:
        """(R, k, 4) deltas of (R, 4) boxes in the network frame -> clipped boxes in the frame the stages live in."""
        in_original = self.frame == "original"
        anchors = frames.to_original(boxes, image) if in_original else boxes
        sizes = frames.original if in_original else frames.network
        return clip_to_images(coder.decode(deltas, anchors), image, sizes, offset=coder.offset)

    @torch.no_grad()
    def _refine(
        self, number: int, result: StageResult, image: Tensor, frames: Frames, labels: Tensor | None = None
    ) -> Tensor:
        """The regions of the next stage, (R, 4) in the network frame: those of this one, moved by its deltas.

        With deltas per class, those of the given foreground label, else of the best class.
        """
        deltas = result.prediction.deltas.detach().float()
        if deltas.shape[1] > 1:
            best = result.prediction.logits[:, :-1].argmax(dim=1)
            chosen = best if labels is None else torch.where(labels < self.num_classes, labels, best)
            deltas = deltas[torch.arange(len(deltas), device=deltas.device), chosen, None]
        boxes = self._decode(self.stages[number].coder, deltas, result.regions, image, frames)[:, 0]
        return frames.to_network(boxes, image) if self.frame == "original" else boxes

    # --- training

    def losses(
        self,
        heads: Sequence[nn.Module],
        features: Features,
        proposals: Proposals,
        objects: Objects,
        frames: Frames,
        draw: Draw,
    ) -> BoxLosses:
        """-> loss_class and loss_box; in a cascade loss_class_1, loss_box_1, loss_class_2, ..."""
        losses: dict[str, Tensor] = {}
        regions: list[Regions] = []
        maps: list[Tensor | None] = []
        first: Labelled | None = None
        for number, (head, stage) in enumerate(zip(heads, self.stages, strict=True)):
            if number == 0 or self.resamples:
                labelled = self.labeller(proposals, objects, frames, stage.matcher)
                now = self._draw(number, head, labelled, features, objects, draw)
                first = first or labelled
            else:
                now = self._relabel(proposals, objects, frames, stage.matcher, draw)
            result = self._run_scaled(head, features, now)
            class_loss, box_loss = self._stage_losses(stage, result.prediction, now, objects, frames, draw)
            suffix = f"_{number + 1}" if len(self.stages) > 1 else ""
            losses |= {f"loss_class{suffix}": class_loss, f"loss_box{suffix}": box_loss}
            regions.append(now)
            maps.append(result.prediction.region_map)
            if number + 1 < len(self.stages):
                proposals = self._next_proposals(number, result, now, frames, draw)
        assert first is not None
        return BoxLosses(losses, regions, maps, first)

    def _draw(
        self, number: int, head: nn.Module, labelled: Labelled, features: Features, objects: Objects, draw: Draw
    ) -> Regions:
        num_images, count = labelled.label.shape
        if self.sampler.kind == "ohem":
            keys = self._hardness(head, labelled, features, objects, draw).neg()
        else:
            stream = BOX_STREAM + number
            keys = draw.keys((num_images, count), labelled.boxes.device, stream=stream, numbers=labelled.origin)
        positive, negative = self.sampler(labelled.label == POSITIVE, labelled.label == NEGATIVE, keys)
        rows = draw.rows(positive | negative, most=self.sampler.most(count))
        return labelled.regions(rows, objects, self.num_classes, most_positives=self.sampler.most_positives_of(count))

    @torch.no_grad()
    def _hardness(
        self, head: nn.Module, labelled: Labelled, features: Features, objects: Objects, draw: Draw
    ) -> Tensor:
        """-> (B, P): the class loss that each region has now."""
        count = labelled.label.shape[1]
        rows = draw.rows(labelled.label >= 0, most=count)
        every = labelled.regions(rows, objects, self.num_classes, most_positives=count)
        prediction = self._run(head, features, every.boxes, every.image).prediction
        loss = self.class_loss(prediction.logits, every.labels).masked_fill(~every.is_real, 0)
        return torch.zeros_like(labelled.boxes[..., 0]).index_put((rows.image, rows.place), loss)

    def _run_scaled(self, head: nn.Module, features: Features, regions: Regions) -> StageResult:
        if not self.scales_gradient or len(self.stages) == 1:
            return self._run(head, features, regions.boxes, regions.image)
        pooled = self.pooler(features, regions.boxes, regions.image)
        scaled = _ScaledGradient.apply(pooled, 1 / len(self.stages))  # type: ignore[no-untyped-call]
        return StageResult(regions.boxes, pooled, head(scaled))

    def _stage_losses(
        self, stage: BoxStage, prediction: BoxPrediction, regions: Regions, objects: Objects, frames: Frames, draw: Draw
    ) -> tuple[Tensor, Tensor]:
        """Class and box loss; both are averaged over all regions, so that each positive counts the same."""
        count = at_least_one(regions.is_real.sum())
        positive, place = regions.positives(draw, self.num_classes)
        deltas = prediction.deltas[place]
        row = torch.arange(len(place), device=place.device)
        deltas = deltas[:, 0] if deltas.shape[1] == 1 else deltas[row, positive.labels]
        anchors, targets = positive.boxes, objects.boxes[positive.owner]
        if self.frame == "original":
            anchors, targets = (frames.to_original(boxes, positive.image) for boxes in (anchors, targets))
        box_loss = self.box_loss(deltas, anchors, targets, stage.coder).masked_fill(~positive.is_real, 0)
        class_loss = self.class_loss(prediction.logits, regions.labels).masked_fill(~regions.is_real, 0)
        return class_loss.sum() / count * stage.loss_weight, box_loss.sum() / count * stage.loss_weight

    def _next_proposals(
        self, number: int, result: StageResult, regions: Regions, frames: Frames, draw: Draw
    ) -> Proposals:
        """Refined regions; when sampling anew without the ground truth itself, else without those left empty."""
        boxes = self._refine(number, result, regions.image, frames, regions.labels)
        offset = self.stages[number].coder.offset
        kept = ~regions.is_object if self.resamples else (boxes[:, 2:] - boxes[:, :2] + offset > 0).all(dim=1)
        if draw.pads:
            is_valid = (kept & regions.is_real).view(len(frames), -1)
            return Proposals(boxes.view(*is_valid.shape, 4), boxes.new_zeros(is_valid.shape), is_valid)
        return pad_regions(boxes[kept], regions.image[kept], num_images=len(frames))

    def _relabel(self, proposals: Proposals, objects: Objects, frames: Frames, matcher: Matcher, draw: Draw) -> Regions:
        """All regions of a later stage, matched again; ground truth has joined before."""
        labelled = self.labeller.alone()(proposals, objects, frames, matcher)
        count = proposals.is_valid.shape[1]
        rows = draw.rows(proposals.is_valid, most=count)
        return labelled.regions(rows, objects, self.num_classes, most_positives=count)


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.scale, None


def _mean(values: Sequence[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(list(values)).mean(dim=0)
