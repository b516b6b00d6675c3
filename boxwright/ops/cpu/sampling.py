"""Kernels for regions that are grids of bilinear samples: RoIAlign and RoICrop, forward and backward.

Letters: B images, H x W pixels, C channels, R regions, ph x pw bins. A region is where its first bin begins and how
large a bin is, in feature pixels, and how many samples a bin has along each axis. The mean over a bin is separable, so
along each axis a bin is a short list of taps: pixel and weight.
"""

import numpy as np
from numba.extending import overload

from .kernel import exact_kernel, kernel


def widen(value):
    """A stored number as one to compute with: bfloat16 arrives as its 16 bits."""
    return value


@overload(widen)
def _widen(value):
    if value.bitwidth == 16:
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


def narrow(value, like):
    """A computed number as it is stored in the array `like`; bfloat16 rounds to nearest, halves to even."""
    return value


@overload(narrow)
def _narrow(value, like):
    if like.dtype.bitwidth == 16:

        def to_bfloat16(value, like):
            bits = np.int64(np.float32(value).view(np.uint32))
            rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
            return np.uint16(rounded if value == value else 0x7FC0)

        return to_bfloat16
    return lambda value, like: value


@exact_kernel
def _add_tap(pixel, weight, n, index, share):
    """Adds to one of the last two taps if it is for the same pixel, otherwise appends. Returns the number of taps."""
    if n > 0 and pixel[n - 1] == index:
        weight[n - 1] += share
        return n
    if n > 1 and pixel[n - 2] == index:
        weight[n - 2] += share
        return n
    pixel[n] = index
    weight[n] = share
    return n + 1


@exact_kernel
def _fill_taps(start, bin_size, grid, size, is_clamped, pixel, weight, count):
    """One axis of one region -> per bin its taps: pixel (bins, K), weight (bins, K), count (bins,).

    The positions are computed as in the definition, operation by operation. `is_clamped`: up to one pixel outside
    counts as the border and farther as nothing (RoIAlign); otherwise pixels outside count as 0 (RoICrop).
    """
    kind = weight.dtype.type
    for p in range(len(count)):
        n = 0
        first = start + kind(p) * bin_size
        share = kind(1) / kind(max(grid, 1))
        for i in range(grid):
            position = first + (kind(i) + kind(0.5)) * bin_size / kind(grid)
            if is_clamped:
                if not (position >= kind(-1) and position <= kind(size)):
                    continue
                position = min(max(position, kind(0)), kind(size - 1))
            elif not (position > kind(-1) and position < kind(size)):
                continue
            low = int(np.floor(position))
            part = position - kind(low)
            if low >= 0:
                n = _add_tap(pixel[p], weight[p], n, low, (kind(1) - part) * share)
            if low + 1 < size and part > kind(0):
                n = _add_tap(pixel[p], weight[p], n, low + 1, part * share)
        count[p] = n


@exact_kernel
def _axis_scratch(num_bins, grids, begin, end, axis, like):
    most = 1
    for i in range(begin, end):
        most = max(most, grids[i, axis])
    pixel = np.zeros((num_bins, 2 * most), np.int64)
    weight = np.zeros((num_bins, 2 * most), like.dtype)
    return pixel, weight, np.zeros(num_bins, np.int64)


@exact_kernel
def _gather_bin(maps, image, ys, wy, ny, xs, wx, nx, offset, weight):
    """The taps of one bin in both axes: where each pixel's channels begin, and its weight."""
    n = 0
    for a in range(ny):
        row = (image * maps.shape[1] + ys[a]) * maps.shape[2]
        for b in range(nx):
            offset[n] = (row + xs[b]) * maps.shape[3]
            weight[n] = wy[a] * wx[b]
            n += 1
    return n


@kernel
def sample_channels_last(maps, image, out_row, geometry, grids, is_clamped, begin, end, total, out):
    """maps (B, H, W, C) -> out (R, ph, pw, C), for the regions begin..end of the list.

    image, out_row (n,): where to read and write. geometry (n, 4): y start, y bin, x start, x bin; grids (n, 2): samples
    per bin in y and x. total (C,) is scratch, in the type of the sums.
    """
    num_channels = maps.shape[3]
    flat = maps.reshape(-1)
    ys, wy, ny = _axis_scratch(out.shape[1], grids, begin, end, 0, geometry)
    xs, wx, nx = _axis_scratch(out.shape[2], grids, begin, end, 1, geometry)
    offset = np.empty(ys.shape[1] * xs.shape[1], np.int64)
    weight = np.empty(ys.shape[1] * xs.shape[1], total.dtype)
    for r in range(begin, end):
        _fill_taps(geometry[r, 0], geometry[r, 1], grids[r, 0], maps.shape[1], is_clamped, ys, wy, ny)
        _fill_taps(geometry[r, 2], geometry[r, 3], grids[r, 1], maps.shape[2], is_clamped, xs, wx, nx)
        for p in range(out.shape[1]):
            for q in range(out.shape[2]):
                n = _gather_bin(maps, image[r], ys[p], wy[p], ny[p], xs[q], wx[q], nx[q], offset, weight)
                for c in range(num_channels):
                    total[c] = 0
                t = 0
                while t + 4 <= n:
                    w0, w1, w2, w3 = weight[t], weight[t + 1], weight[t + 2], weight[t + 3]
                    f0 = flat[offset[t] : offset[t] + num_channels]
                    f1 = flat[offset[t + 1] : offset[t + 1] + num_channels]
                    f2 = flat[offset[t + 2] : offset[t + 2] + num_channels]
                    f3 = flat[offset[t + 3] : offset[t + 3] + num_channels]
                    for c in range(num_channels):
                        total[c] += w0 * widen(f0[c]) + w1 * widen(f1[c]) + w2 * widen(f2[c]) + w3 * widen(f3[c])
                    t += 4
                while t < n:
                    w0 = weight[t]
                    f0 = flat[offset[t] : offset[t] + num_channels]
                    for c in range(num_channels):
                        total[c] += w0 * widen(f0[c])
                    t += 1
                target = out[out_row[r], p, q]
                for c in range(num_channels):
                    target[c] = narrow(total[c], out)


@kernel
def spread_channels_last(grad, image, row_of, geometry, grids, is_clamped, band_rows, begin, end, maps):
    """The reverse: grad (R, ph, pw, C) -> maps (B, H, W, C), for the bands begin..end.

    A band is `band_rows` rows of one image: it stays in the cache while all regions add to it, in their order.
    """
    height, num_channels = maps.shape[1], maps.shape[3]
    bands_per_image = -(-height // band_rows)
    ys, wy, ny = _axis_scratch(grad.shape[1], grids, 0, len(grids), 0, geometry)
    xs, wx, nx = _axis_scratch(grad.shape[2], grids, 0, len(grids), 1, geometry)
    for band in range(begin, end):
        b = band // bands_per_image
        top = (band - b * bands_per_image) * band_rows
        bottom = min(top + band_rows, height)
        for y in range(top, bottom):
            band_row = maps[b, y].reshape(-1)
            for i in range(len(band_row)):
                band_row[i] = 0
        for r in range(len(image)):
            if image[r] != b or not _meets(geometry[r, 0], geometry[r, 1] * grad.shape[1], top, bottom):
                continue
            _fill_taps(geometry[r, 0], geometry[r, 1], grids[r, 0], height, is_clamped, ys, wy, ny)
            _fill_taps(geometry[r, 2], geometry[r, 3], grids[r, 1], maps.shape[2], is_clamped, xs, wx, nx)
            for p in range(grad.shape[1]):
                for a in range(ny[p]):
                    if ys[p, a] < top or ys[p, a] >= bottom:
                        continue
                    row = maps[b, ys[p, a]]
                    for q in range(grad.shape[2]):
                        g = grad[row_of[r], p, q]
                        for k in range(nx[q]):
                            w = wy[p, a] * wx[q, k]
                            target = row[xs[q, k]]
                            for c in range(num_channels):
                                target[c] += w * g[c]


@exact_kernel
def _meets(start, length, top, bottom):
    """Whether a region may have taps in these rows; generous by a pixel."""
    low, high = min(start, start + length), max(start, start + length)
    return low < bottom + 1 and high > top - 2


@kernel
def sample_channels_first(maps, image, out_row, geometry, grids, is_clamped, begin, end, out):
    """maps (B, C, H, W) -> out (R, C, ph, pw), for the regions begin..end; arguments as in `sample_channels_last`."""
    ys, wy, ny = _axis_scratch(out.shape[2], grids, begin, end, 0, geometry)
    xs, wx, nx = _axis_scratch(out.shape[3], grids, begin, end, 1, geometry)
    line = np.empty(maps.shape[3], maps.dtype)
    for r in range(begin, end):
        _fill_taps(geometry[r, 0], geometry[r, 1], grids[r, 0], maps.shape[2], is_clamped, ys, wy, ny)
        _fill_taps(geometry[r, 2], geometry[r, 3], grids[r, 1], maps.shape[3], is_clamped, xs, wx, nx)
        left, right = _span(xs, nx)
        for c in range(maps.shape[1]):
            for p in range(out.shape[2]):
                for x in range(left, right):
                    line[x] = 0
                for a in range(ny[p]):
                    w = wy[p, a]
                    row = maps[image[r], c, ys[p, a]]
                    for x in range(left, right):
                        line[x] += w * row[x]
                for q in range(out.shape[3]):
                    total = line.dtype.type(0)
                    for k in range(nx[q]):
                        total += wx[q, k] * line[xs[q, k]]
                    out[out_row[r], c, p, q] = total


@kernel
def spread_channels_first(grad, image, row_of, geometry, grids, is_clamped, channels_per_block, begin, end, maps):
    """The reverse: grad (R, C, ph, pw) -> maps (B, C, H, W), for the blocks begin..end of one image's channels."""
    num_channels = maps.shape[1]
    blocks_per_image = -(-num_channels // channels_per_block)
    ys, wy, ny = _axis_scratch(grad.shape[2], grids, 0, len(grids), 0, geometry)
    xs, wx, nx = _axis_scratch(grad.shape[3], grids, 0, len(grids), 1, geometry)
    line = np.empty(maps.shape[3], maps.dtype)
    for block in range(begin, end):
        b = block // blocks_per_image
        first = (block - b * blocks_per_image) * channels_per_block
        last = min(first + channels_per_block, num_channels)
        for c in range(first, last):
            plane = maps[b, c].reshape(-1)
            for i in range(len(plane)):
                plane[i] = 0
        for r in range(len(image)):
            if image[r] != b:
                continue
            _fill_taps(geometry[r, 0], geometry[r, 1], grids[r, 0], maps.shape[2], is_clamped, ys, wy, ny)
            _fill_taps(geometry[r, 2], geometry[r, 3], grids[r, 1], maps.shape[3], is_clamped, xs, wx, nx)
            left, right = _span(xs, nx)
            for c in range(first, last):
                for p in range(grad.shape[2]):
                    for x in range(left, right):
                        line[x] = 0
                    for q in range(grad.shape[3]):
                        g = grad[row_of[r], c, p, q]
                        for k in range(nx[q]):
                            line[xs[q, k]] += wx[q, k] * g
                    for a in range(ny[p]):
                        w = wy[p, a]
                        row = maps[b, c, ys[p, a]]
                        for x in range(left, right):
                            row[x] += w * line[x]


@exact_kernel
def _span(pixel, count):
    """The pixels from the first tap of all bins to the last: left, one past right."""
    left, right = 1 << 62, 0
    for p in range(len(count)):
        for k in range(count[p]):
            left, right = min(left, pixel[p, k]), max(right, pixel[p, k] + 1)
    return min(left, right), right
