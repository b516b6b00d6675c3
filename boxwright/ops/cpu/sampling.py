"""Kernels for regions that are grids of bilinear samples: RoIAlign and RoICrop, forward and backward.

Letters: B images, H x W pixels, C channels, R regions, ph x pw bins. A region is where its first bin begins and how
large a bin is, in feature pixels, and how many samples a bin has along each axis. The mean over a bin is separable, so
along each axis a bin is a short list of taps: pixel and weight. `list_taps` makes them, exactly as in the definition;
the other kernels only multiply and add. All maps are flat and all scratch is handed in: for Numba, making and slicing
arrays takes longer to compile than everything else here. Places in flat arrays are unsigned: a signed one might count
from the end, which Numba would check at every step of the inner loops.
"""

import numpy as np
from numba.extending import overload

from boxwright.ops.cpu.kernel import exact_kernel, kernel


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
def list_taps(geometry, grids, num_bins, size, is_clamped, begin, end, pixel, weight, count):
    """Regions begin..end -> per region, axis and bin its taps: pixel and weight (n, 2, bins, K), count (n, 2, bins).

    geometry (R, 4): y start, y bin, x start, x bin; grids (R, 2): samples per bin in y and x; num_bins and size: bins
    and pixels of the map in y and x. The positions are computed as in the definition, operation by operation.
    `is_clamped`: up to one pixel outside counts as the border and farther as nothing (RoIAlign); otherwise pixels
    outside count as 0 (RoICrop). Where samples share a pixel their weights are added; K = 2 * grid always suffices.
    """
    kind = geometry.dtype.type
    for r in range(begin, end):
        for axis in range(2):
            start, step, grid, last = geometry[r, 2 * axis], geometry[r, 2 * axis + 1], grids[r, axis], size[axis] - 1
            share = kind(1) / kind(grid if grid > 0 else 1)
            for p in range(num_bins[axis]):
                n = 0
                first = start + kind(p) * step
                for i in range(grid):
                    position = first + (kind(i) + kind(0.5)) * step / kind(grid)
                    if not (position >= kind(-1) and position <= kind(last + 1)):
                        continue
                    if is_clamped:
                        position = kind(0) if position < kind(0) else kind(last) if position > kind(last) else position
                    low = int(np.floor(position))
                    part = position - kind(low)
                    for side in range(2):
                        at = low + side
                        w = (part if side == 1 else kind(1) - part) * share
                        if at < 0 or at > last or (side == 1 and part == kind(0)):
                            continue
                        k = n - 1
                        while k >= 0 and k > n - 4 and pixel[r - begin, axis, p, k] != at:
                            k -= 1
                        if k >= 0 and k > n - 4:
                            weight[r - begin, axis, p, k] += w
                        else:
                            pixel[r - begin, axis, p, n] = at
                            weight[r - begin, axis, p, n] = w
                            n += 1
                count[r - begin, axis, p] = n


@kernel
def sample_channels_last(
    maps, height, width, num_channels, image, row, num_bins, pixel, weight, count, offset, share, total, out
):
    """Flat maps (B, H, W, C) -> flat out (R, ph, pw, C), for the n regions of these taps.

    image, row (n,): where to read and write. offset, share (K * K,) and total (C,) are scratch: offset unsigned, the
    others in the type of the sums.
    """
    channels = np.uint64(num_channels)
    for r in range(len(image)):
        at = np.uint64(row[r] * num_bins[0] * num_bins[1]) * channels
        for p in range(num_bins[0]):
            for q in range(num_bins[1]):
                n = 0
                for a in range(count[r, 0, p]):
                    line = (image[r] * height + pixel[r, 0, p, a]) * width
                    for b in range(count[r, 1, q]):
                        offset[n] = np.uint64(line + pixel[r, 1, q, b]) * channels
                        share[n] = weight[r, 0, p, a] * weight[r, 1, q, b]
                        n += 1
                for c in range(channels):
                    total[c] = 0
                t = 0
                while t + 4 <= n:
                    w0, w1, w2, w3 = share[t], share[t + 1], share[t + 2], share[t + 3]
                    t0, t1, t2, t3 = offset[t], offset[t + 1], offset[t + 2], offset[t + 3]
                    for c in range(channels):
                        total[c] += (
                            w0 * widen(maps[t0 + c])
                            + w1 * widen(maps[t1 + c])
                            + w2 * widen(maps[t2 + c])
                            + w3 * widen(maps[t3 + c])
                        )
                    t += 4
                while t < n:
                    w0, t0 = share[t], offset[t]
                    for c in range(channels):
                        total[c] += w0 * widen(maps[t0 + c])
                    t += 1
                for c in range(channels):
                    out[at + c] = narrow(total[c], out)
                at += channels


@kernel
def spread_channels_last(
    grad,
    height,
    width,
    num_channels,
    image,
    row,
    num_bins,
    pixel,
    weight,
    count,
    band_rows,
    begin,
    end,
    is_narrow,
    total,
    maps,
):
    """The reverse: flat grad (R, ph, pw, C) -> flat maps (B, H, W, C), for the bands begin..end and all R regions.

    A band is `band_rows` rows of one image: it stays in the cache while all regions add to it, in their order. `total`
    is `maps` itself, or where that `is_narrow`, too narrow to add up in, scratch of one band (band_rows * W * C,).
    """
    channels = np.uint64(num_channels)
    bands_per_image = -(-height // band_rows)
    for band in range(begin, end):
        b = band // bands_per_image
        top = (band - b * bands_per_image) * band_rows
        bottom = min(top + band_rows, height)
        first = np.uint64((b * height + top) * width) * channels
        size = np.uint64((bottom - top) * width) * channels
        start = np.uint64(0) if is_narrow else first
        for i in range(start, start + size):
            total[i] = 0
        for r in range(len(image)):
            if image[r] != b:
                continue
            for p in range(num_bins[0]):
                for a in range(count[r, 0, p]):
                    y = pixel[r, 0, p, a]
                    if y < top or y >= bottom:
                        continue
                    source = np.uint64((row[r] * num_bins[0] + p) * num_bins[1]) * channels
                    for q in range(num_bins[1]):
                        for k in range(count[r, 1, q]):
                            w = weight[r, 0, p, a] * weight[r, 1, q, k]
                            target = start + np.uint64((y - top) * width + pixel[r, 1, q, k]) * channels
                            for c in range(channels):
                                total[target + c] += w * widen(grad[source + c])
                        source += channels
        if is_narrow:
            for i in range(size):
                maps[first + i] = narrow(total[i], maps)


@kernel
def sample_channels_first(maps, height, width, num_channels, image, row, num_bins, pixel, weight, count, line, out):
    """Flat maps (B, C, H, W) -> flat out (R, C, ph, pw), for the n regions of these taps; line (W,) is scratch."""
    for r in range(len(image)):
        left, right = _span(pixel[r, 1], count[r, 1], num_bins[1])
        at = row[r] * num_channels * num_bins[0] * num_bins[1]
        for c in range(num_channels):
            top = (image[r] * num_channels + c) * height
            for p in range(num_bins[0]):
                for x in range(left, right):
                    line[x] = 0
                for a in range(count[r, 0, p]):
                    w = weight[r, 0, p, a]
                    source = np.uint64((top + pixel[r, 0, p, a]) * width)
                    for x in range(left, right):
                        line[x] += w * maps[source + x]
                for q in range(num_bins[1]):
                    total = out.dtype.type(0)
                    for k in range(count[r, 1, q]):
                        total += weight[r, 1, q, k] * line[pixel[r, 1, q, k]]
                    out[at] = total
                    at += 1


@kernel
def spread_channels_first(
    grad, height, width, num_channels, image, row, num_bins, pixel, weight, count, block, begin, end, line, maps
):
    """The reverse: flat grad (R, C, ph, pw) -> flat maps (B, C, H, W), blocks begin..end of `block` channels each."""
    blocks_per_image = -(-num_channels // block)
    for i in range(begin, end):
        b = i // blocks_per_image
        first = (i - b * blocks_per_image) * block
        last = min(first + block, num_channels)
        rows = (b * num_channels + first) * height, (b * num_channels + last) * height
        for k in range(np.uint64(rows[0] * width), np.uint64(rows[1] * width)):
            maps[k] = 0
        for r in range(len(image)):
            if image[r] != b:
                continue
            left, right = _span(pixel[r, 1], count[r, 1], num_bins[1])
            source = (row[r] * num_channels + first) * num_bins[0] * num_bins[1]
            for c in range(first, last):
                for p in range(num_bins[0]):
                    for x in range(left, right):
                        line[x] = 0
                    for q in range(num_bins[1]):
                        for k in range(count[r, 1, q]):
                            line[pixel[r, 1, q, k]] += weight[r, 1, q, k] * grad[source]
                        source += 1
                    for a in range(count[r, 0, p]):
                        w = weight[r, 0, p, a]
                        target = np.uint64(((b * num_channels + c) * height + pixel[r, 0, p, a]) * width)
                        for x in range(left, right):
                            maps[target + x] += w * line[x]


@exact_kernel
def _span(pixel, count, num_bins):
    """The pixels from the first tap of all bins to the last: left, one past right."""
    left, right = 1 << 62, 0
    for p in range(num_bins):
        for k in range(count[p]):
            left, right = min(left, pixel[p, k]), max(right, pixel[p, k] + 1)
    return np.uint64(min(left, right)), np.uint64(right)
