"""Run-length masks and keypoint distances: kernels against definitions, and both against pycocotools."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from boxwright.ops.cpu import coco_runs as kernels
from boxwright.ops.reference import coco_runs as definition


def packed(rles):
    texts = [rle["counts"] for rle in rles]
    first = np.cumsum([0] + [len(text) for text in texts])
    sizes = np.array([rle["size"] for rle in rles], dtype=np.int32).reshape(-1, 2)
    return np.frombuffer(bytearray(b"".join(texts)), dtype=np.uint8), first, sizes


def encoded(bitmaps):
    return [coco_mask.encode(np.asfortranarray(bitmap, dtype=np.uint8)) for bitmap in bitmaps]


bitmap = arrays.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.booleans())


@settings(max_examples=80, deadline=None)
@given(st.lists(bitmap, max_size=4))
def test_lengths_boxes_and_areas_are_those_of_pycocotools(bitmaps):
    rles = encoded(bitmaps)
    text, first, sizes = packed(rles)
    boxes, area, bad = kernels.measure_runs(text, first, sizes)
    assert bad == -1
    np.testing.assert_array_equal(boxes, [coco_mask.toBbox(rle) for rle in rles] or np.zeros((0, 4)))
    np.testing.assert_array_equal(area, [coco_mask.area(rle) for rle in rles])
    for a, b in zip((boxes, area), definition.measure_runs(text, first, sizes)[:2], strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(kernels.unpack_runs(text, first), definition.unpack_runs(text, first), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_long_run_is_read_whole():
    """5000 x 5000 pixels in one run need five characters and more bits than a byte or a word hold."""
    rle = encoded([np.ones((5000, 5000))])
    _, area, bad = kernels.measure_runs(*packed(rle))
    assert (area.tolist(), bad) == ([25_000_000], -1)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (b"11", (3, 3)),  # too few pixels
        (b"o9", (3, 3)),  # too many
        (b"P", (3, 3)),  # a character that promises more
        (b"\x10", (3, 3)),  # no character of the format
        (b"O", (3, 3)),  # a negative length
        (b"\x70\x70", (3, 3)),
        (b"oooooooooooooooooooo1", (3, 3)),  # a number beyond all bounds
    ],
)
def test_a_damaged_mask_is_named(text, size):
    good = encoded([np.ones((3, 3))])[0]
    damaged = {"counts": text, "size": list(size)}
    for module in (kernels, definition):
        assert module.measure_runs(*packed([good, damaged, good]))[2] == 1


def scene(seed, n, annotations, images=3):
    """Blobs that often overlap, a few of another size."""
    random = np.random.default_rng(seed)

    def masks(count):
        shapes = [(20, 31) if random.random() < 0.9 else (31, 20) for _ in range(count)]
        corners = random.integers(0, 12, (count, 2, 2)) + [[0, 0], [4, 4]]
        bitmaps = [np.zeros(shape) for shape in shapes]
        for grid, corner in zip(bitmaps, corners, strict=True):
            grid[corner[:, 0].min() : corner[:, 0].max(), corner[:, 1].min() : corner[:, 1].max()] = 1
            grid[random.random(grid.shape) < 0.1] = 0
        text, first, sizes = packed(encoded(bitmaps))
        return text, first, sizes, *kernels.measure_runs(text, first, sizes)[:2]

    image = np.sort(random.integers(0, images, n)).astype(np.int32)
    category = random.integers(0, 2, n).astype(np.int32)
    gt_first = np.searchsorted(np.sort(random.integers(0, images, annotations)), np.arange(images + 1)).astype(np.int64)
    gt_category = np.concatenate(
        [np.sort(random.integers(0, 2, size)) for size in np.diff(gt_first)] or [np.zeros(0)]
    ).astype(np.int32)
    crowd = (random.random(annotations) < 0.3).astype(np.uint8)
    return image, category, masks(n), gt_first, gt_category, masks(annotations), crowd


@pytest.mark.parametrize(("n", "annotations"), [(0, 0), (0, 3), (3, 0), (60, 24)])
@pytest.mark.parametrize("floor", [0.01, 0.5])
def test_mask_pairs_match_the_definition(n, annotations, floor):
    image, category, masks, gt_first, gt_category, gt_masks, crowd = scene(n, n, annotations)
    row = np.random.default_rng(1).permutation(n)
    lengths = kernels.unpack_runs(*gt_masks[:2])
    for same_class in (True, False):
        inputs = image, category, row, masks, gt_first, gt_category, gt_masks, lengths, crowd, floor, same_class
        found, expected = kernels.mask_pairs(*inputs), definition.mask_pairs(*inputs)
        assert n < 10 or len(found[1])
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("n", "annotations"), [(0, 0), (0, 3), (3, 0), (40, 20)])
@pytest.mark.parametrize("points", [1, 5, 17, 150])
def test_keypoint_similarity_matches_the_definition(n, annotations, points):
    image, category, _, gt_first, gt_category, _, _ = scene(n, n, annotations)
    random = np.random.default_rng(points)
    keypoints = random.random((n, points, 2)) * 30
    gt_keypoints = np.concatenate(
        [random.random((annotations, points, 2)) * 30, random.integers(0, 2, (annotations, points, 1))], axis=2
    )
    gt_keypoints[::4, :, 2] = 0
    boxes, area = random.random((annotations, 4)) * 30, random.random(annotations) * 900
    inputs = image, category, keypoints, gt_first, gt_category, gt_keypoints, boxes, area, random.random(points) + 0.1
    found, expected = kernels.keypoint_distances(*inputs), definition.keypoint_distances(*inputs)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    first, annotation, part, distance = found
    likeness = np.exp(-distance)
    kept = kernels.keep_similar(first, annotation, part, likeness, 0.05)
    assert n < 10 or len(kept[1])
    for a, b in zip(kept, definition.keep_similar(first, annotation, part, likeness, 0.05), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 127, 128, 129, 255, 1000])
def test_sums_are_numpys_to_the_last_bit(size):
    values = np.random.default_rng(size).random(size + 3)
    assert kernels.pairwise_sum(values, 2, size) == np.sum(values[2 : 2 + size])
