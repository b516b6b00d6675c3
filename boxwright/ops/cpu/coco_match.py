"""COCO matching and accumulation in Numba: the same float64 operations in the same order as the official code.

Letters, as everywhere in the evaluation: n detections, G annotations of all images, A ranges (of area, or of whatever
annotations are split by), T IoU thresholds in ascending order, R recall thresholds, K categories, M limits on the
number of detections. T flags of one detection are the bits of one integer, bit t for threshold t.

Annotations are sorted by image, then category; `gt_first[i]` is the first one of image i. Detections that went through
`group_detections` are sorted by image, category and falling score. Every function is defined in plain NumPy in
`boxwright/ops/reference/coco_match.py`.
"""

import numpy as np

from boxwright.ops.cpu.kernel import exact_kernel

_EPS = np.spacing(1.0)
_SHORT = 48  # below this many, insertion sort beats the merge sort's allocations


@exact_kernel
def _sort_falling(rows, begin, end, score):
    """Sorts rows[begin:end] by falling score; equal scores keep their order."""
    if end - begin > _SHORT:
        part = rows[begin:end].copy()
        rows[begin:end] = part[np.argsort(-score[part], kind="mergesort")]
        return
    for i in range(begin + 1, end):
        row = rows[i]
        value = score[row]
        j = i - 1
        while j >= begin and score[rows[j]] < value:
            rows[j + 1] = rows[j]
            j -= 1
        rows[j + 1] = row


@exact_kernel
def group_detections(image, category, score, limit, num_categories):
    """(n,) columns sorted by image -> order (m,), rank (m,): per image and category the `limit` best, best first.

    Categories of an image come in the order of their first detection; rank counts within image and category.
    """
    n = len(image)
    rows = np.empty(n, np.int64)
    order = np.empty(n, np.int64)
    rank = np.empty(n, np.int32)
    count = np.zeros(num_categories, np.int64)
    place = np.zeros(num_categories, np.int64)
    touched = np.empty(num_categories, np.int64)
    kept = 0
    begin = 0
    while begin < n:
        end = begin
        num_touched = 0
        while end < n and image[end] == image[begin]:
            if count[category[end]] == 0:
                touched[num_touched] = category[end]
                num_touched += 1
            count[category[end]] += 1
            end += 1
        offset = begin
        for i in range(num_touched):
            place[touched[i]] = offset
            offset += count[touched[i]]
        for row in range(begin, end):
            rows[place[category[row]]] = row
            place[category[row]] += 1
        offset = begin
        for i in range(num_touched):
            size = count[touched[i]]
            count[touched[i]] = 0
            _sort_falling(rows, offset, offset + size, score)
            for r in range(min(size, limit)):
                order[kept] = rows[offset + r]
                rank[kept] = r
                kept += 1
            offset += size
        begin = end
    return order[:kept].copy(), rank[:kept].copy()


@exact_kernel
def grown(array):
    """A copy with as much room again behind it."""
    larger = np.empty(2 * len(array), array.dtype)
    larger[: len(array)] = array
    return larger


@exact_kernel
def candidate_range(i, image, category, gt_first, gt_category, same_class, previous):
    """The annotations detection i may match: [begin, end), those of its image and, if asked, its category."""
    if i > 0 and image[i] == image[i - 1] and (category[i] == category[i - 1] or not same_class):
        return previous
    begin, end = gt_first[image[i]], gt_first[image[i] + 1]
    if same_class:
        while begin < end and gt_category[begin] < category[i]:
            begin += 1
        stop = begin
        while stop < end and gt_category[stop] == category[i]:
            stop += 1
        end = stop
    return begin, end


@exact_kernel
def box_pairs(image, category, boxes_xywh, gt_first, gt_category, gt_boxes_xywh, gt_crowd, floor, same_class):
    """Every pair of a detection and an annotation with IoU >= floor > 0, by detection, then annotation.

    boxes_xywh (n, 4), gt_boxes_xywh (G, 4) float64 -> first (n + 1,), annotation (P,), iou (P,): detection i has the
    pairs first[i]:first[i + 1]. The IoU with a crowd is the part of the detection inside it.
    """
    n = len(image)
    first = np.empty(n + 1, np.int64)
    annotation = np.empty(max(n, 16), np.int32)
    iou = np.empty(max(n, 16), np.float64)
    found = 0
    first[0] = 0
    span = (0, 0)
    for i in range(n):
        span = candidate_range(i, image, category, gt_first, gt_category, same_class, span)
        x, y, w, h = boxes_xywh[i, 0], boxes_xywh[i, 1], boxes_xywh[i, 2], boxes_xywh[i, 3]
        area = w * h
        for g in range(span[0], span[1]):
            gx, gy, gw, gh = gt_boxes_xywh[g, 0], gt_boxes_xywh[g, 1], gt_boxes_xywh[g, 2], gt_boxes_xywh[g, 3]
            width = min(w + x, gw + gx) - max(x, gx)
            if width <= 0:
                continue
            height = min(h + y, gh + gy) - max(y, gy)
            if height <= 0:
                continue
            shared = width * height
            union = area if gt_crowd[g] else area + gw * gh - shared
            if shared < floor * union * 0.999999:  # spares the division; far enough from the border to be safe
                continue
            value = shared / union if union != 0 else np.inf
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
def _best_match(begin, end, annotation, iou, threshold, bit, taken, gt_crowd, gt_ignored, a, want_ignored):
    """The pair with the highest IoU >= threshold among free annotations; of equal ones the last; -1 for none."""
    best = threshold
    match = -1
    for p in range(begin, end):
        g = annotation[p]
        if (gt_ignored[g, a] != 0) != want_ignored:
            continue
        if (taken[g, a] & bit) != 0 and not gt_crowd[g]:
            continue
        if iou[p] < best:
            continue
        best = iou[p]
        match = g
    return match


@exact_kernel
def match_detections(first, annotation, iou, thresholds, taken, gt_crowd, gt_ignored, gt_nameless, outside):
    """Gives each detection, best score first, at each threshold and range, the best annotation still free.

    first, annotation, iou: the candidates, as `box_pairs` gives them, for detections sorted by falling score.
    taken (G, A) int32: bits of the thresholds at which an annotation is used up; updated in place. A crowd never is.
    gt_ignored (G, A): annotations that count neither way; they are matched only where no other fits.
    gt_nameless (G,): annotations with id 0, which the official code takes for "no match".
    outside (n, A): an unmatched detection counts neither way where this is set.
    Returns true_positive (n, A), false_positive (n, A) int32 bits, and matched (n,) int32: the annotation at the
    loosest threshold and the first range, or -1.
    """
    n, num_ranges = outside.shape
    every = (1 << len(thresholds)) - 1
    true_positive = np.zeros((n, num_ranges), np.int32)
    false_positive = np.zeros((n, num_ranges), np.int32)
    matched = np.full(n, -1, np.int32)
    for i in range(n):
        begin, end = first[i], first[i + 1]
        highest = 0.0
        for p in range(begin, end):
            highest = max(highest, iou[p])
        for a in range(num_ranges):
            hit = 0
            ignored = 0
            for t in range(len(thresholds)):
                threshold = min(thresholds[t], 1 - 1e-10)
                if highest < threshold:
                    break
                bit = 1 << t
                g = _best_match(begin, end, annotation, iou, threshold, bit, taken, gt_crowd, gt_ignored, a, False)
                if g < 0:
                    g = _best_match(begin, end, annotation, iou, threshold, bit, taken, gt_crowd, gt_ignored, a, True)
                if g < 0:
                    continue
                taken[g, a] |= bit
                if not gt_nameless[g]:
                    hit |= bit
                if gt_ignored[g, a]:
                    ignored |= bit
                if t == 0 and a == 0:
                    matched[i] = g
            if outside[i, a]:
                ignored |= every & ~hit
            true_positive[i, a] = hit & ~ignored
            false_positive[i, a] = every & ~hit & ~ignored
    return true_positive, false_positive, matched


@exact_kernel
def order_by_category(image, category, score, num_images, num_categories):
    """(n,) columns, images in any order -> order (n,), first (K + 1,): by category, then falling score, then image.

    Detections equal in all three keep their order, which is that of `group_detections`.
    """
    n = len(image)
    by_image = _stable_by(image, np.arange(n), num_images)
    by_category = _stable_by(category, by_image[0], num_categories)
    order, first = by_category
    for k in range(num_categories):
        _sort_falling(order, first[k], first[k + 1], score)
    return order, first


@exact_kernel
def _stable_by(key, rows, num_keys):
    first = np.zeros(num_keys + 1, np.int64)
    for row in rows:
        first[key[row] + 1] += 1
    for k in range(num_keys):
        first[k + 1] += first[k]
    place = first[:num_keys].copy()
    order = np.empty(len(rows), np.int64)
    for row in rows:
        order[place[key[row]]] = row
        place[key[row]] += 1
    return order, first


@exact_kernel
def accumulate_curves(first, score, rank, true_positive, false_positive, num_wanted, num_thresholds, recalls, limits):
    """Detections ordered by `order_by_category` -> the three arrays of the official evaluation.

    score, rank (n,); true_positive, false_positive (n, A) bits; num_wanted (K, A): annotations that count;
    recalls (R,) ascending; limits (M,). Returns precision (T, R, K, A, M), recall (T, K, A, M) and scores
    (T, R, K, A, M); -1 where a category has no annotation that counts.
    """
    num_categories, num_ranges = num_wanted.shape
    shape = (num_thresholds, len(recalls), num_categories, num_ranges, len(limits))
    precision = np.full(shape, -1.0)
    scores = np.full(shape, -1.0)
    recall = np.full((num_thresholds, num_categories, num_ranges, len(limits)), -1.0)
    for k in range(num_categories):
        begin, end = first[k], first[k + 1]
        for a in range(num_ranges):
            if num_wanted[k, a] == 0:
                continue
            for m in range(len(limits)):
                _accumulate_one(
                    score[begin:end], rank[begin:end], true_positive[begin:end, a], false_positive[begin:end, a],
                    num_wanted[k, a], recalls, limits[m],
                    precision[:, :, k, a, m], recall[:, k, a, m], scores[:, :, k, a, m],
                )  # fmt: skip
    return precision, recall, scores


@exact_kernel
def _accumulate_one(score, rank, true_positive, false_positive, wanted, recalls, limit, precision, recall, scores):
    """One category, range and limit. Precision is looked at only where a recall is reached: at the true positives."""
    num_thresholds = len(recall)
    every = (1 << num_thresholds) - 1
    hits = np.zeros(num_thresholds, np.int64)
    misses = np.zeros(num_thresholds, np.int64)
    at_hit = np.empty((num_thresholds, wanted))
    score_at_hit = np.empty((num_thresholds, wanted))
    common = 0  # false positives at every threshold: by far the most, so counted once for all
    head = -1
    for i in range(len(score)):
        if rank[i] >= limit:
            continue
        if head < 0:
            head = i
        wrong = false_positive[i]
        if wrong == every:
            common += 1
            continue
        for t in range(num_thresholds):
            if (wrong >> t) & 1:
                misses[t] += 1
            elif (true_positive[i] >> t) & 1:
                right = hits[t] + 1.0
                at_hit[t, hits[t]] = right / (float(misses[t] + common) + right + _EPS)
                score_at_hit[t, hits[t]] = score[i]
                hits[t] += 1
    for t in range(num_thresholds):
        recall[t] = hits[t] / wanted
        precision[t, :] = 0.0
        scores[t, :] = 0.0
        if head < 0:
            continue
        for h in range(hits[t] - 1, 0, -1):
            at_hit[t, h - 1] = max(at_hit[t, h - 1], at_hit[t, h])
        h = 0
        for r in range(len(recalls)):
            if recalls[r] <= 0:  # reached before the first hit
                scores[t, r] = score[head]
                precision[t, r] = at_hit[t, 0] if hits[t] else 0.0
                continue
            while h < hits[t] and (h + 1) / wanted < recalls[r]:
                h += 1
            if h == hits[t]:
                break
            precision[t, r] = at_hit[t, h]
            scores[t, r] = score_at_hit[t, h]


@exact_kernel
def cover_annotations(proposal, annotation, num_proposals, num_annotations):
    """(P,) pairs in the order they are offered -> (P,) bool: those taken, each proposal and annotation once."""
    is_used = np.zeros(num_proposals, np.bool_)
    is_covered = np.zeros(num_annotations, np.bool_)
    taken = np.zeros(len(proposal), np.bool_)
    for p in range(len(proposal)):
        if not is_used[proposal[p]] and not is_covered[annotation[p]]:
            is_used[proposal[p]] = is_covered[annotation[p]] = True
            taken[p] = True
    return taken
