"""Opens the JSON files of an evaluation."""

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boxwright.errors import DatasetError


def read_json(path: str | Path, *, what: str) -> Any:
    """The content of a file; `what` says in the error what was looked for."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot read the {what}: {error.strerror or error}") from error
    try:
        with collector_paused():
            return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: the {what} are not JSON: {error}") from error


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
