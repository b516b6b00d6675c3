"""What one forward pass makes, and its way to the host: detections, one row each, of all images of a batch."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from boxwright.models.cascade import BoxResult
from boxwright.models.dense import DensePredictions
from boxwright.models.proposals import Proposals
from boxwright.models.select import Candidates
from boxwright.transfer import Fetched
from boxwright.types import RawDetections

Features = Mapping[str, Tensor]


@dataclass(frozen=True)
class Detected:
    """R rows, image by image, best first, those that are padding behind them."""

    boxes: Tensor  # (R, 4) in the network frame
    original_boxes: Tensor | None  # (R, 4), where the model selects in the original image
    scores: Tensor  # (R,)
    labels: Tensor  # (R,) int64
    image: Tensor  # (R,) int64, ascending
    is_real: Tensor  # (R,) bool; the others are padding
    is_complete: Tensor  # () bool: that nothing was left out for want of room
    mask_logits: Tensor | None = None  # (R, M, M) of the class found
    mask_probabilities: Tensor | None = None  # (R, M, M)
    heatmaps: Tensor | None = None  # (R, K, S, S)

    def on_host(self, num_images: int) -> list[RawDetections] | None:
        """What was found in each image, in the host's memory but for the heatmaps; None where it is not complete.

        The one place that waits for a GPU.
        """
        image = self.image[:, None] == torch.arange(num_images, device=self.image.device)
        counts, rows = (image & self.is_real[:, None]).sum(dim=0), image.sum(dim=0)
        summary = Fetched(torch.cat((counts, rows.cumsum(0) - rows, self.is_complete[None])))
        fields = (self.boxes, self.scores, self.labels, self.original_boxes, self.mask_probabilities)
        on_their_way = [None if field is None else Fetched(field) for field in fields]
        *numbers, is_complete = summary.wait().tolist()
        if not is_complete:
            return None
        here = [*(None if field is None else field.wait() for field in on_their_way), self.heatmaps]
        starts = zip(numbers[:num_images], numbers[num_images:], strict=True)
        rows_of = [slice(start, start + count) for count, start in starts]
        return [RawDetections(*(None if field is None else field[own] for field in here)) for own in rows_of]  # type: ignore[arg-type]


@dataclass(frozen=True)
class ForwardPass:
    """Everything that one forward pass makes, in order; a part the model lacks is None."""

    features: Features
    dense: DensePredictions | None
    proposals: Proposals | None
    boxes: BoxResult | None
    detected: Detected


def detected_rows(chosen: Candidates, network_boxes: Tensor | None, *, compact: bool) -> Detected:
    """(B, D) chosen boxes -> rows; `compact`: without padding, whose rows have to be counted.

    `network_boxes`, (B, D, 4), where the chosen ones are in the original images.
    """
    num_images, count = chosen.scores.shape
    image = torch.arange(num_images, device=chosen.scores.device).repeat_interleave(count)
    rows = chosen.is_valid.flatten().nonzero()[:, 0] if compact else slice(None)
    boxes = chosen.boxes if network_boxes is None else network_boxes
    return Detected(
        boxes=boxes.flatten(0, 1)[rows],
        original_boxes=None if network_boxes is None else chosen.boxes.flatten(0, 1)[rows],
        scores=chosen.scores.flatten()[rows],
        labels=chosen.labels.flatten()[rows],
        image=image[rows],
        is_real=chosen.is_valid.flatten()[rows],
        is_complete=chosen.is_complete,
    )
