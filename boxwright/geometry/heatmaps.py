"""Keypoints read off their heatmaps."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

KeypointScore = Literal["pooled_probability", "probability", "logit"]


def decode_heatmaps(heatmaps: Tensor, boxes: Tensor, *, score: KeypointScore) -> Tensor:
    """(N, K, S, S) logits inside (N, 4) boxes -> (N, K, 3) x, y in the frame of the boxes, and a score.

    Each map is enlarged bicubically to its box, sides rounded up, at least one pixel; the keypoint is the centre of
    the highest pixel. Its score is that pixel's share of the softmax over the map as given ("pooled_probability") or
    enlarged ("probability"), or the logit itself.
    """
    num_boxes, num_keypoints = heatmaps.shape[:2]
    found = heatmaps.new_zeros(num_boxes, num_keypoints, 3)
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    sizes = sides.ceil()
    for i, (width, height) in enumerate(sizes.int().tolist()):
        enlarged = F.interpolate(heatmaps[i : i + 1], size=(height, width), mode="bicubic", align_corners=False)[0]
        best, place = enlarged.flatten(1).max(dim=1)
        pixels = torch.stack((place % width, place // width), dim=1)
        found[i, :, :2] = (pixels + 0.5) * (sides[i] / sizes[i]) + boxes[i, :2]
        found[i, :, 2] = _score(best, enlarged, heatmaps[i], score)
    return found


def _score(best: Tensor, enlarged: Tensor, heatmap: Tensor, score: KeypointScore) -> Tensor:
    if score == "logit":
        return best
    over = heatmap if score == "pooled_probability" else enlarged
    total = (over.flatten(1) - best[:, None]).exp().sum(dim=1)
    # The enlarged maximum may overshoot every cell of the map by so much that nothing is left of them.
    return 1 / total.clamp(min=torch.finfo(total.dtype).tiny)
