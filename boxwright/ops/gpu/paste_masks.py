"""Masks of boxes pasted into their image on the GPU: every pixel of the result is written once, in one launch.

Run lengths (`paste_masks_rle`) are made on the host from the small masks: less crosses the bus than bitmaps would.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from boxwright.ops.gpu.launch import divide, launch
from boxwright.ops.reference.paste_masks import MAX_COORDINATE
from boxwright.ops.rules import PasteRule

ROWS, COLUMNS = 16, 256
_MAX_COORDINATE = tl.constexpr(float(MAX_COORDINATE))


def paste_masks(masks: Tensor, boxes: Tensor, rule: PasteRule) -> Tensor:
    """As `reference.paste_masks` on a CPU, to the bit."""
    out = torch.empty(len(masks), *rule.size, dtype=torch.uint8, device=masks.device)
    grid = (len(masks), triton.cdiv(rule.size[0], ROWS), triton.cdiv(rule.size[1], COLUMNS))
    launch(
        _paste,
        grid,
        masks.float().contiguous(),
        boxes.float().contiguous(),
        out,
        *masks.shape[1:],
        *rule.size,
        like=masks,
        num_warps=8,
        THRESHOLD=rule.threshold,
        IS_SAMPLED=rule.method == "sampled",
        # What the border of one zero does to the size of a box, rounded once as in the definition.
        Y_GROWTH=(masks.shape[1] + 2) / masks.shape[1],
        X_GROWTH=(masks.shape[2] + 2) / masks.shape[2],
        ROWS=ROWS,
        COLUMNS=COLUMNS,
    )
    return out.view(torch.bool)


@triton.jit
def _axis(low, high, GROWTH: tl.constexpr, IS_SAMPLED: tl.constexpr):
    """One axis of a box -> the first pixel that its mask may set, and one past the last."""
    if IS_SAMPLED:
        first, last = tl.floor(low).to(tl.int32) - 1, tl.ceil(high).to(tl.int32) + 1
        last = tl.where(high <= low, first, last)
    else:
        half = (high - low) * 0.5 * GROWTH
        centre = (high + low) * 0.5
        first, last = (centre - half).to(tl.int32), (centre + half).to(tl.int32) + 1
    return first, last


@triton.jit
def _place(pixel, low, high, first, last, mask_size, IS_SAMPLED: tl.constexpr):
    """Pixels of one axis -> the cell of the mask before each (-1 is the border) and the share of the next."""
    size = mask_size.to(tl.float32)
    if IS_SAMPLED:
        place = divide((pixel.to(tl.float32) + 0.5) - low, high - low) * 2.0 - 1.0
        # As torch's grid_sample computes on a CPU: with one rounding.
        place = tl.fma(place + 1.0, tl.broadcast_to(size * 0.5, place.shape), tl.full(place.shape, -0.5, tl.float32))
        is_near = (place >= -1.0) & (place < size)
        place = tl.where(is_near, place, -2.0)
    else:
        length = tl.maximum(last - first, 1).to(tl.float32)
        place = ((pixel - first).to(tl.float32) + 0.5) * divide(size + 2.0, length) - 0.5
        place = tl.maximum(place, 0.0) - 1.0
    before = tl.floor(place)
    return before.to(tl.int32), place - before


@triton.jit
def _cell(mask, row, column, height, width, is_there):
    """The mask's values with zeros around it."""
    is_inside = is_there & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return tl.load(mask + row * width + column, is_inside, 0.0)


@triton.jit
def _read(mask, row, column, down, after, height, width, is_there, IS_SAMPLED: tl.constexpr):
    """The mask between four cells, of which (row, column) is the first."""
    a = _cell(mask, row, column, height, width, is_there)
    b = _cell(mask, row, column + 1, height, width, is_there)
    c = _cell(mask, row + 1, column, height, width, is_there)
    d = _cell(mask, row + 1, column + 1, height, width, is_there)
    up, before = 1.0 - down, 1.0 - after
    if IS_SAMPLED:
        value = a * (before * up)
        value = tl.fma(b, after * up, value)
        value = tl.fma(c, before * down, value)
        value = tl.fma(d, after * down, value)
    else:
        value = (a * before + b * after) * up + (c * before + d * after) * down
    return value


@triton.jit(do_not_specialize=["mask_height", "mask_width", "height"])
def _paste(
    masks, boxes, out, mask_height, mask_width, height, width, THRESHOLD: tl.constexpr, IS_SAMPLED: tl.constexpr,
    Y_GROWTH: tl.constexpr, X_GROWTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """masks (N, h, w), boxes (N, 4) -> out (N, H, W): a program writes a tile of one image."""
    i = tl.program_id(0)
    y = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    x = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    x1, y1 = tl.load(boxes + 4 * i), tl.load(boxes + 4 * i + 1)
    x2, y2 = tl.load(boxes + 4 * i + 2), tl.load(boxes + 4 * i + 3)
    is_good = (x1 - x1 == 0) & (y1 - y1 == 0) & (x2 - x2 == 0) & (y2 - y2 == 0)
    x1, y1 = tl.where(is_good, x1, 0.0), tl.where(is_good, y1, 0.0)
    x2, y2 = tl.where(is_good, x2, 0.0), tl.where(is_good, y2, 0.0)
    x1, x2 = tl.clamp(x1, -_MAX_COORDINATE, _MAX_COORDINATE), tl.clamp(x2, -_MAX_COORDINATE, _MAX_COORDINATE)
    y1, y2 = tl.clamp(y1, -_MAX_COORDINATE, _MAX_COORDINATE), tl.clamp(y2, -_MAX_COORDINATE, _MAX_COORDINATE)
    top, bottom = _axis(y1, y2, Y_GROWTH, IS_SAMPLED)
    left, right = _axis(x1, x2, X_GROWTH, IS_SAMPLED)
    bottom = tl.where(is_good, bottom, top)
    in_image = (y < height)[:, None] & (x < width)[None, :]
    in_box = in_image & ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))[None, :]
    target = out + i.to(tl.int64) * height * width + y[:, None].to(tl.int64) * width + x[None, :]
    is_set = tl.zeros((ROWS, COLUMNS), tl.int1)
    # A tile without a pixel of the box is only cleared.
    if tl.max(in_box.to(tl.int32)) != 0:
        row, down = _place(y, y1, y2, top, bottom, mask_height, IS_SAMPLED)
        column, after = _place(x, x1, x2, left, right, mask_width, IS_SAMPLED)
        row, down, column, after = row[:, None], down[:, None], column[None, :], after[None, :]
        mask = masks + i.to(tl.int64) * mask_height * mask_width
        value = _read(mask, row, column, down, after, mask_height, mask_width, in_box, IS_SAMPLED)
        is_set = in_box & ((value >= THRESHOLD) if IS_SAMPLED else (value > THRESHOLD))
    tl.store(target, is_set.to(tl.uint8), in_image)
