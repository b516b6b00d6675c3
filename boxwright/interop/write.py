"""Writing weights: our safetensors, a state dict for torch, a pickle of arrays for Detectron2. All atomic.

The pickle is written by hand and not by Python's pickle, which would name numpy's modules as the present version
calls them, so that the old numpy beside Detectron2 could not open the file.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from boxwright.errors import WeightsError
from boxwright.files import atomic_write
from boxwright.interop.files.safetensors_file import separate, write_safetensors

_WIDE = 2**32  # from this many bytes the length needs 64 bits

__all__ = ["write_pickle", "write_safetensors", "write_torch"]


def write_torch(path: str | Path, data: Mapping[str, Any]) -> None:
    """A .pth: a state dict, or a dict that holds state dicts ("model", "state_dict") beside plain values."""
    if _is_state_dict(data):
        plain: dict[str, Any] = dict(separate(data))
    else:
        plain = {key: separate(value) if _is_state_dict(value) else value for key, value in data.items()}
    with atomic_write(path) as file:
        torch.save(plain, file)


def write_pickle(path: str | Path, data: Mapping[str, Any]) -> None:
    """A .pkl as Detectron2 and Detectron (on Python 3) read it: `pickle.load(file, encoding="latin1")`.

    `data` holds dicts, lists, tuples, texts, numbers, arrays; tensors become arrays, bfloat16 ones as float32, which
    holds the same numbers.
    """
    with atomic_write(path) as file:
        file.write(b"\x80\x03")
        _write_value(file, data, place=str(path))
        file.write(b".")


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(item, Tensor) for item in value.values())


def _write_value(file: IO[bytes], value: Any, *, place: str) -> None:
    match value:
        case None | True | False:
            file.write({None: b"N", True: b"\x88", False: b"\x89"}[value])
        case int() if -(2**63) <= value < 2**63:
            file.write(b"\x8a\x08" + struct.pack("<q", value))
        case float():
            file.write(b"G" + struct.pack(">d", value))
        case str():
            if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                raise WeightsError(f"{place}: {value[:40]!r} is no Unicode text and cannot be written into a .pkl.")
            _write_text(file, value)
        case bytes():
            file.write(b"B" + struct.pack("<I", len(value)) + value)
        case np.generic():
            _write_value(file, value.item(), place=place)
        case Tensor():
            _write_array(file, _as_array(value), place=place)
        case np.ndarray():
            _write_array(file, value, place=place)
        case Mapping():
            _write_dict(file, value, place=place)
        case list() | tuple():
            file.write(b"(")
            for index, item in enumerate(value):
                _write_value(file, item, place=f"{place}[{index}]")
            file.write(b"l" if isinstance(value, list) else b"t")
        case _:
            raise WeightsError(
                f"{place}: a {type(value).__name__} cannot be written into a .pkl. "
                "Keep to arrays, tensors, numbers, texts, lists and dicts."
            )


def _write_dict(file: IO[bytes], value: Mapping[Any, Any], *, place: str) -> None:
    file.write(b"}(")
    for key, item in value.items():
        _write_value(file, key, place=f"a key of {place}")
        _write_value(file, item, place=f"{place}[{key!r}]")
    file.write(b"u")


def _write_text(file: IO[bytes], text: str) -> None:
    raw = text.encode("utf-8")
    file.write(b"X" + struct.pack("<I", len(raw)) + raw)


def _as_array(tensor: Tensor) -> npt.NDArray[Any]:
    plain = tensor.detach().cpu()
    return (plain.float() if plain.dtype is torch.bfloat16 else plain).numpy()


def _write_array(file: IO[bytes], array: npt.NDArray[Any], *, place: str) -> None:
    """As numpy.core.multiarray._reconstruct, the name that every version of numpy knows, and little-endian numbers."""
    if array.dtype.kind not in "biufc":
        raise WeightsError(f"{place}: an array of {array.dtype} cannot be written into a .pkl, only numbers can.")
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
    file.write(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR")
    file.write(b"(K\x01")
    _write_value(file, tuple(int(n) for n in array.shape), place=place)
    file.write(b"cnumpy\ndtype\n(")
    _write_text(file, little.dtype.str[1:])
    file.write(b"K\x00K\x01tR(K\x03")
    _write_text(file, "|" if little.dtype.itemsize == 1 else "<")
    file.write(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89")
    is_wide = little.nbytes >= _WIDE
    file.write((b"\x8e" if is_wide else b"B") + struct.pack("<Q" if is_wide else "<I", little.nbytes))
    file.write(little.reshape(-1).view(np.uint8).data)
    file.write(b"tb")
