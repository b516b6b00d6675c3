"""Bytes in the place of floats, for convolutions of integers."""

import numpy as np
import torch
from torch import Tensor

from boxwright.ops.cpu.kernel import exact_kernel
from boxwright.ops.cpu.threads import run_chunks

CHUNK = 1 << 16
BLOCK = 1 << 11


def quantise(x: Tensor, scale: float, zero_point: int, *, most: int = 255) -> Tensor:
    """(N, C, H, W) or (N, C) float32 or bfloat16 -> uint8 of the same shape and layout.

    round(x * (1 / scale)) + zero_point, halves to even, clamped to 0..most.
    """
    dense = x.contiguous() if x.ndim == 2 else x.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(dense, dtype=torch.uint8)
    values, bytes_out = (t.flatten() if t.ndim == 2 else t.permute(0, 2, 3, 1).flatten() for t in (dense, out))
    is_short = x.dtype == torch.bfloat16
    source = (values.view(torch.uint16) if is_short else values).numpy()
    work = _quantise_bfloat16 if is_short else _quantise
    target, rule = bytes_out.numpy(), (np.float32(1 / scale), np.float32(zero_point), np.float32(most))
    run_chunks(lambda begin, end: work(source[begin:end], *rule, target[begin:end]), len(target), CHUNK)
    return out


@exact_kernel
def _quantise(values, factor, zero, most, out):
    for i in range(len(values)):
        out[i] = np.uint8(min(max(np.rint(values[i] * factor) + zero, np.float32(0)), most))


@exact_kernel
def _quantise_bfloat16(values, factor, zero, most, out):
    """`values` are the upper 16 bits of float32."""
    bits = np.empty(BLOCK, np.uint32)
    floats = bits.view(np.float32)
    for first in range(0, len(values), BLOCK):
        block = values[first : first + BLOCK]
        for i in range(len(block)):
            bits[i] = np.uint32(block[i]) << np.uint32(16)
        _quantise(floats[: len(block)], factor, zero, most, out[first : first + BLOCK])
