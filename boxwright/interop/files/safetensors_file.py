"""safetensors files: the length of a header, the header as JSON, plain numbers. Nothing in them can run.

Ours hold two entries of metadata: the config as YAML and the class names as JSON. Equal content gives equal bytes.
"""

import json
import math
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boxwright.errors import WeightsError
from boxwright.files import atomic_write
from boxwright.interop.files.byte_source import Budget, Source
from boxwright.interop.files.pickle_values import sizes
from boxwright.interop.files.torch_file import swap_bytes

CONFIG, CLASS_NAMES = "boxwright.config", "boxwright.class_names"
_METADATA = "__metadata__"
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


def read_safetensors(source: Source, budget: Budget) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors by name, and the metadata: our own as "config" (text) and "class_names" (list), the rest as it is.

    Everything is read into memory: a window on a file that somebody cuts short would end the process.
    """
    header = _header(source)
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise source.damaged("the metadata in its header are no texts")
    claims = sorted((_claim(name, entry, source) for name, entry in header.items()), key=lambda claim: claim[:2])
    start, tensors = source.position, {}
    for begin, end, name, dtype, shape in claims:
        if source.position != start + begin:
            raise source.damaged(f"the numbers of {name!r} do not begin where those before them end")
        budget.take(1_024 + end - begin, f"the tensor {name!r}")
        tensors[name] = _tensor(source, end - begin, dtype, shape)
    if source.left:
        raise source.damaged(f"its header tells nothing of the last {source.left:,} bytes")
    return {name: tensors[name] for name in header}, _our_metadata(metadata, source)


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], *, config: str, class_names: Sequence[str]
) -> None:
    """Our own file of weights: complete with the config (YAML) and the class names, so that it needs nothing beside it.

    Tensors that share memory are written once each.
    """
    metadata = {CLASS_NAMES: json.dumps(list(class_names)), CONFIG: config, "format": "pt"}
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))  # wide ones first: aligned
    header: dict[str, Any] = {_METADATA: metadata}
    end = 0
    for name, tensor in ordered:
        if tensor.dtype not in _CODES:
            raise WeightsError(f"{path}: {name!r} is of {tensor.dtype}, which safetensors files cannot hold")
        start, end = end, end + tensor.numel() * tensor.dtype.itemsize
        header[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    with atomic_write(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, tensor in ordered:
            file.write(_little_bytes(tensor).numpy().data)


def separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers, each tensor contiguous, on the CPU and alone in its memory."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().to("cpu").contiguous()
        memory = plain.untyped_storage()
        if memory.data_ptr() in seen or memory.nbytes() != plain.nbytes:
            plain = plain.clone()
        seen.add(plain.untyped_storage().data_ptr())
        result[name] = plain
    return result


def _little_bytes(tensor: Tensor) -> Tensor:
    """The numbers as (B,) uint8, in the byte order of files."""
    memory = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
    if sys.byteorder != "little":
        memory = memory.clone()
        swap_bytes(memory, tensor.dtype)
    return memory


def _header(source: Source) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", source.take(8))
    text = source.take(length)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise source.damaged(f"its header is not the JSON of safetensors ({error})") from None
    if not isinstance(header, dict):
        raise source.damaged("its header holds no names")
    return header


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a name stands twice")
    return content


def _claim(name: str, entry: Any, source: Source) -> tuple[int, int, str, torch.dtype, tuple[int, ...]]:
    """What the header says of a tensor: where its bytes begin and end behind the header, name, type, shape."""
    match entry:
        case {"dtype": str() as code, "shape": list() as sides, "data_offsets": [int() as begin, int() as end]}:
            dtype, shape = _DTYPES.get(code), sizes(sides)
            if dtype is None:
                raise source.damaged(f"{name!r} has the element type {code!r}, which weights do not have")
            if shape is not None and begin >= 0 and end - begin == math.prod(shape) * dtype.itemsize:
                return begin, end, name, dtype, shape
    raise source.damaged(f"what its header says of {name!r} does not agree with itself")


def _tensor(source: Source, nbytes: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    memory = torch.empty(nbytes, dtype=torch.uint8)
    source.read_into(memory.numpy().data)
    if sys.byteorder != "little":
        swap_bytes(memory, dtype)
    try:
        return memory.view(dtype).reshape(shape) if nbytes else torch.empty(shape, dtype=dtype)
    except RuntimeError:  # a zero beside sizes that no machine can count
        raise source.damaged(f"no tensor can have the shape {shape}") from None


def _our_metadata(metadata: dict[str, str], source: Source) -> dict[str, Any]:
    result: dict[str, Any] = dict(metadata)
    if CONFIG in result:
        result["config"] = result.pop(CONFIG)
    if CLASS_NAMES in result:
        try:
            names = json.loads(result.pop(CLASS_NAMES))
        except (ValueError, RecursionError):
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise source.damaged("the class names in its metadata are no list of texts")
        result["class_names"] = names
    return result
