"""COCO results written as they come: one record a line, none of them held."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from boxwright.files import atomic_write


class ResultsWriter:
    """Takes records; the file is a JSON list when `results_file` closes it."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._separator = "[\n"

    def write(self, records: Iterable[dict[str, Any]]) -> None:
        """Records of COCO results."""
        for record in records:
            self.write_line(json.dumps(record, default=_plain))

    def write_line(self, text: str) -> None:
        """One record that is JSON already."""
        self._file.write(self._separator + text)
        self._separator = ",\n"

    def close(self) -> None:
        """Ends the list."""
        self._file.write("[]\n" if self._separator == "[\n" else "\n]\n")


@contextmanager
def results_file(path: str | Path) -> Iterator[ResultsWriter]:
    """Nothing of the file is seen before the block ends well."""
    with atomic_write(path, "w") as file:
        writer = ResultsWriter(file)
        yield writer
        writer.close()


def write_results(path: str | Path, records: Iterable[dict[str, Any]]) -> None:
    """COCO results records -> file."""
    with results_file(path) as writer:
        writer.write(records)


def join_results(path: str | Path, parts: Sequence[Path]) -> None:
    """Files written here -> one file of all their records; the parts are deleted."""
    with results_file(path) as writer:
        for part in parts:
            with part.open(encoding="utf-8") as file:
                for line in file:
                    if line.startswith("{"):
                        writer.write_line(line.rstrip(",\n"))
    for part in parts:
        part.unlink()


def _plain(value: Any) -> Any:
    """NumPy scalars and the bytes of a compressed mask, as JSON."""
    if isinstance(value, bytes):
        return value.decode("ascii")
    return value.item() if isinstance(value, np.generic) else value.tolist()
