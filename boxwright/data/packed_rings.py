"""Polygons in few bits: an object keeps its first point, and the steps from point to point as wide as its longest one.

They are most of what an index holds. Annotation tools write hundredths of a pixel, so that steps are whole numbers and
nothing is lost; an object with other numbers keeps its doubles, 64 bits wide, in the same stream.

The columns, for I images, M objects and R rings:

    ring_first   (I + 1,)  the first ring of each image
    rings        (M,)      rings of each object
    ring_points  (R,)      points of each ring
    step_first   (I + 1,)  the first byte of each image in `steps`
    step_bits    (M,)      bits of each number of an object
    start        (M, 2)    hundredths x, y of its first point
    steps        (bytes,)  dx, dy, dx, dy, ... doubled, with the sign as the lowest bit; an object begins with a byte
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from boxwright.data.array_file import Arrays
from boxwright.data.columns import STEP, offsets, to_hundredths

RAW = 64  # bits of numbers that are no hundredths
IMAGES_AT_ONCE, OBJECTS_AT_ONCE = 2048, 64  # what is on its way takes ten times the room

Integers = NDArray[np.int64]


def pack_rings(points: NDArray[np.float64], *, lengths: Integers, rings: Integers, first: Integers) -> Arrays:
    """x, y, x, y, ... of all rings end to end, how many numbers each ring has (R,), how many rings each object (M,),
    the first object of each image (I + 1,)."""
    ring_first = offsets(rings)
    number_first = offsets(lengths)[ring_first]
    blocks = [
        _pack_objects(points[number_first[a] : number_first[b]], np.diff(number_first[a : b + 1]))
        for a, b in pairwise([*first[:-1:IMAGES_AT_ONCE].tolist(), len(rings)])
    ]
    none = (np.zeros(0, np.int64), np.zeros((0, 2), np.int64), np.zeros(0, np.uint8))
    bits, start, steps = (np.concatenate(column) for column in zip(none, *blocks, strict=True))
    return {
        "ring_first": ring_first[first],
        "rings": rings,
        "ring_points": lengths // 2,
        "step_first": offsets(_num_bytes(np.diff(number_first), bits))[first],
        "step_bits": bits,
        "start": start,
        "steps": steps,
    }


def image_rings(columns: Arrays, image: int) -> list[list[NDArray[np.float64]]]:
    """The rings of each object of an image, (2 * points,) x, y, ... each, as they were given."""
    begin, end = columns["first"][image : image + 2].tolist()
    ring_first = offsets(columns["rings"][begin:end])
    ring = int(columns["ring_first"][image])
    number_first = offsets(columns["ring_points"][ring : ring + int(ring_first[-1])]) * 2
    bits, start = columns["step_bits"][begin:end].astype(np.int64), columns["start"][begin:end]
    sizes = np.diff(number_first[ring_first])
    byte_first = offsets(_num_bytes(sizes, bits)) + int(columns["step_first"][image])
    blocks = [np.zeros(0)]
    for a, b in pairwise([*range(0, end - begin, OBJECTS_AT_ONCE), end - begin]):
        data = columns["steps"][byte_first[a] : byte_first[b]]
        blocks.append(_unpack_objects(data, sizes[a:b], bits[a:b], start[a:b]))
    numbers = np.concatenate(blocks)
    rings = [numbers[a:b] for a, b in pairwise(number_first.tolist())]
    return [rings[a:b] for a, b in pairwise(ring_first.tolist())]


def _pack_objects(points: NDArray[np.float64], sizes: Integers) -> tuple[Integers, Integers, NDArray[np.uint8]]:
    """Numbers of some objects end to end, and how many each has -> step_bits, start, steps."""
    owner = np.repeat(np.arange(len(sizes)), sizes)
    whole, is_exact = to_hundredths(points)
    is_raw = np.zeros(len(sizes), dtype=bool)
    is_raw[owner[~is_exact]] = True
    filled, heads = sizes > 0, offsets(sizes)[:-1][sizes > 0]
    pairs = whole.reshape(-1, 2)
    start = np.zeros((len(sizes), 2), dtype=np.int64)
    start[filled] = pairs[heads // 2]
    moves = np.diff(pairs, axis=0, prepend=pairs[:1])
    moves[heads // 2] = 0
    signed = ((moves << 1) ^ (moves >> 63)).reshape(-1).view(np.uint64)
    numbers = np.where(is_raw[owner], points.view(np.uint64), signed)
    bits = np.zeros(len(sizes), dtype=np.int64)
    if len(heads):
        bits[filled] = np.frexp(np.maximum.reduceat(signed, heads).astype(np.float64))[1]
    bits[is_raw] = RAW
    return bits, start, _to_bytes(numbers, sizes, bits)


def _unpack_objects(
    data: NDArray[np.uint8], sizes: Integers, bits: Integers, start: NDArray[np.integer]
) -> NDArray[np.float64]:
    numbers = _from_bytes(data, sizes, bits)
    signed = numbers.view(np.int64)
    moves = ((signed >> 1) ^ -(signed & 1)).reshape(-1, 2)
    heads, points = offsets(sizes)[:-1] // 2, sizes // 2
    so_far = np.cumsum(moves, axis=0)  # over all objects; what doubles make of it cancels out below
    before = np.concatenate((np.zeros((1, 2), np.int64), so_far))[heads]
    whole = so_far + np.repeat(start - before, points, axis=0)
    decimals: NDArray[np.float64] = whole.reshape(-1) / STEP
    return np.where(np.repeat(bits == RAW, sizes), numbers.view(np.float64), decimals)


def _to_bytes(numbers: NDArray[np.uint64], sizes: Integers, bits: Integers) -> NDArray[np.uint8]:
    """Each object's numbers from a byte of its own on, the lowest bit first."""
    place, width = _first_bits(sizes, bits), np.repeat(bits, sizes)
    stream = np.zeros(int(_num_bytes(sizes, bits).sum()) * 8, dtype=np.uint8)
    for bit in range(int(bits.max(initial=0))):
        wide = np.flatnonzero(width > bit)
        stream[place[wide] + bit] = numbers[wide] >> np.uint64(bit) & np.uint64(1)
    return np.packbits(stream, bitorder="little")


def _from_bytes(data: NDArray[np.uint8], sizes: Integers, bits: Integers) -> NDArray[np.uint64]:
    """Each number lies in the 8 bytes from the one it begins in: hundredths are short, and doubles fill whole bytes."""
    place, width = _first_bits(sizes, bits).view(np.uint64), np.repeat(bits, sizes).view(np.uint64)
    padded = np.concatenate((data, np.zeros(8, dtype=np.uint8)))
    windows = np.ndarray(len(data) + 1, dtype="<u8", buffer=padded.data, strides=(1,))
    numbers: NDArray[np.uint64] = windows[place >> np.uint64(3)] >> (place & np.uint64(7))
    numbers &= np.uint64(2**64 - 1) >> (np.uint64(64) - width)
    return numbers


def _first_bits(sizes: Integers, bits: Integers) -> Integers:
    """Where each number begins, for `sizes` numbers of so many `bits` in each object."""
    heads = offsets(_num_bytes(sizes, bits))[:-1] * 8 - offsets(sizes)[:-1] * bits
    places: Integers = np.repeat(heads, sizes) + np.arange(int(sizes.sum())) * np.repeat(bits, sizes)
    return places


def _num_bytes(sizes: Integers, bits: Integers) -> Integers:
    return -(-sizes * bits // 8)
