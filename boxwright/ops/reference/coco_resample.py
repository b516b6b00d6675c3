"""AP of many resamples of the images, in plain NumPy: every copy of a detection is written out."""

import numpy as np

from boxwright.ops.reference.coco_match import Array


def resampled_precision(
    first: Array,
    image: Array,
    true_positive: Array,
    false_positive: Array,
    weights: Array,
    wanted: Array,
    recalls: Array,
    num_thresholds: int,
) -> Array:
    """Signature as in `boxwright/ops/cpu/coco_resample.py`: (B, K, T)."""
    num_draws, num_categories = wanted.shape
    result = np.full((num_draws, num_categories, num_thresholds), -1.0)
    for b, k, t in np.ndindex(result.shape):
        if wanted[b, k] == 0:
            continue
        rows = np.arange(int(first[k]), int(first[k + 1]))
        rows = np.repeat(rows, weights[b, image[rows]])
        hits = np.cumsum(true_positive[rows] >> t & 1).astype(float)
        misses = np.cumsum(false_positive[rows] >> t & 1).astype(float)
        precision = np.maximum.accumulate((hits / (misses + hits + np.spacing(1.0)))[::-1])[::-1]
        at = np.searchsorted(hits / wanted[b, k], recalls, side="left")
        result[b, k, t] = precision[at[at < len(rows)]].sum() / len(recalls)
    return result
