"""The mask head's work: from boxes to masks, from regions to its loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from boxwright.models.box_head import StageBoxHead
from boxwright.models.cascade import BoxLosses
from boxwright.models.frames import Frames
from boxwright.models.losses import at_least_one, no_loss
from boxwright.models.mask_head import MaskHead
from boxwright.models.mask_targets import MaskTargets, mask_targets
from boxwright.models.objects import Objects
from boxwright.models.pooler import RegionPooler
from boxwright.models.regions import Regions


@dataclass(frozen=True, kw_only=True)
class MaskBranch:
    """`heads` has one head, or one for each stage of the cascade. `shared`: the box head whose map the masks read."""

    heads: Sequence[MaskHead]
    pooler: RegionPooler
    shared: StageBoxHead | None
    targets: MaskTargets
    num_classes: int
    loss_weight: float
    stage_weights: Sequence[float]

    def predict(
        self, features: Mapping[str, Tensor], boxes: Tensor, image: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(D, 4) boxes in the network frame, (D,) image and class -> (D, M, M) logits and probabilities.

        Of several heads: the logits of the last, the mean of the probabilities.
        """
        regions = self.pooler(features, boxes, image)
        if self.shared is not None:
            regions = self.shared.region_map(regions)
        logits = [head(regions, labels).float() for head in self.heads]
        return logits[-1], torch.stack([one.sigmoid() for one in logits]).mean(dim=0)

    def losses(
        self, features: Mapping[str, Tensor], boxes: BoxLosses, objects: Objects, frames: Frames
    ) -> dict[str, Tensor]:
        """-> loss_mask, or loss_mask_1, loss_mask_2, ... with a head per stage. Positive regions of the box head train.

        In a cascade with one mask head they are those of the first stage.
        """
        losses = {}
        for number, head in enumerate(self.heads):
            suffix = f"_{number + 1}" if len(self.heads) > 1 else ""
            weight = self.loss_weight * (self.stage_weights[number] if len(self.heads) > 1 else 1)
            regions, region_map = boxes.regions[number], boxes.region_maps[number]
            loss = self._head_loss(head, features, regions, region_map, objects, frames)
            losses[f"loss_mask{suffix}"] = loss * weight
        return losses

    def _head_loss(
        self,
        head: MaskHead,
        features: Mapping[str, Tensor],
        regions: Regions,
        region_map: Tensor | None,
        objects: Objects,
        frames: Frames,
    ) -> Tensor:
        positive = (regions.labels < self.num_classes).nonzero()[:, 0]
        count = at_least_one(positive.new_full((), len(positive)))
        if not len(positive):
            return no_loss(head).to(regions.boxes.device)
        chosen = regions[positive]
        if self.shared is not None and region_map is not None:
            pooled = region_map[positive]
        else:
            pooled = self.pooler(features, chosen.boxes, chosen.image)
        logits = head(pooled, chosen.labels).float()
        targets = mask_targets(chosen, objects, frames, size=logits.shape[-1], rule=self.targets)
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").flatten(1).mean(dim=1)
        return loss.sum() / count
