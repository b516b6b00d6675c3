"""Masks of boxes pasted into their image, in plain torch: the definition the other backends must match."""

from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torch.nn import functional

from boxwright.ops.rules import PasteRule

# Larger coordinates mean the same to any picture: keeps the integer arithmetic from overflowing.
MAX_COORDINATE = 1 << 24


def paste_masks(masks: Tensor, boxes: Tensor, rule: PasteRule) -> Tensor:
    """(N, h, w) probabilities, (N, 4) boxes in the original image -> (N, H, W) bool.

    "sampled": the mask is read at the centre of each pixel of the box and one pixel around, and set where the value is
    >= threshold; a box without area gives an empty mask. "resized": the mask gets a border of one zero, the box grows
    by as much and is cut to whole pixels (both ends belong to it), the mask is resized to it and set where > threshold.
    A box that is not finite gives an empty mask.
    """
    out = torch.zeros(len(masks), *rule.size, dtype=torch.bool, device=masks.device)
    one = _sampled if rule.method == "sampled" else _resized
    for mask, box, target in zip(masks.float(), boxes.float(), out, strict=True):
        if box.isfinite().all():
            one(mask, box.clamp(-MAX_COORDINATE, MAX_COORDINATE), target, rule.threshold)
    return out


def paste_masks_rle(masks: Tensor, boxes: Tensor, rule: PasteRule) -> list[dict[str, Any]]:
    """As `paste_masks`, one at a time -> N COCO run-length encodings {"size": [H, W], "counts": bytes}."""
    encoded = []
    for i in range(len(masks)):
        bitmap = paste_masks(masks[i : i + 1], boxes[i : i + 1], rule)
        encoded.append(coco_mask.encode(np.asfortranarray(bitmap[0].cpu().numpy().astype(np.uint8))))
    return encoded


def _sampled(mask: Tensor, box: Tensor, target: Tensor, threshold: float) -> None:
    height, width = target.shape
    left, top = ((box[:2].floor() - 1).clamp(min=0)).int().tolist()
    right, bottom = min(int(box[2].ceil()) + 1, width), min(int(box[3].ceil()) + 1, height)
    if box[2] <= box[0] or box[3] <= box[1] or right <= left or bottom <= top:
        return
    y = torch.arange(top, bottom, dtype=torch.float32, device=mask.device) + 0.5
    x = torch.arange(left, right, dtype=torch.float32, device=mask.device) + 0.5
    y = (y - box[1]) / (box[3] - box[1]) * 2 - 1
    x = (x - box[0]) / (box[2] - box[0]) * 2 - 1
    grid = torch.stack((x.expand(len(y), -1), y[:, None].expand(-1, len(x))), dim=-1)
    values = functional.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]
    target[top:bottom, left:right] = values >= threshold


def _resized(mask: Tensor, box: Tensor, target: Tensor, threshold: float) -> None:
    x1, y1, x2, y2 = _grown(box, mask.shape).int().tolist()
    top, bottom = max(y1, 0), min(y2 + 1, target.shape[0])
    left, right = max(x1, 0), min(x2 + 1, target.shape[1])
    if bottom <= top or right <= left:
        return
    mask = functional.pad(mask, (1, 1, 1, 1))
    row, next_row, low_share = _resize_axis(top - y1, bottom - y1, max(y2 - y1 + 1, 1), mask.shape[0], mask)
    column, next_column, right_share = _resize_axis(left - x1, right - x1, max(x2 - x1 + 1, 1), mask.shape[1], mask)
    across = mask[:, column] * (1 - right_share) + mask[:, next_column] * right_share
    values = across[row] * (1 - low_share)[:, None] + across[next_row] * low_share[:, None]
    target[top:bottom, left:right] = values > threshold


def _grown(box: Tensor, mask_size: torch.Size) -> Tensor:
    """The box of the mask with its border of one, about the same centre."""
    growth = box.new_tensor([(n + 2.0) / n for n in (mask_size[1], mask_size[0])])
    half = (box[2:] - box[:2]) * 0.5 * growth
    centre = (box[2:] + box[:2]) * 0.5
    return torch.cat((centre - half, centre + half))


def _resize_axis(first: int, last: int, new_size: int, old_size: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels first..last of the new size -> the old pixel of each, the next one, and the share of the next."""
    place = (torch.arange(first, last, dtype=like.dtype, device=like.device) + 0.5) * (old_size / new_size) - 0.5
    place = place.clamp(min=0)
    low = place.floor().clamp(max=old_size - 1)
    share = (place - low).clamp(max=1)
    return low.long(), (low.long() + 1).clamp(max=old_size - 1), share
