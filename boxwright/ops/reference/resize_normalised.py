"""torch's bilinear resize of normalised levels by torch itself: the definition that the compiled one must match.

To the bit where torch adds in its usual order: on one thread, and for small results, it has another.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def resize_normalised(image: NDArray[np.uint8], table: NDArray[np.float32], size: tuple[int, int]) -> Tensor:
    """(H, W, 3) uint8 levels, (3, 256) float32 what each level of a channel becomes -> (3, h, w)."""
    planes = torch.from_numpy(np.take_along_axis(table, image.reshape(-1, 3).T.astype(np.intp), axis=1))
    batch = planes.view(1, 3, *image.shape[:2])
    return functional.interpolate(batch, size=size, mode="bilinear", align_corners=False)[0]
