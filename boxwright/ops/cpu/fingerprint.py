"""Whether a tensor's values have changed, found by reading all of them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boxwright.ops.cpu.kernel import kernel
from boxwright.ops.cpu.threads import run_chunks

_LANES = 16
_BLOCK = 8 * _LANES  # bytes
_CHUNK = 1 << 20  # bytes of a task
_SMALL = 1 << 14  # bytes that are their own fingerprint
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no bit of a product is lost


def fingerprint(tensor: Tensor) -> bytes:
    """Of the values as they lie in memory, whoever wrote them; on the CPU.

    It reads 10 GB/s in each thread, as fast as memory gives them: the 170 MB of a Faster R-CNN R50-FPN take less than
    one in a hundred of its detection of one image of 800 x 1199. PyTorch's version counters cost nothing, but know
    nothing of writes through `.data`, NumPy or a fused optimiser.
    """
    content = _bytes_of(tensor.detach())
    if len(content) <= _SMALL:
        return content.tobytes()
    whole = len(content) - len(content) % _BLOCK
    tail = np.zeros(_BLOCK, np.uint8)
    tail[: len(content) - whole] = content[whole:]
    words = content[:whole].view(np.uint64)
    states = np.zeros((-(-whole // _CHUNK) + 1, _LANES), np.uint64)
    _mix(tail.view(np.uint64), states[-1])

    def mix(first: int, past_last: int) -> None:
        _mix(words[first * _LANES : past_last * _LANES], states[first * _BLOCK // _CHUNK])

    run_chunks(mix, whole // _BLOCK, _CHUNK // _BLOCK)
    return states.tobytes()


def _bytes_of(tensor: Tensor) -> NDArray[np.uint8]:
    """All bytes in the order of memory, without a copy where nothing lies between the values."""
    is_dense = tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)
    flat = tensor.as_strided((tensor.numel(),), (1,)) if is_dense else tensor.flatten()
    values: NDArray[np.uint8] = flat.view(torch.uint8).numpy()
    return values


@kernel
def _mix(words, states):
    """(16 N,) uint64 into (16,) uint64: each word moves the state of its lane, and with it what later words do."""
    lanes = np.empty(_LANES, np.uint64)
    for lane in range(_LANES):
        lanes[lane] = states[lane]
    for i in range(0, len(words), _LANES):
        for lane in range(_LANES):
            lanes[lane] = (lanes[lane] ^ words[i + lane]) * _FACTOR
    for lane in range(_LANES):
        states[lane] = lanes[lane]
