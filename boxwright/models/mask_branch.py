"""The mask head's work: from boxes to masks, from regions to its loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boxwright.models.cascade import BoxLosses
from boxwright.models.frames import Frames
from boxwright.models.losses import at_least_one, no_loss
from boxwright.models.mask_targets import MaskTargets, mask_targets
from boxwright.models.objects import Objects
from boxwright.models.pooler import RegionPooler
from boxwright.models.regions import Regions
from boxwright.models.sampling import Draw


@dataclass(frozen=True, kw_only=True)
class MaskBranch:
    """How the mask heads of the model are used: one, or one for each stage of the cascade.

    `reads_box_head`: their regions are the map of the box head.
    """

    pooler: RegionPooler
    reads_box_head: bool
    targets: MaskTargets
    num_classes: int
    loss_weight: float
    stage_weights: Sequence[float]

    def predict(
        self,
        heads: Sequence[nn.Module],
        box_head: nn.Module,
        features: Mapping[str, Tensor],
        boxes: Tensor,
        image: Tensor,
        labels: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """(D, 4) boxes in the network frame, (D,) image and class -> (D, M, M) logits and probabilities.

        Of several heads: the logits of the last, the mean of the probabilities.
        """
        regions = self.pooler(features, boxes, image)
        if self.reads_box_head:
            regions = box_head.region_map(regions)  # type: ignore[operator]
        logits = [head(regions, labels).float() for head in heads]
        return logits[-1], torch.stack([one.sigmoid() for one in logits]).mean(dim=0)

    def losses(
        self,
        heads: Sequence[nn.Module],
        features: Mapping[str, Tensor],
        boxes: BoxLosses,
        objects: Objects,
        frames: Frames,
        draw: Draw,
    ) -> dict[str, Tensor]:
        """-> loss_mask, or loss_mask_1, loss_mask_2, ... with a head per stage. Positive regions of the box head train.

        In a cascade with one mask head they are those of the first stage.
        """
        losses = {}
        for number, head in enumerate(heads):
            suffix = f"_{number + 1}" if len(heads) > 1 else ""
            weight = self.loss_weight * (self.stage_weights[number] if len(heads) > 1 else 1)
            positive, place = boxes.regions[number].positives(draw, self.num_classes)
            region_map = boxes.region_maps[number]
            shared = region_map[place] if self.reads_box_head and region_map is not None else None
            loss = self._head_loss(head, features, positive, shared, objects, frames)
            losses[f"loss_mask{suffix}"] = loss * weight
        return losses

    def _head_loss(
        self,
        head: nn.Module,
        features: Mapping[str, Tensor],
        positive: Regions,
        shared: Tensor | None,
        objects: Objects,
        frames: Frames,
    ) -> Tensor:
        """`shared`: the regions' part of the box head's map, where the mask head reads that."""
        count = at_least_one(positive.is_real.sum())
        if not len(positive.boxes):
            return no_loss(head).to(positive.boxes.device)
        pooled = self.pooler(features, positive.boxes, positive.image) if shared is None else shared
        logits = head(pooled, positive.labels).float()
        targets = mask_targets(positive, objects, frames, size=logits.shape[-1], rule=self.targets)
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").flatten(1).mean(dim=1)
        return loss.masked_fill(~positive.is_real, 0).sum() / count
