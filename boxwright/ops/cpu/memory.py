"""Memory for large results."""

import numpy as np
import torch
from torch import Tensor

BYTES_WORTH_LARGE_PAGES = 1 << 22
ALIGNMENT = 64


def allocate(like: Tensor) -> Tensor:
    """An uninitialised tensor with the shape, type and strides of `like`, which was not written to yet.

    NumPy asks Linux for pages of 2 MiB for large arrays, torch does not. With pages of 4 KiB the system takes longer to
    hand out the 50 MB of a pooled tensor than a kernel to compute it.
    """
    num_bytes = like.numel() * like.element_size()
    if num_bytes < BYTES_WORTH_LARGE_PAGES:
        return like
    array = np.empty(num_bytes + ALIGNMENT, np.uint8)
    first = -array.ctypes.data % ALIGNMENT // like.element_size()
    storage = torch.from_numpy(array).untyped_storage()
    # Not a view of another tensor: autograd lets nobody write into a view of what an op has made.
    return torch.empty(0, dtype=like.dtype).set_(storage, first, like.shape, like.stride())
