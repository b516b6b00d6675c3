"""safetensors files: a header of JSON and plain numbers. Nothing in them can run.

The library of that name reads and writes the format; this file turns its errors into ours and keeps our two metadata
entries: the config as YAML and the class names as JSON.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from boxwright.errors import WeightsError
from boxwright.files import atomic_write

CONFIG, CLASS_NAMES = "boxwright.config", "boxwright.class_names"


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors by name, and the metadata: our own as "config" (text) and "class_names" (list), the rest as it is.

    The tensors are windows on the file: nothing is read before it is used. What shall outlive a change of the file is
    copied, as a model copies its weights.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise WeightsError(f"{path}: cannot be read as safetensors ({error}). Fetch or save the file again.") from error
    return tensors, _our_metadata(metadata, path)


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], *, config: str, class_names: Sequence[str]
) -> None:
    """Our own file of weights: complete with the config (YAML) and the class names, so that it needs nothing beside it.

    Tensors that share memory are written once each.
    """
    metadata = {"format": "pt", CONFIG: config, CLASS_NAMES: json.dumps(list(class_names), ensure_ascii=False)}
    content = save(separate(tensors), metadata=metadata)
    with atomic_write(path) as file:
        file.write(content)


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


def _our_metadata(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    result: dict[str, Any] = dict(metadata)
    if CONFIG in result:
        result["config"] = result.pop(CONFIG)
    if CLASS_NAMES in result:
        try:
            names = json.loads(result.pop(CLASS_NAMES))
        except (ValueError, RecursionError):
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise WeightsError(f"{path}: the class names in its metadata are no list of texts. Save the file again.")
        result["class_names"] = names
    return result
