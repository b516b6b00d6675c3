"""The two-stage detector, assembled from parts: backbone, neck, proposals, box head, mask head, keypoint head."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from boxwright.models.cascade import BoxResult, BoxStages
from boxwright.models.dense import DensePredictions
from boxwright.models.detected import Detected, Features, ForwardPass, detected_rows
from boxwright.models.frames import Frames, by_image, make_frames
from boxwright.models.keypoint_branch import KeypointBranch
from boxwright.models.mask_branch import MaskBranch
from boxwright.models.objects import gather_objects
from boxwright.models.proposals import GivenProposals, Proposals, check_given, flat_on_host, pad_regions
from boxwright.models.rpn import RPN
from boxwright.models.sampling import Draw, DrawKind
from boxwright.models.select import CANDIDATES, Candidates, DetectionSelector, gather_candidates
from boxwright.types import Batch, RawDetections


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """How the model counts pixels. The offsets are those of the far corner of a box and of a keypoint, 0 or 1."""

    pad_to: int
    box_offset: float
    keypoint_offset: float


class RCNN(nn.Module):
    """Features, proposals, then the heads on each region.

    Keys: backbone.*, neck.*, rpn.*, box_head.* (in a cascade box_stages.0.*, box_stages.1.*, ...), mask_head.* (or
    mask_stages.0.*, ...), keypoint_head.*. Every part is held there alone: another module put in its place is what is
    called from then on. How the heads are used stands beside them, in `boxes`, `masks` and `keypoints`.

    Without a box head the proposals are the detections, all of class 0. `forward` does not depend on training mode
    beyond what layers do (batch statistics, dropout).
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        neck: nn.Module | None,
        proposals: RPN | GivenProposals,
        box: tuple[BoxStages, Sequence[nn.Module]] | None,
        mask: tuple[MaskBranch, Sequence[nn.Module]] | None,
        keypoint: tuple[KeypointBranch, nn.Module] | None,
        select: DetectionSelector,
        coordinates: Coordinates,
    ) -> None:
        """A kind of head comes with how it is used; of boxes and masks there is one, or one for each stage."""
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.rpn = proposals if isinstance(proposals, RPN) else None
        self.given = proposals if isinstance(proposals, GivenProposals) else None
        self.boxes = None if box is None else box[0]
        self.masks = None if mask is None else mask[0]
        self.keypoints = None if keypoint is None else keypoint[0]
        self.box_head, self.box_stages = _alone_or_several([] if box is None else box[1])
        self.mask_head, self.mask_stages = _alone_or_several([] if mask is None else mask[1])
        self.keypoint_head = None if keypoint is None else keypoint[1]
        self.select = select
        self.coordinates = coordinates

    @property
    def num_classes(self) -> int:
        """Foreground classes."""
        return self.select.num_classes

    @property
    def pad_to(self) -> int:
        """Sides of padded images are multiples of this many pixels."""
        return self.coordinates.pad_to

    @property
    def box_offset(self) -> float:
        """1 where the far corner of a box is its last pixel, 0 where it is the end of that pixel."""
        return self.coordinates.box_offset

    @property
    def proposes(self) -> bool:
        """Whether nothing is needed beside the images."""
        return self.rpn is not None

    @property
    def in_original(self) -> bool:
        """Whether boxes compete in the original images, and not in the network frame."""
        return self.boxes is not None and self.boxes.frame != "network"

    @property
    def describes(self) -> bool:
        """Whether it says more of a box than its class."""
        return self.masks is not None or self.keypoints is not None

    @property
    def box_heads(self) -> Sequence[nn.Module]:
        """One for each stage."""
        return _all_of(self.box_head, self.box_stages)

    @property
    def mask_heads(self) -> Sequence[nn.Module]:
        """One, or one for each stage."""
        return _all_of(self.mask_head, self.mask_stages)

    # --- one forward pass

    def forward(self, batch: Batch, *, proposals: Sequence[Tensor] | None = None) -> list[RawDetections]:
        """Images -> what is found in each, in the network frame.

        `proposals`: (P_i, 4) boxes of each image in the network frame, best first; they replace those of the RPN.
        """
        frames = make_frames(batch, pad_to=self.pad_to)
        return self.results(self.run(batch.images, frames, proposals=proposals), frames)

    def run(
        self,
        images: Tensor,
        frames: Frames,
        *,
        proposals: Sequence[Tensor] | None = None,
        counts: bool | None = None,
    ) -> ForwardPass:
        """(B, 3, H, W) normalised and padded images -> everything that is made of them.

        `counts`: shapes may depend on what is in the images; None: on CPUs, where nothing waits for that. Without, all
        is done in tensors of fixed shapes with padding: a GPU is not waited for, and a recording can play it.
        """
        counts = images.device.type == "cpu" if counts is None else counts
        found = self.find(images, frames, proposals=proposals, counts=counts)
        # Masks and keypoints are looked for in the few boxes that are kept, as those boxes are.
        return replace(found, detected=self.describe(found.features, found.detected))

    def find(
        self, images: Tensor, frames: Frames, *, proposals: Sequence[Tensor] | None = None, counts: bool
    ) -> ForwardPass:
        """As `run`, without masks and keypoints."""
        # What the image shows, at several strides.
        features = self.features(images)
        # Where something may be: the best of some 200,000 anchors, or what the caller gives.
        dense, regions = self.propose(features, frames, proposals, training=False)
        if counts:
            regions = regions.counted()
        if self.boxes is None:
            return ForwardPass(features, dense, regions, None, self._regions_alone(regions, counts=counts))
        # What is there: a score for each class, and a better box.
        result = self.judge(features, *regions.padded(), frames)
        # Few of many: one object is seen by many regions.
        return ForwardPass(features, dense, regions, result, self.choose(result, regions, frames, counts=counts))

    def results(self, run: ForwardPass, frames: Frames) -> list[RawDetections]:
        """The detections of each image, in the host's memory but for the heatmaps: the one place that waits for a GPU.

        Where an image had more candidates than were looked at, they are counted, and chosen from anew.
        """
        found = run.detected.on_host(len(frames))
        if found is None:
            assert run.boxes is not None
            assert run.proposals is not None
            chosen = self.choose(run.boxes, run.proposals, frames, counts=True)
            found = self.describe(run.features, chosen).on_host(len(frames))
            assert found is not None, "all candidates have been counted"
        return found

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised and padded images -> maps by level."""
        features: dict[str, Tensor] = self.backbone(images)
        return features if self.neck is None else self.neck(features)

    def propose(
        self, features: Features, frames: Frames, given: Sequence[Tensor] | None, *, training: bool
    ) -> tuple[DensePredictions | None, Proposals]:
        """-> what the RPN says of every anchor, and the regions that the heads look at."""
        if self.given is not None:
            check_given(given, len(frames))
            assert given is not None
            return None, self.given(given, frames, training=training)
        assert self.rpn is not None
        predict = self.rpn.predict_for_training if training else self.rpn
        dense = predict(features, frames.batch_size)
        if given is None:
            return dense, self.rpn.select(dense, frames, training=training)
        check_given(given, len(frames))
        return dense, pad_regions(*flat_on_host(given), num_images=len(frames)).to(frames.network.device)

    def judge(self, features: Features, regions: Tensor, image: Tensor, frames: Frames) -> BoxResult:
        """(R, 4) regions in the network frame, (R,) image -> what the box heads say of them."""
        assert self.boxes is not None
        return self.boxes.predict(self.box_heads, features, regions, image, frames)

    def choose(self, result: BoxResult, regions: Proposals, frames: Frames, *, counts: bool) -> Detected:
        """The detections among what the box heads say of B * P regions, padding among them."""
        shape = regions.is_valid.shape
        boxes, scores = (part.view(*shape, *part.shape[1:]) for part in (result.boxes, result.probabilities))
        is_likely = self.select.is_likely(boxes, scores) & regions.is_valid[..., None]
        candidates = gather_candidates(boxes, scores, is_likely, limit=None if counts else CANDIDATES)
        chosen = self.select(candidates, counts=counts)
        in_network = by_image(frames.to_network, chosen.boxes) if self.in_original else None
        return detected_rows(chosen, in_network, compact=counts)

    def _regions_alone(self, regions: Proposals, *, counts: bool) -> Detected:
        none = torch.zeros_like(regions.is_valid, dtype=torch.int64)
        is_complete = torch.ones((), dtype=torch.bool, device=none.device)
        rows = Candidates(regions.boxes, regions.logits.sigmoid(), none, none, regions.is_valid, is_complete)
        return detected_rows(rows, None, compact=counts)

    def describe(self, features: Features, detected: Detected) -> Detected:
        """With the masks and keypoints of the boxes."""
        if self.masks is not None:
            at = (detected.boxes, detected.image, detected.labels)
            logits, probabilities = self.masks.predict(self.mask_heads, self.box_heads[0], features, *at)
            detected = replace(detected, mask_logits=logits, mask_probabilities=probabilities)
        if self.keypoints is not None:
            assert self.keypoint_head is not None
            heatmaps = self.keypoints.predict(self.keypoint_head, features, detected.boxes, detected.image)
            detected = replace(detected, heatmaps=heatmaps)
        return detected

    def trace(self, batch: Batch, *, proposals: Sequence[Tensor] | None = None) -> dict[str, Any]:
        """Every stage of one forward pass by name, in order: tensors, lists by level or image, or dicts of them."""
        frames = make_frames(batch, pad_to=self.pad_to)
        run = self.run(batch.images, frames, proposals=proposals, counts=True)  # all rows are what is found
        stages: dict[str, Any] = {"image": batch.images, "features": dict(run.features)}
        if run.dense is not None:
            assert self.rpn is not None
            stages["rpn logits"] = dict(zip(self.rpn.levels, run.dense.logits, strict=True))
            stages["rpn deltas"] = dict(zip(self.rpn.levels, run.dense.deltas, strict=True))
            stages["anchors"] = dict(zip(self.rpn.levels, run.dense.anchors, strict=True))
        assert run.proposals is not None
        found = [run.proposals.of_image(i) for i in range(len(batch))]
        stages["proposals"] = [{"boxes": boxes, "logits": logits} for boxes, logits in found]
        if run.boxes is not None:
            last, is_real = run.boxes.stages[-1], run.proposals.is_valid.flatten()
            stages["pooled"] = last.pooled[is_real]
            stages["box scores"] = last.prediction.logits[is_real]
            stages["box deltas"] = last.prediction.deltas[is_real]
        stages["detections"] = self.results(run, frames)
        extras = {"mask logits": run.detected.mask_logits, "keypoint heatmaps": run.detected.heatmaps}
        return stages | {name: value for name, value in extras.items() if value is not None}

    # --- training

    def losses(
        self,
        batch: Batch,
        *,
        sampling: DrawKind = "random",
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
            keypoint_offset=self.coordinates.keypoint_offset,
        )
        features = self.features(batch.images)
        dense, found = self.propose(features, frames, proposals, training=True)
        losses: dict[str, Tensor] = {}
        if dense is not None and self.rpn is not None:
            losses |= self.rpn.losses(features, dense, objects, frames, draw)
        if self.boxes is None:
            return losses
        made = self.boxes.losses(self.box_heads, features, found, objects, frames, draw)
        losses |= made.losses
        if self.masks is not None:
            losses |= self.masks.losses(self.mask_heads, features, made, objects, frames, draw)
        if self.keypoints is not None:
            assert self.keypoint_head is not None
            losses |= self.keypoints.losses(self.keypoint_head, features, made, objects, frames, draw)
        return losses

    def _pads(self, device: torch.device) -> bool:
        """Not on CPUs, where counting costs nothing, and not where statistics over regions would see the padding."""
        heads = (module for name, module in self.named_modules() if name.startswith(("box_", "mask_", "keypoint_")))
        return device.type != "cpu" and not any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training for module in heads
        )


def _alone_or_several(heads: Sequence[nn.Module]) -> tuple[nn.Module | None, nn.ModuleList | None]:
    return (heads[0], None) if len(heads) == 1 else (None, nn.ModuleList(heads) if heads else None)


def _all_of(alone: nn.Module | None, several: nn.ModuleList | None) -> Sequence[nn.Module]:
    return [alone] if alone is not None else list(several or ())
