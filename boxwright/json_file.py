"""JSON files: read with errors that name the file, written whole or not at all."""

import gc
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boxwright.errors import DatasetError
from boxwright.files import MOST_OF_JSON, atomic_write, read_bytes


def read_json(path: str | Path) -> Any:
    """The content of a file; a DatasetError where it is not there, cannot be read or is not JSON."""
    text = read_bytes(path, error=DatasetError, most=MOST_OF_JSON)
    try:
        with collector_paused():
            return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON: {error}") from error


def read_json_object(path: str | Path, *, what: str) -> dict[str, Any]:
    """The object at the top of a file; `what` says in the error what was expected there."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise DatasetError(f"{path} holds a {type(content).__name__}; expected {what}")
    return content


@contextmanager
def collector_paused() -> Iterator[None]:
    """A million new lists make the cycle collector walk them all again and again; they hold no cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


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
