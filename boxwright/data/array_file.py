"""One file of named arrays that many processes map into memory and share: a JSON header, then the raw numbers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.errors import DatasetError
from boxwright.files import atomic_write

MAGIC = b"boxwright arrays 1\n"
ALIGNMENT = 64
MAX_HEADER = 2**30

Arrays = dict[str, NDArray[Any]]


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], *, meta: Mapping[str, Any]) -> None:
    """Atomically. The header tells dtype, shape and place of each array, so nothing has to be guessed or unpickled."""
    table: dict[str, dict[str, Any]] = {}
    position = 0
    for name, array in arrays.items():
        position = _aligned(position)
        table[name] = {"dtype": array.dtype.str, "shape": list(array.shape), "at": position}
        position += array.nbytes
    header = json.dumps({"meta": meta, "arrays": table, "bytes": position}).encode()
    start = _aligned(len(MAGIC) + 8 + len(header))
    with atomic_write(path) as file:
        file.write(MAGIC + len(header).to_bytes(8, "little") + header)
        for name, array in arrays.items():
            file.seek(start + table[name]["at"])
            file.write(np.ascontiguousarray(array).data)
        file.truncate(start + position)


def open_arrays(path: Path) -> tuple[dict[str, Any], Arrays]:
    """-> the header's `meta` and read-only views into the mapped file. DatasetError where the file is not whole."""
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise DatasetError(f"{path} is no index of boxwright; delete it")
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, MAX_HEADER)))
        mapped = np.memmap(path, dtype=np.uint8, mode="r")
        start = _aligned(len(MAGIC) + 8 + length)
        if len(mapped) != start + header["bytes"]:
            raise DatasetError(
                f"{path} is cut off: {len(mapped)} bytes instead of {start + header['bytes']}; delete it"
            )
        arrays = {name: _view(mapped, start, entry) for name, entry in header["arrays"].items()}
    except (ValueError, KeyError, TypeError, OSError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path} cannot be read as an index ({error}); delete it") from error
    return header["meta"], arrays


def _view(mapped: NDArray[np.uint8], start: int, entry: dict[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(entry["dtype"])
    if dtype.hasobject:
        raise DatasetError("an index holds numbers only")
    count = int(np.prod(entry["shape"], dtype=np.int64))
    first = start + entry["at"]
    # A plain ndarray over the map: np.memmap's own slicing is several times slower.
    flat = np.frombuffer(mapped, dtype=dtype, count=count, offset=first) if count else np.empty(0, dtype=dtype)
    return flat.reshape(entry["shape"])


def is_mapped(array: NDArray[Any]) -> bool:
    """True for a view into a file."""
    base: Any = array
    while base is not None and not isinstance(base, np.memmap):
        base = getattr(base, "base", None)
    return base is not None


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT
