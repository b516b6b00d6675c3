"""The rows of a benchmark: measured one after the other, kept as CSV with the machine, the versions and the date."""

import csv
import math
import os
import platform
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar


class Named(Protocol):
    @property
    def name(self) -> str: ...


R = TypeVar("R", bound=Named)


class LeftOutError(Exception):
    """A row cannot be measured here, and it is nobody's fault."""


def measure_rows(
    rows: Sequence[R],
    measure: Callable[[R], Mapping[str, Any]],
    keep: Callable[[Mapping[str, Any]], None],
    *,
    limit: float = math.inf,
) -> bool:
    """Keeps each row as soon as it is measured, and begins none once `limit` seconds are over.

    One that fails says so in a line, and the others go on; False if any did.
    """
    begin, is_whole = time.monotonic(), True
    for i, row in enumerate(rows):
        if time.monotonic() - begin >= limit:
            print(f"{limit:g} s are over; not begun: {'; '.join(left.name for left in rows[i:])}", flush=True)
            break
        try:
            figures = measure(row)
        except LeftOutError as reason:
            print(f"{row.name}: left out, {reason}", flush=True)
        except Exception as error:
            is_whole = False
            print(f"{row.name}: failed, {_in_a_line(error)}", flush=True)
        else:
            keep(figures)
    return is_whole


def _in_a_line(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message} ({Path(place.filename).name}:{place.lineno})"


def append_rows(
    rows: Sequence[Mapping[str, Any]], path: Path, fields: Sequence[str], *, threads: int, versions: Mapping[str, str]
) -> None:
    """With a line of `fields` where the file is new."""
    common = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "threads": threads,
        "versions": " ".join(f"{name} {version}" for name, version in versions.items()),
    }
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fields)
        if is_new:
            writer.writeheader()
        writer.writerows({**common, **row} for row in rows)


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
