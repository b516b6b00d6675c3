"""Weights from a name, a shape and a seed, so that no checkpoint is needed to compare two programs.

The rule was fixed with the recorded numbers: every value comes from a Philox stream whose key is crc32(name) + seed,
as uniform noise whose spread follows from the name (the original program's) and the shape. All arithmetic is double,
rounded to float32 at the end.
"""

import math
import re
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

Shape = tuple[int, ...]

TRANSPOSED = re.compile("deconv|upsample|upconv|conv5_mask|score_lowres")
PYRAMID = re.compile(r"fpn|inner_blocks|layer_blocks|^neck\.|topdown_lateral|posthoc|_lateral")
BOTTOM_UP = re.compile(
    r"bottom_up|backbone\.body|^backbone\.(res|stem|layer|conv1|bn1)|Conv_Body\.(conv_body\.)?res|"
    r"Conv_Body.*\.(res\d|layers)\b|roi_heads\.res5|shared_head|Box_Head\.(res5|layers)"
)
SURELY_BOTTOM_UP = re.compile(r"bottom_up|backbone\.body")
END_OF_BLOCK = re.compile(r"(conv3\.norm|bn3)\.(weight|scale)$")


def filled(name: str, shape: Shape, seed: int, adjustments: Sequence[Sequence[object]] = ()) -> np.ndarray:
    """The float32 values of one entry; `adjustments` are (pattern, factor) or (pattern, factor, offset)."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    found = [entry for entry in adjustments if re.search(str(entry[0]), name)]
    factor = math.prod(float(entry[1]) for entry in found)  # type: ignore[arg-type]
    offset = sum(float(entry[2]) for entry in found if len(entry) > 2)  # type: ignore[arg-type]
    return (_values(name, shape, seed) * factor + offset).astype(np.float32).reshape(shape)


def fill_all(
    entries: Iterable[tuple[str, Shape]], seed: int, adjustments: Sequence[Sequence[object]], kept: Sequence[str]
) -> dict[str, np.ndarray]:
    """Every entry of a state dict but those that match a pattern of `kept`."""
    return {
        name: filled(name, tuple(shape), seed, adjustments)
        for name, shape in entries
        if not any(re.search(pattern, name) for pattern in kept)
    }


def _values(name: str, shape: Shape, seed: int) -> np.ndarray:
    key = (zlib.crc32(name.encode()) & 0xFFFFFFFF) + seed
    uniform = np.random.Generator(np.random.Philox(key=key)).random(math.prod(shape))
    kind = name.rpartition(".")[2]
    if kind == "running_var":
        return 0.5 + uniform
    if kind == "running_mean":
        return 0.2 * uniform - 0.1
    if len(shape) <= 1 and kind in ("weight", "scale"):
        low, high = (0.25, 0.35) if END_OF_BLOCK.search(name) else (0.4, 0.8)
        return low + (high - low) * uniform
    if len(shape) <= 1:
        return _noise(uniform, 0.05)
    transposed = len(shape) == 4 and TRANSPOSED.search(name)
    fan_in = shape[0] * max(shape[2] * shape[3] / 4, 1) if transposed else math.prod(shape[1:])
    values = _noise(uniform, math.sqrt(_gain(name) / fan_in))
    if shape[1] >= 8 and not TRANSPOSED.search(name):
        values = values.reshape(shape[0], -1)
        values = values - values.mean(axis=1, keepdims=True)  # else every place of a map looks alike
    return values


def _gain(name: str) -> float:
    if PYRAMID.search(name) and not SURELY_BOTTOM_UP.search(name):
        return 1.0
    return 4.0 if BOTTOM_UP.search(name) else 2.0


def _noise(uniform: np.ndarray, deviation: float) -> np.ndarray:
    """Uniform noise of a standard deviation."""
    return (uniform * 2 - 1) * (math.sqrt(3) * deviation)
