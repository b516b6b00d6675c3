"""Masks of boxes pasted into their image on the CPU: only the pixels of each box are computed."""

from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from boxwright.ops.reference.paste_masks import MAX_COORDINATE

from .kernel import exact_kernel
from .threads import run_chunks


def paste_masks(masks: Tensor, boxes: Tensor, *, size: tuple[int, int], threshold: float, method: str) -> Tensor:
    """As `reference.paste_masks`, to the bit."""
    given = _arrays(masks, boxes)
    # Fresh zeros of the system: pages that no mask touches are never written.
    out = np.zeros((len(masks), *size), np.uint8)
    level, is_sampled = np.float32(threshold), method == "sampled"
    run_chunks(lambda begin, end: _paste(*given, level, is_sampled, begin, end, out), len(masks), 1)
    return torch.from_numpy(out.view(np.bool_))


def paste_masks_rle(
    masks: Tensor, boxes: Tensor, *, size: tuple[int, int], threshold: float, method: str
) -> list[dict[str, Any]]:
    """As `reference.paste_masks_rle`, to the byte; holds the bitmap of one box per thread."""
    source, targets = _arrays(masks, boxes)
    level, is_sampled = np.float32(threshold), method == "sampled"
    counts: list[bytes] = [b""] * len(masks)

    def encode(begin: int, end: int) -> None:
        for i in range(begin, end):
            counts[i] = _encode(source[i], targets[i], *size, level, is_sampled).tobytes()

    run_chunks(encode, len(masks), 1)
    return [{"size": list(size), "counts": c} for c in counts]


def _arrays(masks: Tensor, boxes: Tensor) -> tuple[np.ndarray, np.ndarray]:
    limited = np.clip(boxes.float().numpy(), -MAX_COORDINATE, MAX_COORDINATE)
    limited[~np.isfinite(boxes.float().numpy()).all(axis=1)] = np.nan
    return masks.float().contiguous().numpy(), limited


@intrinsic
def _fused(typing_context, a, b, c):
    """a * b + c with one rounding, as torch's grid_sample computes on every CPU of the last ten years."""

    def generate(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


@exact_kernel
def _paste(masks, boxes, threshold, is_sampled, begin, end, out):
    """masks (N, h, w), boxes (N, 4) -> out (N, H, W), which is 0 before, for the masks begin..end."""
    for i in range(begin, end):
        top, bottom, left, right = _region(boxes[i], masks.shape[1:], out.shape[1], out.shape[2], is_sampled)
        if bottom > top and right > left:
            _draw(masks[i], boxes[i], threshold, is_sampled, top, left, out[i, top:bottom, left:right])


@exact_kernel
def _region(box, mask_size, height, width, is_sampled):
    """The pixels of the image that the mask may set: top, bottom, left, right. Nothing for a bad box."""
    if not (np.isfinite(box[0]) and np.isfinite(box[1]) and np.isfinite(box[2]) and np.isfinite(box[3])):
        return 0, 0, 0, 0
    if is_sampled:
        if box[2] <= box[0] or box[3] <= box[1]:
            return 0, 0, 0, 0
        top, left = int(np.floor(box[1])) - 1, int(np.floor(box[0])) - 1
        bottom, right = int(np.ceil(box[3])) + 1, int(np.ceil(box[2])) + 1
    else:
        top, bottom = _grown(box[1], box[3], mask_size[0])
        left, right = _grown(box[0], box[2], mask_size[1])
        bottom, right = bottom + 1, right + 1
    return max(top, 0), min(bottom, height), max(left, 0), min(right, width)


@exact_kernel
def _grown(low, high, size):
    """One axis of a box, grown by the border of its mask and cut to whole pixels, both inclusive."""
    half = (high - low) * np.float32(0.5) * np.float32((size + 2.0) / size)
    centre = (high + low) * np.float32(0.5)
    return int(centre - half), int(centre + half)


@exact_kernel
def _fill_axis(low, high, mask_size, first, is_sampled, index, share):
    """For the pixels first, first + 1, ... of one axis: the mask cell before (0 is the border) and the next's share."""
    size = np.float32(mask_size)
    one, half = np.float32(1), np.float32(0.5)
    start, end = _grown(low, high, mask_size)
    scale = np.float32((mask_size + 2) / max(end - start + 1, 1))
    for i in range(len(index)):
        if is_sampled:
            place = (np.float32(first + i) + half - low) / (high - low) * np.float32(2) - one
            place = _fused(place + one, size * half, -half)
            if not (place >= -one and place < size):
                index[i], share[i] = 0, 0
                continue
            before = np.floor(place)
            index[i], share[i] = int(before) + 1, place - before
        else:
            place = (np.float32(first + i - start) + half) * scale - half
            place = max(place, np.float32(0))
            before = np.floor(place)
            index[i], share[i] = int(before), place - before


@exact_kernel
def _draw(mask, box, threshold, is_sampled, top, left, bits):
    """mask (h, w) -> bits (rows, columns): the part of the image that begins at (top, left)."""
    height, width = mask.shape
    rows, columns = bits.shape
    row_index, row_share = np.empty(rows, np.int64), np.empty(rows, np.float32)
    index, share = np.empty(columns, np.int64), np.empty(columns, np.float32)
    _fill_axis(box[1], box[3], height, top, is_sampled, row_index, row_share)
    _fill_axis(box[0], box[2], width, left, is_sampled, index, share)
    # The two rows of the mask about a row of pixels, spread to the width of the box: the inner loops read in order.
    upper, lower = np.empty((2, columns), np.float32), np.empty((2, columns), np.float32)
    current = -2
    one = np.float32(1)
    for y in range(rows):
        if row_index[y] != current:
            if row_index[y] == current + 1:
                upper, lower = lower, upper
            else:
                _spread_row(mask, row_index[y], index, share, is_sampled, upper)
            _spread_row(mask, row_index[y] + 1, index, share, is_sampled, lower)
            current = row_index[y]
        down, up = row_share[y], one - row_share[y]
        target = bits[y]
        if is_sampled:
            a, b, c, d = upper[0], upper[1], lower[0], lower[1]
            for x in range(columns):
                before = one - share[x]
                value = a[x] * (before * up)
                value = _fused(b[x], share[x] * up, value)
                value = _fused(c[x], before * down, value)
                value = _fused(d[x], share[x] * down, value)
                target[x] = value >= threshold
        else:
            a, b = upper[0], lower[0]
            for x in range(columns):
                target[x] = a[x] * up + b[x] * down > threshold


@exact_kernel
def _spread_row(mask, row, index, share, is_sampled, out):
    """A row of the mask with its border (row 0 is the border), at every pixel: both neighbours, or their mix."""
    height, width = mask.shape
    is_border = row < 1 or row > height
    for x in range(out.shape[1]):
        k = index[x]
        before = np.float32(0) if is_border or k < 1 or k > width else mask[row - 1, k - 1]
        after = np.float32(0) if is_border or k >= width else mask[row - 1, k]
        if is_sampled:
            out[0, x], out[1, x] = before, after
        else:
            out[0, x] = before * (np.float32(1) - share[x]) + after * share[x]


@exact_kernel
def _encode(mask, box, height, width, threshold, is_sampled):
    """One mask -> the counts of its COCO run-length encoding, as the bytes of their text."""
    top, bottom, left, right = _region(box, mask.shape, height, width, is_sampled)
    if bottom <= top or right <= left:
        return _text_of(np.array([height * width], np.int64), 1)
    bits = np.empty((bottom - top, right - left), np.uint8)
    _draw(mask, box, threshold, is_sampled, top, left, bits)
    # Down the columns; a column has at most a run per pixel and one to leave the box.
    runs = np.empty((right - left) * (bottom - top + 1) + 1, np.int64)
    num_runs, start, current = 0, 0, 0
    for x in range(left, right):
        for y in range(top, bottom):
            if bits[y - top, x - left] != current:
                runs[num_runs] = x * height + y - start
                num_runs, start, current = num_runs + 1, x * height + y, 1 - current
        end = x * height + bottom
        if current == 1 and end < height * width and (bottom < height or top > 0 or x + 1 == right):
            runs[num_runs] = end - start
            num_runs, start, current = num_runs + 1, end, 0
    runs[num_runs] = height * width - start
    return _text_of(runs, num_runs + 1)


@exact_kernel
def _text_of(runs, num_runs):
    """Run lengths -> COCO's text: from the fourth on as the difference to the one two before, five bits a letter."""
    text = np.empty(num_runs * 8, np.uint8)
    n = 0
    for i in range(num_runs):
        value = runs[i] - (runs[i - 2] if i > 2 else 0)
        while True:
            letter = value & 31
            value >>= 5
            is_last = value == (-1 if letter & 16 else 0)
            text[n] = 48 + (letter if is_last else letter | 32)
            n += 1
            if is_last:
                break
    return text[:n].copy()
