"""JSON files of annotations: read with errors that name the file, written whole or not at all."""

import gc
import json
import math
from pathlib import Path
from typing import Any

from boxwright.errors import DatasetError
from boxwright.files import atomic_write


def read_json_object(path: Path, *, what: str) -> dict[str, Any]:
    """The object at the top of a file; `what` says in the error what was expected there."""
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    was_collecting = gc.isenabled()
    gc.disable()  # millions of new lists hold no cycles, and the collector would walk them again and again
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON: {error}") from error
    finally:
        if was_collecting:
            gc.enable()
    if not isinstance(content, dict):
        raise DatasetError(f"{path} holds a {type(content).__name__}; expected {what}")
    return content


def write_json(path: Path, content: Any) -> None:
    """Numbers that are not finite, which JSON has no word for, become null."""
    try:
        text = _compact(content)
    except ValueError:
        text = _compact(_with_null(content))
    with atomic_write(path, "w") as file:
        file.write(text)


def _compact(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def _with_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_null(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_null(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
