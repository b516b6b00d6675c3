"""Run-length masks and keypoint similarity in Numba, to the last bit as the official code computes them.

A mask is the lengths of its runs of 0 and 1 in turn, column by column. COCO writes them as text: each length in
characters of six bits from '0' on, five of them value, lowest first, the sixth "more follows"; from the fourth length
on it is the difference to the length before the last. The text of N masks is joined into one array of bytes; mask i
has text[first[i]:first[i + 1]]. Defined in plain NumPy in `boxwright/ops/reference/coco_runs.py`.
"""

import numpy as np

from boxwright.ops.cpu.coco_match import candidate_range, grown
from boxwright.ops.cpu.kernel import exact_kernel

_LONGEST = 4294967295  # lengths are 32 bits wide in the official code


@exact_kernel
def read_runs(text, begin, end, counts, start):
    """Writes the lengths of one mask from counts[start] on; returns how many, or -1 where the text breaks the rules."""
    position = begin
    c = start
    while position < end:
        six = np.int64(text[position]) - 48
        position += 1
        if six & -64:
            return -1
        value = (six & 31) - ((six & 16) << 1)  # five bits with a sign: most lengths need no more
        if six >= 32:
            value = six & 31
            shift = 5
            while six >= 32:
                if position >= end or shift > 50:
                    return -1
                six = np.int64(text[position]) - 48
                position += 1
                if six & -64:
                    return -1
                value |= (six & 31) << shift
                shift += 5
            if six & 16:
                value |= np.int64(-1) << shift
        if c - start > 2:
            value += np.int64(counts[c - 2])
        if value < 0 or value > _LONGEST:
            return -1
        counts[c] = value
        c += 1
    return c - start


@exact_kernel
def unpack_runs(text, first):
    """(bytes,) uint8, (N + 1,) of `measure_runs`' approval -> counts (C,) uint32, counts_first (N + 1,)."""
    counts = np.empty(len(text), np.uint32)
    counts_first = np.zeros(len(first), np.int64)
    for i in range(len(first) - 1):
        counts_first[i + 1] = counts_first[i] + read_runs(text, first[i], first[i + 1], counts, counts_first[i])
    return counts[: counts_first[-1]].copy(), counts_first


@exact_kernel
def measure_runs(text, first, sizes):
    """(bytes,), (N + 1,), (N, 2) height, width -> boxes_xywh (N, 4) float64, area (N,) int64, bad.

    bad is the index of the first mask whose text is damaged or whose runs do not fill its size, or -1. An empty mask
    has the box 0, 0, 0, 0.
    """
    num_masks = len(first) - 1
    boxes = np.zeros((num_masks, 4))
    area = np.zeros(num_masks, np.int64)
    longest = 0
    for i in range(num_masks):
        longest = max(longest, first[i + 1] - first[i])
    counts = np.empty(longest, np.uint32)
    for i in range(num_masks):
        num_runs = read_runs(text, first[i], first[i + 1], counts, 0)
        if num_runs < 0 or not _measure_one(counts[:num_runs], sizes[i, 0], sizes[i, 1], boxes[i], area, i):
            return boxes, area, i
    return boxes, area, -1


@exact_kernel
def _measure_one(counts, height, width, box, area, i):
    """Writes box and area[i]; whether the runs fill height x width exactly."""
    size = np.int64(height) * np.int64(width)
    total = np.int64(0)
    for c in range(len(counts)):
        total += np.int64(counts[c])
    if total != size:
        return False
    if size == 0 or len(counts) < 2:
        return True
    left, top, right, bottom = np.int64(width), np.int64(height), np.int64(0), np.int64(0)
    position = np.int64(0)
    column = np.int64(0)
    for c in range(len(counts) // 2 * 2):
        position += np.int64(counts[c])
        place = position - c % 2  # the first pixel of a run of ones, then its last
        x = place // height
        y = place - x * height
        if c % 2 == 0:
            column = x
        else:
            area[i] += np.int64(counts[c])
            if column < x:  # a run that goes on in the next column touches bottom and top
                top, bottom = np.int64(0), np.int64(height - 1)
        left, right = min(left, x), max(right, x)
        top, bottom = min(top, y), max(bottom, y)
    box[0], box[1] = left, top
    box[2], box[3] = right - left + 1, bottom - top + 1
    return True


@exact_kernel
def _overlap(counts_a, a, a_end, counts_b, b, b_end):
    """Pixels in both masks and in either. Two runs of length 0 at the same place end the walk, as officially."""
    left_a, left_b = np.int64(counts_a[a]), np.int64(counts_b[b])
    a += 1
    b += 1
    inside_a = inside_b = False
    both = np.int64(0)
    either = np.int64(0)
    total = np.int64(1)
    while total > 0:
        step = min(left_a, left_b)
        if inside_a or inside_b:
            either += step
            if inside_a and inside_b:
                both += step
        left_a -= step
        if left_a == 0 and a < a_end:
            left_a = np.int64(counts_a[a])
            a += 1
            inside_a = not inside_a
        left_b -= step
        if left_b == 0 and b < b_end:
            left_b = np.int64(counts_b[b])
            b += 1
            inside_b = not inside_b
        total = left_a + left_b
    return both, either


@exact_kernel
def _common_box_area(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


@exact_kernel
def mask_pairs(image, category, row, masks, gt_first, gt_category, gt_masks, gt_runs, gt_crowd, floor, same_class):
    """As `box_pairs`, for masks. masks and gt_masks are (text, first, sizes, boxes_xywh, area); detection i is mask
    row[i]. gt_runs is `unpack_runs` of the annotations. Masks of unequal size make no pair.

    Two masks are compared run by run only where their boxes and areas allow an IoU >= floor at all, and a detection's
    text is read only where that happens.
    """
    text, text_first, sizes, boxes, area = masks
    gt_sizes, gt_boxes, gt_area = gt_masks[2:]
    gt_counts, gt_counts_first = gt_runs
    n = len(image)
    first = np.empty(n + 1, np.int64)
    annotation = np.empty(max(n, 16), np.int32)
    iou = np.empty(max(n, 16), np.float64)
    counts = np.empty(256, np.uint32)
    found = 0
    first[0] = 0
    span = (0, 0)
    for i in range(n):
        span = candidate_range(i, image, category, gt_first, gt_category, same_class, span)
        d = row[i]
        num_runs = -1
        for g in range(span[0], span[1]):
            common = _common_box_area(boxes[d], gt_boxes[g])
            if common == 0 or sizes[d, 0] != gt_sizes[g, 0] or sizes[d, 1] != gt_sizes[g, 1]:
                continue
            most = min(common, min(area[d], gt_area[g]))
            least = area[d] if gt_crowd[g] else max(area[d], gt_area[g])
            if most < floor * least * 0.999999:
                continue
            if num_runs < 0:
                while len(counts) < text_first[d + 1] - text_first[d]:
                    counts = grown(counts)
                num_runs = read_runs(text, text_first[d], text_first[d + 1], counts, 0)
            both, either = _overlap(counts, 0, num_runs, gt_counts, gt_counts_first[g], gt_counts_first[g + 1])
            if both == 0:
                continue
            value = both / (area[d] if gt_crowd[g] else either)
            if value < floor:
                continue
            if found == len(annotation):
                annotation = grown(annotation)
                iou = grown(iou)
            annotation[found] = g
            iou[found] = value
            found += 1
        first[i + 1] = found
    return first, annotation[:found].copy(), iou[:found].copy()


@exact_kernel
def keypoint_distances(image, category, keypoints, gt_first, gt_category, gt_keypoints, gt_boxes_xywh, gt_area, spread):
    """The exponents of OKS for every pair of a detection and an annotation of its image and category.

    keypoints (n, P, 2 or 3), gt_keypoints (G, P, 3) with visibility, spread (P,) = (2 sigma)^2. Returns
    first (n + 1,), annotation (Q,), part (Q + 1,), distance (S,): pair q has distance[part[q]:part[q + 1]], one
    number per visible keypoint; for an annotation without visible ones, one per keypoint: how far it is outside the box
    of the annotation widened by its own size on each side.
    """
    n, num_points = keypoints.shape[:2]
    first = np.empty(n + 1, np.int64)
    annotation = np.empty(max(n, 16), np.int32)
    part = np.empty(max(n, 16) + 1, np.int64)
    distance = np.empty(num_points * max(n, 16), np.float64)
    found = 0
    size = 0
    first[0] = 0
    part[0] = 0
    span = (0, 0)
    for i in range(n):
        span = candidate_range(i, image, category, gt_first, gt_category, True, span)
        for g in range(span[0], span[1]):
            if found + 2 > len(annotation):
                annotation = grown(annotation)
                part = grown(part)
            if size + num_points > len(distance):
                distance = grown(distance)
            size = _one_pair(keypoints[i], gt_keypoints[g], gt_boxes_xywh[g], gt_area[g], spread, distance, size)
            annotation[found] = g
            found += 1
            part[found] = size
        first[i + 1] = found
    return first, annotation[:found].copy(), part[: found + 1].copy(), distance[:size].copy()


@exact_kernel
def _one_pair(points, gt_points, gt_box, gt_area, spread, distance, size):
    """Writes one pair's distances from distance[size] on; returns the new size."""
    any_visible = False
    for p in range(len(gt_points)):
        any_visible |= gt_points[p, 2] > 0
    left, right = gt_box[0] - gt_box[2], gt_box[0] + gt_box[2] * 2
    top, bottom = gt_box[1] - gt_box[3], gt_box[1] + gt_box[3] * 2
    for p in range(len(gt_points)):
        if any_visible:
            if gt_points[p, 2] <= 0:
                continue
            dx = points[p, 0] - gt_points[p, 0]
            dy = points[p, 1] - gt_points[p, 1]
        else:
            dx = max(0.0, left - points[p, 0]) + max(0.0, points[p, 0] - right)
            dy = max(0.0, top - points[p, 1]) + max(0.0, points[p, 1] - bottom)
        distance[size] = (dx * dx + dy * dy) / spread[p] / (gt_area + np.spacing(1.0)) / 2
        size += 1
    return size


@exact_kernel
def keep_similar(first, annotation, part, likeness, floor):
    """likeness (S,) = exp(-distance) -> the pairs whose mean likeness, their OKS, is >= floor, as `box_pairs`."""
    n = len(first) - 1
    kept_first = np.empty(n + 1, np.int64)
    kept_annotation = np.empty(len(annotation), np.int32)
    oks = np.empty(len(annotation), np.float64)
    kept = 0
    kept_first[0] = 0
    for i in range(n):
        for q in range(first[i], first[i + 1]):
            size = part[q + 1] - part[q]
            value = pairwise_sum(likeness, part[q], size) / size
            if value >= floor:
                kept_annotation[kept] = annotation[q]
                oks[kept] = value
                kept += 1
        kept_first[i + 1] = kept
    return kept_first, kept_annotation[:kept].copy(), oks[:kept].copy()


@exact_kernel
def pairwise_sum(values, begin, size):
    """The sum of values[begin:begin + size] in NumPy's order of additions, so that it is NumPy's to the last bit."""
    if size > 128:
        half = size // 2
        half -= half % 8
        return pairwise_sum(values, begin, half) + pairwise_sum(values, begin + half, size - half)
    total = 0.0
    done = 0
    if size >= 8:
        done = size - size % 8
        eight = values[begin : begin + 8].copy()
        for i in range(8, done, 8):
            for j in range(8):
                eight[j] += values[begin + i + j]
        total = ((eight[0] + eight[1]) + (eight[2] + eight[3])) + ((eight[4] + eight[5]) + (eight[6] + eight[7]))
    for i in range(begin + done, begin + size):
        total += values[i]
    return total
