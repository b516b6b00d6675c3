"""AP of many resamples of the images at once, in Numba. Defined in `boxwright/ops/reference/coco_resample.py`.

An image drawn w times counts as w copies: each of its detections and annotations has weight w. Copies of a detection
have equal scores, so that this is exactly the AP of the data set with the copies written out.
"""

import numpy as np

from boxwright.ops.cpu.kernel import exact_kernel

_EPS = np.spacing(1.0)


@exact_kernel
def resampled_precision(first, image, true_positive, false_positive, weights, wanted, recalls, num_thresholds):
    """Detections by category, then falling score -> mean precision over the recalls, (B, K, T); -1 with nothing wanted.

    first (K + 1,); image (n,); true_positive, false_positive (n,) bits, bit t for threshold t; weights (B, I): how
    often each image was drawn; wanted (B, K): annotations that count among those drawn; recalls (R,) ascending.
    """
    num_draws = len(weights)
    num_categories = len(first) - 1
    every = (1 << num_thresholds) - 1
    result = np.full((num_draws, num_categories, num_thresholds), -1.0)
    hits = np.zeros(num_thresholds, np.int64)
    misses = np.zeros(num_thresholds, np.int64)
    num_points = np.zeros(num_thresholds, np.int64)
    for k in range(num_categories):
        begin, end = first[k], first[k + 1]
        while end > begin and true_positive[end - 1] == 0:  # nothing after the last hit matters
            end -= 1
        reached = np.empty((num_thresholds, end - begin))
        precision = np.empty((num_thresholds, end - begin))
        for b in range(num_draws):
            if wanted[b, k] == 0:
                continue
            hits[:] = 0
            misses[:] = 0
            num_points[:] = 0
            common = 0
            for i in range(begin, end):
                weight = weights[b, image[i]]
                wrong = false_positive[i]
                if weight == 0:
                    continue
                if wrong == every:
                    common += weight
                    continue
                for t in range(num_thresholds):
                    if (wrong >> t) & 1:
                        misses[t] += weight
                    elif (true_positive[i] >> t) & 1:
                        hits[t] += weight
                        right = float(hits[t])
                        reached[t, num_points[t]] = right / wanted[b, k]
                        precision[t, num_points[t]] = right / (float(misses[t] + common) + right + _EPS)
                        num_points[t] += 1
            for t in range(num_thresholds):
                result[b, k, t] = _mean_precision(reached[t], precision[t], num_points[t], recalls)
    return result


@exact_kernel
def _mean_precision(reached, precision, num_points, recalls):
    """(P,) recalls and precisions at the hits -> the mean over `recalls` of the highest precision from there on."""
    for p in range(num_points - 1, 0, -1):
        precision[p - 1] = max(precision[p - 1], precision[p])
    total = 0.0
    p = 0
    for r in range(len(recalls)):
        while p < num_points and reached[p] < recalls[r]:
            p += 1
        if p == num_points:
            break
        total += precision[p]
    return total / len(recalls)
