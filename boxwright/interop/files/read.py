"""Any checkpoint of any source as plain data: tensors, arrays, numbers, texts, lists and dicts.

Opening a file runs nothing of it, costs no more than the file warrants, and fails only with WeightsError or
UnsafeFileError, which name the file.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from boxwright.errors import BoxwrightError, WeightsError
from boxwright.interop.files.byte_source import Budget, Source
from boxwright.interop.files.pickle import read_pickle
from boxwright.interop.files.safetensors_file import read_safetensors
from boxwright.interop.files.sniff import Container, open_file, sniff_open
from boxwright.interop.files.torch_file import read_legacy, read_nested, read_zip
from boxwright.interop.files.torch_tar import read_tar


@dataclass(frozen=True)
class Contents:
    """What a file of weights holds.

    kind: how its numbers are kept: "torch" gives torch tensors, "pickle" numpy arrays, "safetensors" torch tensors by
    name. size: bytes of the file. data: the content, nested as it was saved; objects of other libraries became
    `Opaque`. metadata: of safetensors its entries, ours as "config" (YAML) and "class_names" (a list).
    """

    kind: Literal["torch", "pickle", "safetensors"]
    size: int
    data: Any
    metadata: dict[str, Any] = field(default_factory=dict)


def read_file(path: str | Path) -> Contents:
    """Reads a checkpoint, whatever its name: torch (zip, legacy, tar), pickle of any protocol, safetensors."""
    with open_file(path) as (file, size):
        try:
            container = sniff_open(file, name=str(path), size=size)
            return _read(container, file, name=str(path), size=size)
        except BoxwrightError:
            raise
        except Exception as error:  # what a hostile file provokes in numpy, torch or zlib becomes our error here
            reason = f"{type(error).__name__}: {error}"[:200]
            raise WeightsError(f"{path}: damaged, it cannot be read ({reason}). Fetch or save it again.") from error


def _read(container: Container, file: BinaryIO, *, name: str, size: int) -> Contents:
    match container:
        case "torch-zip":
            return Contents(kind="torch", size=size, data=read_zip(file, name=name, size=size))
        case "torch-legacy":
            return Contents(kind="torch", size=size, data=read_legacy(file, name=name, size=size))
        case "torch-tar":
            return Contents(kind="torch", size=size, data=read_tar(file, name=name, size=size))
    source, budget = Source(file, name=name, end=size), Budget(name=name, file_size=size)
    if container == "safetensors":
        tensors, metadata = read_safetensors(source, budget)
        return Contents(kind="safetensors", size=size, data=tensors, metadata=metadata)
    return Contents(kind="pickle", size=size, data=read_pickle(source, budget, read_nested=read_nested))
