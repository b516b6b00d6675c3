"""3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3), in float32.

A tile of 6 x 6 inputs overlaps its neighbours by two and gives 4 x 4 outputs. Tile and kernel are taken to 36 values
each (polynomials at the points 0, +-3/4, +-3/2 and infinity), whose products, summed over the channels by a matrix
product, are taken back. With these points the error is that of oneDNN's direct convolution in the same layout, some
1e-6 of the results' spread; the usual ones, 0, +-1, +-2, double it.
"""

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from boxwright.ops.cpu.kernel import kernel
from boxwright.ops.cpu.threads import run_chunks

A, B = np.float32(0.75), np.float32(1.5)
AA, BB = A * A, B * B
INSIDE, POINTS, OUTPUTS = 6, 36, 4  # inputs along a tile's side, values of a tile, outputs along its side
BLOCK = 256  # channels that are transformed together, to stay in the second cache
MOST_AT_ONCE = 1 << 23  # values between the transforms and the products
TILES_PER_TASK = 32
OUTPUTS_AT_ONCE = 256  # channels
HAS_AVX512 = torch.cpu._is_avx512_supported()


class WinogradConv:
    """The kernels of one convolution, (O, I, 3, 3) with (O,) biases; stride 1, padded by one pixel of zeros."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.num_out, num_in = weight.shape[:2]
        # Matrix products as 1x1 convolutions in 36 groups, which oneDNN does faster than products one by one; with more
        # outputs in one of them it would for few tiles lay out the kernels anew, every time. Without AVX-512 it always
        # does that for few tiles, which takes a hundred times as long as the products: there they are a batch of 36.
        self.place = ((0, 0), (1, 1), (1, 1), POINTS)
        self.most_tiles = max(MOST_AT_ONCE // (POINTS * (num_in + min(self.num_out, OUTPUTS_AT_ONCE))), TILES_PER_TASK)
        self.weights = []
        for part in weight.split(OUTPUTS_AT_ONCE):
            values = _kernel_values(part)
            if HAS_AVX512:
                size = [1, POINTS * num_in, 1, self.most_tiles]
                values = values.reshape(POINTS * len(part), num_in, 1, 1)
                self.weights.append(torch.ops.mkldnn._reorder_convolution_weight(values, *self.place, size))
            else:
                self.weights.append(values.transpose(1, 2).contiguous())
        self.bias = np.zeros(self.num_out, np.float32) if bias is None else bias.detach().float().numpy()

    def __call__(self, x: Tensor, residual: Tensor | None, *, relu: bool) -> Tensor:
        """(N, I, H, W) float32, and (N, O, H, W) to add or nothing -> (N, O, H, W) in channels-last."""
        num_images, num_in, height, width = x.shape
        out = torch.empty(num_images, self.num_out, height, width, memory_format=torch.channels_last)
        rest = _rows(torch.empty(0, 0, 0, 0) if residual is None else residual)
        source, target = _rows(x), _rows(out)
        tiles = (-(-height // OUTPUTS), -(-width // OUTPUTS))
        num_tiles = num_images * tiles[0] * tiles[1]
        num_parts = -(-num_tiles // self.most_tiles)
        at_once = -(-num_tiles // max(num_parts, 1))
        scratch = np.zeros((-(-at_once // TILES_PER_TASK), 2, INSIDE, INSIDE, BLOCK), np.float32)
        values = torch.empty(at_once, INSIDE, INSIDE, num_in)
        for first in range(0, num_tiles, max(at_once, 1)):
            here, count = (*tiles, first, scratch), min(at_once, num_tiles - first)
            run_chunks(partial(_spread, source, *here, values.numpy()), count, TILES_PER_TASK)
            for number, weight in enumerate(self.weights):
                products = self._multiply(values[:count], weight).numpy()
                to = (self.bias, rest, relu, number * OUTPUTS_AT_ONCE, target)
                run_chunks(partial(_gather, products, *here, *to), count, TILES_PER_TASK)
        return out

    def _multiply(self, values: Tensor, weight: Tensor) -> Tensor:
        """(T, 6, 6, I) -> (T, 6, 6, O)."""
        if not HAS_AVX512:
            products = torch.bmm(values.flatten(1, 2).transpose(0, 1), weight).transpose(0, 1)
            return products.contiguous().view(len(values), INSIDE, INSIDE, -1)
        images = values.flatten(1).t()[None, :, None]
        made = torch.ops.mkldnn._convolution_pointwise(images, weight, None, *self.place, "none", [], "")
        return made[0, :, 0].t().view(len(values), INSIDE, INSIDE, -1)  # type: ignore[no-any-return]


def _kernel_values(weight: Tensor) -> Tensor:
    """(O, I, 3, 3) -> (36, O, I), in double precision until the end."""
    points = [0.0, float(A), -float(A), float(B), -float(B)]
    rows = [[p**i / math.prod(p - q for q in points if q != p) for i in range(3)] for p in points]
    evaluate = torch.tensor([*rows, [0.0, 0.0, 1.0]], dtype=torch.float64)
    values = torch.kron(evaluate, evaluate) @ weight.double().reshape(-1, 9).t()
    return values.float().view(POINTS, *weight.shape[:2])


def _rows(x: Tensor) -> Any:
    """(N, C, H, W) -> (N, H, W, C) as an array, copied where it lies otherwise in memory."""
    return x.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).numpy()


@kernel
def _spread(source, rows, columns, first, scratch, values, begin, end):
    """Tiles first + begin to first + end of source (N, H, W, I) -> values (T, 6, 6, I)."""
    height, width, num_channels = source.shape[1:]
    own = scratch[begin // TILES_PER_TASK]
    half, zeros = own[0], own[1, OUTPUTS, 0]  # where `_gather` writes nothing
    for t in range(begin, end):
        column, row, image = (first + t) % columns, (first + t) // columns % rows, (first + t) // (rows * columns)
        top, left = OUTPUTS * row - 1, OUTPUTS * column - 1
        for begin_channel in range(0, num_channels, BLOCK):
            end_channel = min(begin_channel + BLOCK, num_channels)
            for j in range(INSIDE):
                x = left + j
                is_column = 0 <= x < width
                d0 = source[image, top, x, begin_channel:end_channel] if is_column and top >= 0 else zeros
                d1 = source[image, top + 1, x, begin_channel:end_channel] if is_column else zeros
                d2 = source[image, top + 2, x, begin_channel:end_channel] if is_column and top + 2 < height else zeros
                d3 = source[image, top + 3, x, begin_channel:end_channel] if is_column and top + 3 < height else zeros
                d4 = source[image, top + 4, x, begin_channel:end_channel] if is_column and top + 4 < height else zeros
                d5 = source[image, top + 5, x, begin_channel:end_channel] if is_column and top + 5 < height else zeros
                _evaluate(d0, d1, d2, d3, d4, d5, half[:, j], end_channel - begin_channel)
            for i in range(INSIDE):
                d = half[i]
                result = values[t, i, :, begin_channel:end_channel]
                _evaluate(d[0], d[1], d[2], d[3], d[4], d[5], result, end_channel - begin_channel)


@kernel
def _evaluate(d0, d1, d2, d3, d4, d5, result, size):
    """The coefficients of a polynomial for each channel -> its six values, the rows of result."""
    r0, r1, r2, r3, r4, r5 = result[0], result[1], result[2], result[3], result[4], result[5]
    for c in range(size):
        even, odd = d4[c] - BB * d2[c], A * (d3[c] - BB * d1[c])
        more, less = d4[c] - AA * d2[c], B * (d3[c] - AA * d1[c])
        r0[c] = AA * BB * d0[c] - (AA + BB) * d2[c] + d4[c]
        r1[c] = even + odd
        r2[c] = even - odd
        r3[c] = more + less
        r4[c] = more - less
        r5[c] = AA * BB * d1[c] - (AA + BB) * d3[c] + d5[c]


@kernel
def _gather(products, rows, columns, first, scratch, shift, rest, relu, offset, target, begin, end):
    """products (T, 6, 6, C) of tiles first + begin to first + end -> their pixels in target (N, H, W, O), channels
    offset to offset + C. `rest` is of the same shape and added, or empty.
    """
    height, width = target.shape[1:3]
    num_channels = products.shape[3]
    half, tile = scratch[begin // TILES_PER_TASK]
    low = np.float32(0) if relu else np.float32(-np.inf)
    for t in range(begin, end):
        column, row, image = (first + t) % columns, (first + t) // columns % rows, (first + t) // (rows * columns)
        for begin_channel in range(0, num_channels, BLOCK):
            end_channel = min(begin_channel + BLOCK, num_channels)
            size = end_channel - begin_channel
            for j in range(INSIDE):
                _interpolate(products[t, :, j, begin_channel:end_channel], half[:, j], size)
            to, to_end = offset + begin_channel, offset + end_channel
            add = shift[to:to_end]
            for i in range(min(OUTPUTS, height - OUTPUTS * row)):
                _interpolate(half[i], tile[i], size)
                for j in range(min(OUTPUTS, width - OUTPUTS * column)):
                    y, x, made = OUTPUTS * row + i, OUTPUTS * column + j, tile[i, j]
                    result = target[image, y, x, to:to_end]
                    for c in range(size):
                        result[c] = made[c] + add[c]
                    if rest.size:
                        more = rest[image, y, x, to:to_end]
                        for c in range(size):
                            result[c] += more[c]
                    for c in range(size):
                        result[c] = max(result[c], low)


@kernel
def _interpolate(products, result, size):
    """Six rows of products -> four rows of outputs."""
    m0, m1, m2, m3, m4, m5 = products[0], products[1], products[2], products[3], products[4], products[5]
    r0, r1, r2, r3 = result[0], result[1], result[2], result[3]
    for c in range(size):
        near, far, near_odd, far_odd = m1[c] + m2[c], m3[c] + m4[c], A * (m1[c] - m2[c]), B * (m3[c] - m4[c])
        r0[c] = m0[c] + near + far
        r1[c] = near_odd + far_odd
        r2[c] = AA * near + BB * far
        r3[c] = AA * near_odd + BB * far_odd + m5[c]
