"""Masks of boxes pasted into their image on the CPU: only the pixels of each box are computed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boxwright.ops.cpu.fused import fused
from boxwright.ops.cpu.kernel import exact_kernel
from boxwright.ops.cpu.resize_runs import write_runs
from boxwright.ops.cpu.threads import run_chunks
from boxwright.ops.reference.paste_masks import MAX_COORDINATE
from boxwright.ops.rules import PasteRule


@dataclass(frozen=True)
class _Given:
    """masks (N, h, w) and boxes (N, 4), float32. frames (N, 4): top, left, bottom, right of the pixels that the whole
    mask is resized to, both ends inclusive. parts (N, 4): top, bottom, left, right of those inside the image, ends
    exclusive; empty for a bad box.
    """

    masks: NDArray[Any]
    boxes: NDArray[Any]
    frames: NDArray[Any]
    parts: NDArray[Any]
    threshold: np.float32
    is_sampled: bool

    def draw(self, begin: int, end: int, origin: tuple[int, int], out: NDArray[Any]) -> None:
        """Into out (end - begin, rows, columns), which is 0 before and begins at pixel `origin` of the image."""
        rows, columns = out.shape[1:]
        longest = max(rows, columns)
        scratch = np.empty((2, longest), np.int64), np.empty((2, longest), np.float32)
        lines = np.empty((2, 2, columns), np.float32)
        settings = self.threshold, self.is_sampled, begin, end, *origin
        _draw(self.masks, self.boxes, self.frames, self.parts, *settings, *scratch, lines, out)


def paste_masks(masks: Tensor, boxes: Tensor, rule: PasteRule) -> Tensor:
    """As `reference.paste_masks`, to the bit."""
    given = _prepare(masks, boxes, rule)
    # Fresh zeros of the system: pages that no mask touches are never written.
    out = np.zeros((len(masks), *rule.size), np.uint8)
    run_chunks(lambda begin, end: given.draw(begin, end, (0, 0), out[begin:end]), len(masks), 1)
    return torch.from_numpy(out.view(np.bool_))


def paste_masks_rle(masks: Tensor, boxes: Tensor, rule: PasteRule) -> list[dict[str, Any]]:
    """As `reference.paste_masks_rle`, to the byte; holds the bitmap of one box per thread."""
    given = _prepare(masks, boxes, rule)
    counts: list[bytes] = [b""] * len(masks)

    def encode(begin: int, end: int) -> None:
        for i in range(begin, end):
            top, bottom, left, right = given.parts[i].tolist()
            bits = np.zeros((1, max(bottom - top, 0), max(right - left, 0)), np.uint8)
            given.draw(i, i + 1, (top, left), bits)
            # Down the columns; a column has at most a run per pixel and one to leave the box.
            runs = np.empty(bits.shape[2] * (bits.shape[1] + 1) + 1, np.int64)
            text = np.empty(len(runs) * 8, np.uint8)
            counts[i] = text[: _encode(bits[0], top, left, *rule.size, runs, text)].tobytes()

    run_chunks(encode, len(masks), 1)
    return [{"size": list(rule.size), "counts": c} for c in counts]


def _prepare(masks: Tensor, boxes: Tensor, rule: PasteRule) -> _Given:
    given = boxes.float().numpy()
    is_good = np.isfinite(given).all(axis=1)
    limited = np.clip(np.where(is_good[:, None], given, np.float32(0)), -MAX_COORDINATE, MAX_COORDINATE)
    is_sampled = rule.method == "sampled"
    if is_sampled:
        is_good &= (limited[:, 2:] > limited[:, :2]).all(axis=1)
        first, last = np.floor(limited[:, 1::-1]) - 1, np.ceil(limited[:, :1:-1])
    else:
        # The box, grown by the border of its mask and cut to whole pixels.
        growth = np.array([(n + 2.0) / n for n in masks.shape[1:]], np.float32)
        half = (limited[:, :1:-1] - limited[:, 1::-1]) * np.float32(0.5) * growth
        centre = (limited[:, :1:-1] + limited[:, 1::-1]) * np.float32(0.5)
        first, last = np.trunc(centre - half), np.trunc(centre + half)
    frames = np.concatenate((first, last), axis=1).astype(np.int64)
    begin, end = np.maximum(frames[:, :2], 0), np.minimum(frames[:, 2:] + 1, rule.size)
    parts = np.stack((begin, end), axis=2).reshape(-1, 4)
    parts[~is_good | (end <= begin).any(axis=1)] = 0
    return _Given(
        masks=masks.float().contiguous().numpy(),
        boxes=limited,
        frames=frames,
        parts=parts,
        threshold=np.float32(rule.threshold),
        is_sampled=is_sampled,
    )


@exact_kernel
def _draw(masks, boxes, frames, parts, threshold, is_sampled, begin, end, origin_y, origin_x, index, share, lines, out):
    """See `_Given.draw`. Scratch: index and share (2, n), lines (2, 2, columns).

    Two rows of cells about a row of pixels are spread to its width: the inner loops read in order.
    """
    one = np.float32(1)
    for i in range(begin, end):
        rows, columns = parts[i, 1] - parts[i, 0], parts[i, 3] - parts[i, 2]
        if rows <= 0 or columns <= 0:
            continue
        for axis in range(2):
            _place(axis, masks.shape[1 + axis], boxes[i], frames[i], parts[i], is_sampled, index[axis], share[axis])
        held = (-1, -1)  # which row of cells each of the two lines holds
        for y in range(rows):
            for row in range(index[0, y], index[0, y] + 2):
                slot = row & 1
                if held[slot] == row:
                    continue
                held = (row, held[1]) if slot == 0 else (held[0], row)
                _spread_row(masks[i], row, index[1, :columns], share[1], is_sampled, lines[slot])
            upper, lower = index[0, y] & 1, 1 - (index[0, y] & 1)
            down, up = share[0, y], one - share[0, y]
            target = out[i - begin, y + parts[i, 0] - origin_y]
            at = parts[i, 2] - origin_x
            if is_sampled:
                for x in range(columns):
                    before = one - share[1, x]
                    value = lines[upper, 0, x] * (before * up)
                    value = fused(lines[upper, 1, x], share[1, x] * up, value)
                    value = fused(lines[lower, 0, x], before * down, value)
                    value = fused(lines[lower, 1, x], share[1, x] * down, value)
                    target[at + x] = value >= threshold
            else:
                for x in range(columns):
                    target[at + x] = lines[upper, 0, x] * up + lines[lower, 0, x] * down > threshold


@exact_kernel
def _place(axis, cells, box, frame, part, is_sampled, index, share):
    """For every pixel of the part along y or x: the mask's cell before it, of which 0 is the border, and the share of
    the next.
    """
    one, half = np.float32(1), np.float32(0.5)
    first, start, low, high, size = part[2 * axis], frame[axis], box[1 - axis], box[3 - axis], np.float32(cells)
    scale = np.float32((cells + 2) / max(frame[2 + axis] - start + 1, 1))
    for k in range(part[2 * axis + 1] - first):
        if is_sampled:
            place = (np.float32(first + k) + half - low) / (high - low) * np.float32(2) - one
            place = fused(place + one, size * half, -half)
            if not (place >= -one and place < size):
                index[k], share[k] = 0, 0
                continue
        else:
            place = (np.float32(first + k - start) + half) * scale - half
            place = max(place, np.float32(0))
        before = np.floor(place)
        index[k] = int(before) + (1 if is_sampled else 0)
        share[k] = place - before


@exact_kernel
def _spread_row(mask, row, index, share, is_sampled, line):
    """Row `row` of cells, of which 0 is the border -> for each column the cell before it and the next in line (2, n);
    or, for a mask that is resized, what lies between them in the first.
    """
    one = np.float32(1)
    height, width = mask.shape
    is_border = row < 1 or row > height
    for x in range(len(index)):
        k = index[x]
        left = np.float32(0) if is_border or k < 1 or k > width else mask[row - 1, k - 1]
        right = np.float32(0) if is_border or k >= width else mask[row - 1, k]
        line[0, x] = left if is_sampled else left * (one - share[x]) + right * share[x]
        line[1, x] = right


@exact_kernel
def _encode(bits, top, left, height, width, runs, text):
    """The part of an image (rows, columns) that begins at (top, left) -> the length of its COCO text, in `text`."""
    rows, columns = bits.shape
    num_runs, start, current = 0, 0, 0
    for x in range(columns):
        for y in range(rows):
            if bits[y, x] != current:
                runs[num_runs] = (left + x) * height + top + y - start
                num_runs, start, current = num_runs + 1, (left + x) * height + top + y, 1 - current
        end = (left + x) * height + top + rows
        if current == 1 and end < height * width and (rows < height or x + 1 == columns):
            runs[num_runs] = end - start
            num_runs, start, current = num_runs + 1, end, 0
    runs[num_runs] = height * width - start
    return write_runs(runs, num_runs + 1, text)
