"""Masks resized to the nearest pixel as bitmaps: the definition that the runs must match to the byte."""

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from boxwright.ops.reference.coco_runs import read_runs


def resize_runs(counts: bytes, height: int, rows: Any, columns: Any) -> bytes:
    """A mask of `height` rows as COCO's text, and the row and column that each new row and column is taken from, both
    ascending -> the new mask as COCO's text.
    """
    runs = read_runs(counts)
    columns_of_pixels = np.repeat(np.arange(len(runs)) % 2, runs).reshape(-1, height).astype(np.uint8)
    resized = columns_of_pixels[np.ix_(columns, rows)].T
    text: bytes = coco_mask.encode(np.asfortranarray(resized))["counts"]
    return text
