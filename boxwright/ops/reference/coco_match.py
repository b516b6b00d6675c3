"""COCO matching and accumulation in plain NumPy: the definition the kernels must match to the last bit.

Letters and signatures as in `boxwright/ops/cpu/coco_match.py`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
PairArrays = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]


def group_detections(
    image: Array, category: Array, score: Array, limit: int, num_categories: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """(n,) columns sorted by image -> order (m,), rank (m,): per image and category the `limit` best, best first."""
    groups: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(zip(image.tolist(), category.tolist(), strict=True)):
        groups.setdefault(key, []).append(row)
    best = [sorted(rows, key=lambda row: -score[row])[:limit] for rows in groups.values()]
    order = [row for rows in best for row in rows]
    rank = [r for rows in best for r in range(len(rows))]
    return np.array(order, dtype=np.int64), np.array(rank, dtype=np.int32)


def candidates(
    i: int, image: Array, category: Array, gt_first: Array, gt_category: Array, same_class: bool
) -> list[int]:
    """The annotations detection i may match."""
    span = range(int(gt_first[image[i]]), int(gt_first[image[i] + 1]))
    return [g for g in span if not same_class or gt_category[g] == category[i]]


def pack_pairs(found: list[list[tuple[int, float]]]) -> PairArrays:
    """(annotation, similarity) by detection -> first (n + 1,), annotation (P,), similarity (P,)."""
    flat = [pair for pairs in found for pair in pairs]
    return (
        np.cumsum([0] + [len(pairs) for pairs in found], dtype=np.int64),
        np.array([g for g, _ in flat], dtype=np.int32),
        np.array([value for _, value in flat], dtype=np.float64),
    )


def box_pairs(
    image: Array,
    category: Array,
    boxes_xywh: Array,
    gt_first: Array,
    gt_category: Array,
    gt_boxes_xywh: Array,
    gt_crowd: Array,
    floor: float,
    same_class: bool,
) -> PairArrays:
    """Every pair of a detection and an annotation with IoU >= floor > 0, by detection, then annotation."""
    found = []
    for i in range(len(image)):
        rows = candidates(i, image, category, gt_first, gt_category, same_class)
        values = [(g, _box_iou(boxes_xywh[i], gt_boxes_xywh[g], bool(gt_crowd[g]))) for g in rows]
        found.append([(g, value) for g, value in values if value >= floor])
    return pack_pairs(found)


def _box_iou(a: Array, b: Array, crowd: bool) -> float:
    width = min(a[2] + a[0], b[2] + b[0]) - max(a[0], b[0])
    height = min(a[3] + a[1], b[3] + b[1]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return float(shared / (a[2] * a[3] if crowd else a[2] * a[3] + b[2] * b[3] - shared))


def match_detections(
    first: Array,
    annotation: Array,
    iou: Array,
    thresholds: Array,
    taken: Array,
    gt_crowd: Array,
    gt_ignored: Array,
    gt_nameless: Array,
    outside: Array,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Gives each detection, best score first, at each threshold and range, the best annotation still free."""
    n, num_ranges = outside.shape
    true_positive = np.zeros((n, num_ranges), np.int32)
    false_positive = np.zeros((n, num_ranges), np.int32)
    matched = np.full(n, -1, np.int32)
    for i, a, t in np.ndindex(n, num_ranges, len(thresholds)):
        bit = 1 << t
        rows = range(int(first[i]), int(first[i + 1]))
        free = [p for p in rows if not taken[annotation[p], a] & bit or gt_crowd[annotation[p]]]
        fits = [p for p in free if iou[p] >= min(thresholds[t], 1 - 1e-10)]
        # Those that count come first; of equally good ones the last in the annotations' order is taken.
        wanted = [p for p in fits if not gt_ignored[annotation[p], a]] or fits
        match = int(annotation[max(wanted, key=lambda p: (iou[p], p))]) if wanted else -1
        is_ignored = False
        if match >= 0:
            taken[match, a] |= bit
            is_ignored = bool(gt_ignored[match, a])
            if t == 0 and a == 0:
                matched[i] = match
        is_hit = match >= 0 and not gt_nameless[match]
        is_ignored |= bool(outside[i, a]) and not is_hit
        if not is_ignored:
            (true_positive if is_hit else false_positive)[i, a] |= bit
    return true_positive, false_positive, matched


def order_by_category(
    image: Array, category: Array, score: Array, num_images: int, num_categories: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) columns, images in any order -> order (n,), first (K + 1,): by category, then falling score, then image."""
    order = np.lexsort((image, -score, category))
    return order, np.searchsorted(category[order], np.arange(num_categories + 1)).astype(np.int64)


def accumulate_curves(
    first: Array,
    score: Array,
    rank: Array,
    true_positive: Array,
    false_positive: Array,
    num_wanted: Array,
    num_thresholds: int,
    recalls: Array,
    limits: Array,
) -> tuple[Array, Array, Array]:
    """Ordered detections -> precision (T, R, K, A, M), recall (T, K, A, M), scores (T, R, K, A, M)."""
    num_categories, num_ranges = num_wanted.shape
    shape = (num_thresholds, len(recalls), num_categories, num_ranges, len(limits))
    precision, scores = np.full(shape, -1.0), np.full(shape, -1.0)
    recall = np.full((num_thresholds, *shape[2:]), -1.0)
    for t, k, a, m in np.ndindex(recall.shape):
        if num_wanted[k, a] == 0:
            continue
        rows = np.arange(int(first[k]), int(first[k + 1]))
        rows = rows[rank[rows] < limits[m]]
        hits = np.cumsum(true_positive[rows, a] >> t & 1).astype(float)
        misses = np.cumsum(false_positive[rows, a] >> t & 1).astype(float)
        reached = hits / num_wanted[k, a]
        curve = hits / (misses + hits + np.spacing(1.0))
        curve = np.maximum.accumulate(curve[::-1])[::-1]
        at = np.searchsorted(reached, recalls, side="left")
        inside = at < len(rows)
        recall[t, k, a, m] = reached[-1] if len(rows) else 0.0
        precision[t, :, k, a, m] = scores[t, :, k, a, m] = 0.0
        precision[t, inside, k, a, m] = curve[at[inside]]
        scores[t, inside, k, a, m] = score[rows][at[inside]]
    return precision, recall, scores


def cover_annotations(
    proposal: Array, annotation: Array, num_proposals: int, num_annotations: int
) -> NDArray[np.bool_]:
    """(P,) pairs in the order they are offered -> (P,) bool: those taken, each proposal and annotation once."""
    used: set[int] = set()
    covered: set[int] = set()
    taken = np.zeros(len(proposal), dtype=bool)
    for p, (d, g) in enumerate(zip(proposal.tolist(), annotation.tolist(), strict=True)):
        if d not in used and g not in covered:
            used.add(d)
            covered.add(g)
            taken[p] = True
    return taken
