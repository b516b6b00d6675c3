"""Run-length masks and keypoint similarity in plain NumPy: the definition the kernels must match to the last bit.

Signatures as in `boxwright/ops/cpu/coco_runs.py`; here masks are decoded to bitmaps.
"""

import numpy as np
from numpy.typing import NDArray

from boxwright.ops.reference.coco_match import Array, PairArrays, candidates, pack_pairs

LONGEST = 4294967295  # lengths are 32 bits wide in the official code


def read_runs(text: bytes) -> list[int]:
    """COCO's compressed text of one mask -> its run lengths."""
    lengths: list[int] = []
    value, shift = 0, 0
    for character in text:
        six = character - 48
        value |= (six & 31) << shift
        shift += 5
        if six < 32:
            value -= (six & 16) * 2 << shift - 5
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value, shift = 0, 0
    return lengths


def unpack_runs(text: Array, first: Array) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """(bytes,), (N + 1,) -> counts (C,), counts_first (N + 1,)."""
    rows = [read_runs(text[first[i] : first[i + 1]].tobytes()) for i in range(len(first) - 1)]
    counts = np.array([length for row in rows for length in row], dtype=np.uint32)
    return counts, np.cumsum([0] + [len(row) for row in rows], dtype=np.int64)


def bitmap(text: bytes, size: Array) -> NDArray[np.bool_]:
    """One mask -> (H, W)."""
    runs = read_runs(text)
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(int(size[1]), int(size[0])).T


def measure_runs(text: Array, first: Array, sizes: Array) -> tuple[Array, Array, int]:
    """(bytes,), (N + 1,), (N, 2) -> boxes_xywh (N, 4), area (N,), the first that is damaged or -1."""
    boxes = np.zeros((len(sizes), 4))
    area = np.zeros(len(sizes), dtype=np.int64)
    for i in range(len(sizes)):
        one = text[first[i] : first[i + 1]].tobytes()
        if _is_damaged(one, sizes[i]):
            return boxes, area, i
        mask = bitmap(one, sizes[i])
        area[i] = mask.sum()
        if area[i]:
            y, x = np.nonzero(mask)
            boxes[i] = x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1
    return boxes, area, -1


def _is_damaged(text: bytes, size: Array) -> bool:
    """Whether this is not COCO's text, or its runs do not fill the mask."""
    is_text = all(48 <= character < 112 for character in text) and (not text or text[-1] < 80)
    runs = read_runs(text) if is_text else []
    return sum(runs) != int(size[0]) * int(size[1]) or any(not 0 <= length <= LONGEST for length in runs)


def mask_pairs(
    image: Array,
    category: Array,
    row: Array,
    masks: tuple[Array, ...],
    gt_first: Array,
    gt_category: Array,
    gt_masks: tuple[Array, ...],
    gt_runs: tuple[Array, ...],
    gt_crowd: Array,
    floor: float,
    same_class: bool,
) -> PairArrays:
    """Every pair of a detection and an annotation with mask IoU >= floor > 0."""
    found: list[list[tuple[int, float]]] = []
    for i in range(len(image)):
        found.append([])
        mask = _nth(masks, int(row[i]))
        for g in candidates(i, image, category, gt_first, gt_category, same_class):
            other = _nth(gt_masks, g)
            if mask.shape != other.shape or not (mask & other).any():
                continue
            value = (mask & other).sum() / (mask if gt_crowd[g] else mask | other).sum()
            if value >= floor:
                found[-1].append((g, float(value)))
    return pack_pairs(found)


def _nth(masks: tuple[Array, ...], index: int) -> NDArray[np.bool_]:
    text, first, sizes = masks[:3]
    return bitmap(text[first[index] : first[index + 1]].tobytes(), sizes[index])


def keypoint_distances(
    image: Array,
    category: Array,
    keypoints: Array,
    gt_first: Array,
    gt_category: Array,
    gt_keypoints: Array,
    gt_boxes_xywh: Array,
    gt_area: Array,
    spread: Array,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], Array]:
    """The exponents of OKS for every pair of a detection and an annotation of its image and category."""
    found: list[list[tuple[int, Array]]] = []
    for i in range(len(image)):
        rows = candidates(i, image, category, gt_first, gt_category, True)
        found.append(
            [(g, _distances(keypoints[i], gt_keypoints[g], gt_boxes_xywh[g], gt_area[g], spread)) for g in rows]
        )
    flat = [pair for pairs in found for pair in pairs]
    first = np.cumsum([0] + [len(pairs) for pairs in found], dtype=np.int64)
    part = np.cumsum([0] + [len(distance) for _, distance in flat], dtype=np.int64)
    annotation = np.array([g for g, _ in flat], dtype=np.int32)
    return first, annotation, part, np.concatenate([np.zeros(0), *(distance for _, distance in flat)])


def _distances(points: Array, gt_points: Array, gt_box: Array, gt_area: float, spread: Array) -> Array:
    visible = gt_points[:, 2] > 0
    if visible.any():
        offset = (points[:, :2] - gt_points[:, :2])[visible]
        spread = spread[visible]
    else:
        low, high = gt_box[:2] - gt_box[2:], gt_box[:2] + gt_box[2:] * 2
        offset = np.maximum(0, low - points[:, :2]) + np.maximum(0, points[:, :2] - high)
    squared: Array = offset[:, 0] ** 2 + offset[:, 1] ** 2
    exponents: Array = squared / spread / (gt_area + np.spacing(1.0)) / 2
    return exponents


def keep_similar(first: Array, annotation: Array, part: Array, likeness: Array, floor: float) -> PairArrays:
    """likeness (S,) = exp(-distance) -> the pairs whose mean likeness, their OKS, is >= floor."""
    found: list[list[tuple[int, float]]] = []
    for i in range(len(first) - 1):
        pairs = range(int(first[i]), int(first[i + 1]))
        values = [(int(annotation[q]), likeness[part[q] : part[q + 1]]) for q in pairs]
        similar = [(g, float(np.sum(value) / len(value))) for g, value in values]
        found.append([(g, value) for g, value in similar if value >= floor])
    return pack_pairs(found)
