"""The two-stage detector, assembled from parts: backbone, neck, proposals, box head, mask head, keypoint head."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from boxwright.models.cascade import BoxResult, BoxStages
from boxwright.models.dense import DensePredictions
from boxwright.models.fixed_select import FixedChoice, choose_fixed
from boxwright.models.frames import Frames, make_frames
from boxwright.models.keypoint_branch import KeypointBranch
from boxwright.models.mask_branch import MaskBranch
from boxwright.models.objects import gather_objects
from boxwright.models.proposals import GivenProposals, Proposals, check_given, flat_on_host, pad_regions
from boxwright.models.rpn import RPN
from boxwright.models.sampling import Choice, Draw
from boxwright.models.select import Candidates, DetectionSelector, per_image
from boxwright.transfer import Fetched
from boxwright.types import Batch, RawDetections

Features = Mapping[str, Tensor]


@dataclass(frozen=True)
class Detected:
    """The boxes of a batch that are kept, and what the other heads say of them."""

    boxes: Tensor  # (D, 4) in the network frame
    original_boxes: Tensor | None  # (D, 4), where the model selects in the original image
    scores: Tensor  # (D,)
    labels: Tensor  # (D,) int64
    image: Tensor  # (D,) int64, ascending
    mask_logits: Tensor | None = None  # (D, M, M) of the class found
    mask_probabilities: Tensor | None = None  # (D, M, M)
    heatmaps: Tensor | None = None  # (D, K, S, S)

    def per_image(self, num_images: int) -> list[RawDetections]:
        kept = (self.boxes, self.scores, self.labels, self.original_boxes)
        return per_image(self.image, num_images, *kept, self.mask_probabilities, self.heatmaps)

    def first_of_each_image(self, choice: FixedChoice) -> list[RawDetections] | None:
        """Of equally many rows for each image those that are real, in the host's memory but for the heatmaps.

        None if the choice is not complete. The one place that waits for the device.
        """
        summary = Fetched(choice.summary)
        fields = (self.boxes, self.scores, self.labels, self.original_boxes, self.mask_probabilities)
        on_their_way = [None if field is None else Fetched(field) for field in fields]
        *counts, is_complete = summary.wait().tolist()
        if not is_complete:
            return None
        here = [*(None if field is None else field.wait() for field in on_their_way), self.heatmaps]
        share = len(self.boxes) // len(counts)
        rows = [slice(i * share, i * share + count) for i, count in enumerate(counts)]
        return [RawDetections(*(None if field is None else field[row] for field in here)) for row in rows]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Run:
    """Everything that one forward pass makes, in order; a part the model lacks is None."""

    features: Features
    dense: DensePredictions | None
    proposals: Proposals
    boxes: BoxResult | None
    detected: Detected


FixedRun = Callable[[Tensor, Frames], tuple[Detected, FixedChoice]]


class RCNN(nn.Module):
    """Features, proposals, then the heads on each region.

    Keys: backbone.*, neck.*, rpn.*, box_head.* (in a cascade box_stages.0.*, box_stages.1.*, ...), mask_head.* (or
    mask_stages.0.*, ...), keypoint_head.*.

    Without a box head the proposals are the detections, all of class 0. `forward` does not depend on training mode
    beyond what layers do (batch statistics, dropout).
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        neck: nn.Module | None,
        proposals: RPN | GivenProposals,
        proposal_levels: Sequence[str],
        boxes: BoxStages | None,
        select: DetectionSelector,
        score_threshold: float,
        min_size: float,
        masks: MaskBranch | None,
        keypoints: KeypointBranch | None,
        num_classes: int,
        box_offset: float,
        keypoint_offset: float,
        pad_to: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.rpn = proposals if isinstance(proposals, RPN) else None
        self.given = proposals if isinstance(proposals, GivenProposals) else None
        self.proposal_levels = tuple(proposal_levels)
        self.boxes, self.masks, self.keypoints = boxes, masks, keypoints
        self._register_heads()
        self.select = select
        self.score_threshold = score_threshold
        self.min_size = min_size
        self.num_classes = num_classes
        self.box_offset = box_offset
        self.keypoint_offset = keypoint_offset
        self.pad_to = pad_to

    def _register_heads(self) -> None:
        """The branches are plain objects; the layers they use belong to the model under the keys above."""
        heads = [] if self.boxes is None else [stage.head for stage in self.boxes.stages]
        if len(heads) == 1:
            self.box_head = heads[0]
        elif heads:
            self.box_stages = nn.ModuleList(heads)
        if self.masks is not None and len(self.masks.heads) == 1:
            self.mask_head = self.masks.heads[0]
        elif self.masks is not None:
            self.mask_stages = nn.ModuleList(self.masks.heads)
        if self.keypoints is not None:
            self.keypoint_head = self.keypoints.head

    # --- one forward pass

    def forward(self, batch: Batch, *, proposals: Sequence[Tensor] | None = None) -> list[RawDetections]:
        """Images -> what is found in each, in the network frame.

        `proposals`: (P_i, 4) boxes of each image in the network frame, best first; they replace those of the RPN.
        """
        if batch.images.is_cuda and proposals is None and self.has_fixed_size:
            found = self.forward_fixed(batch)
            if found is not None:
                return found
        return self.run(batch, proposals=proposals).detected.per_image(len(batch))

    @property
    def has_fixed_size(self) -> bool:
        return self.boxes is not None and self.rpn is not None and self.select.has_fixed_size

    def forward_fixed(self, batch: Batch, *, run: FixedRun | None = None) -> list[RawDetections] | None:
        """As `forward`, waiting for the device only at the end; None if an image has more candidates than are seen.

        Padding goes through the heads too: it is for GPUs, where waiting costs more. `run` replaces `run_fixed`.
        """
        detected, choice = (run or self.run_fixed)(batch.images, make_frames(batch, pad_to=self.pad_to))
        return detected.first_of_each_image(choice)

    def run_fixed(self, images: Tensor, frames: Frames) -> tuple[Detected, FixedChoice]:
        """(B, 3, H, W) images -> detections in tensors whose shapes do not depend on what is in the images."""
        assert self.boxes is not None
        features = self.features(images)
        _, found = self._propose(features, frames, None, training=False)
        result = self.boxes.predict(features, *found.padded(), frames)
        is_likely = self._is_likely(result) & found.is_valid.flatten()[:, None]
        choice = choose_fixed(result, is_likely, self.select, num_images=len(frames), num_classes=self.num_classes)
        return self._look_closer(features, self._chosen(choice.rows, frames)), choice

    def run(self, batch: Batch, *, proposals: Sequence[Tensor] | None = None) -> Run:
        """As `forward`, with all that was made on the way."""
        found = self.find(batch, proposals=proposals)
        return replace(found, detected=self._look_closer(found.features, found.detected))

    def find(self, batch: Batch, *, proposals: Sequence[Tensor] | None = None) -> Run:
        """As `run`, without masks and keypoints."""
        frames = make_frames(batch, pad_to=self.pad_to)
        features = self.features(batch.images)
        dense, found = self._propose(features, frames, proposals, training=False)
        if self.boxes is None:
            return Run(features, dense, found, None, _proposals_alone(found))
        boxes, image = found.flat()
        result = self.boxes.predict(features, boxes, image, frames)
        detected = self._detect(result, frames)
        return Run(features, dense, found, result, detected)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised and padded images -> maps by level."""
        features: dict[str, Tensor] = self.backbone(images)
        return features if self.neck is None else self.neck(features)

    def _propose(
        self, features: Features, frames: Frames, given: Sequence[Tensor] | None, *, training: bool
    ) -> tuple[DensePredictions | None, Proposals]:
        if self.given is not None:
            check_given(given, len(frames))
            assert given is not None
            return None, self.given(given, frames, training=training)
        assert self.rpn is not None
        predict = self.rpn.predict_for_training if training else self.rpn
        dense = predict(self._proposal_maps(features), frames.batch_size)
        if given is None:
            return dense, self.rpn.select(dense, frames, training=training)
        check_given(given, len(frames))
        return dense, pad_regions(*flat_on_host(given), num_images=len(frames)).to(frames.network.device)

    def _proposal_maps(self, features: Features) -> list[Tensor]:
        return [features[level] for level in self.proposal_levels]

    def _detect(self, result: BoxResult, frames: Frames) -> Detected:
        region, label = self._is_likely(result).nonzero(as_tuple=True)
        boxes = result.boxes[region, label if result.boxes.shape[1] > 1 else torch.zeros_like(label)]
        candidates = Candidates(boxes, result.probabilities[region, label], label, result.image[region], region)
        return self._chosen(self.select(candidates, num_classes=self.num_classes), frames)

    def _is_likely(self, result: BoxResult) -> Tensor:
        """-> (R, K) bool: boxes that are no noise."""
        boxes = result.boxes
        is_good = boxes.isfinite().all(dim=2)
        if self.min_size > 0:
            is_good &= (boxes[..., 2:] - boxes[..., :2] + self.box_offset >= self.min_size).all(dim=2)
        return (result.probabilities > self.score_threshold) & is_good

    def _chosen(self, chosen: Candidates, frames: Frames) -> Detected:
        assert self.boxes is not None
        if self.boxes.frame == "network":
            return Detected(chosen.boxes, None, chosen.scores, chosen.labels, chosen.image)
        boxes = frames.to_network(chosen.boxes, chosen.image)
        return Detected(boxes, chosen.boxes, chosen.scores, chosen.labels, chosen.image)

    def _look_closer(self, features: Features, detected: Detected) -> Detected:
        """Masks and keypoints of the boxes that were kept."""
        logits = probabilities = heatmaps = None
        if self.masks is not None:
            logits, probabilities = self.masks.predict(features, detected.boxes, detected.image, detected.labels)
        if self.keypoints is not None:
            heatmaps = self.keypoints.predict(features, detected.boxes, detected.image)
        kept = (detected.boxes, detected.original_boxes, detected.scores, detected.labels, detected.image)
        return Detected(*kept, logits, probabilities, heatmaps)

    def trace(self, batch: Batch, *, proposals: Sequence[Tensor] | None = None) -> dict[str, Any]:
        """Every stage of one forward pass by name, in order: tensors, lists by level or image, or dicts of them."""
        run = self.run(batch, proposals=proposals)
        stages: dict[str, Any] = {"image": batch.images, "features": dict(run.features)}
        if run.dense is not None:
            stages["rpn logits"] = dict(zip(self.proposal_levels, run.dense.logits, strict=True))
            stages["rpn deltas"] = dict(zip(self.proposal_levels, run.dense.deltas, strict=True))
            stages["anchors"] = dict(zip(self.proposal_levels, run.dense.anchors, strict=True))
        found = [run.proposals.of_image(i) for i in range(len(batch))]
        stages["proposals"] = [{"boxes": boxes, "logits": logits} for boxes, logits in found]
        if run.boxes is not None:
            last = run.boxes.stages[-1]
            stages["pooled"] = last.pooled
            stages["box scores"] = last.prediction.logits
            stages["box deltas"] = last.prediction.deltas
        stages["detections"] = run.detected.per_image(len(batch))
        extras = {"mask logits": run.detected.mask_logits, "keypoint heatmaps": run.detected.heatmaps}
        return stages | {name: value for name, value in extras.items() if value is not None}

    # --- training

    def losses(
        self,
        batch: Batch,
        *,
        sampling: Choice = "random",
        seeds: Tensor | None = None,
        proposals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Images with targets -> scalars whose sum is to be made small.

        loss_rpn_class, loss_rpn_box, loss_class, loss_box (in a cascade loss_class_1, loss_box_1, ...), loss_mask,
        loss_keypoint. `sampling` "first" draws the first examples by index in the place of random ones, which depend on
        `seeds`, (B,) int64 below 2**62.
        """
        draw = Draw(sampling, seeds, pads=self._pads(batch.images.device))
        frames = make_frames(batch, pad_to=self.pad_to)
        objects = gather_objects(
            batch,
            num_classes=self.num_classes,
            box_offset=self.box_offset,
            keypoint_offset=self.keypoint_offset,
        )
        features = self.features(batch.images)
        dense, found = self._propose(features, frames, proposals, training=True)
        losses: dict[str, Tensor] = {}
        if dense is not None and self.rpn is not None:
            losses |= self.rpn.losses(self._proposal_maps(features), dense, objects, frames, draw)
        if self.boxes is None:
            return losses
        made = self.boxes.losses(features, found, objects, frames, draw)
        losses |= made.losses
        if self.masks is not None:
            losses |= self.masks.losses(features, made, objects, frames, draw)
        if self.keypoints is not None:
            losses |= self.keypoints.losses(features, made, objects, frames, draw)
        return losses

    def _pads(self, device: torch.device) -> bool:
        """Not on CPUs, where counting costs nothing, and not where statistics over regions would see the padding."""
        heads = (module for name, module in self.named_modules() if name.startswith(("box_", "mask_", "keypoint_")))
        return device.type != "cpu" and not any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training for module in heads
        )


def _proposals_alone(found: Proposals) -> Detected:
    boxes, image = found.flat()
    scores = found.logits[found.is_valid].sigmoid()
    return Detected(boxes, None, scores, torch.zeros_like(image), image)
