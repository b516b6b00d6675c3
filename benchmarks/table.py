"""The rows of a benchmark as CSV: beside the figures the machine, the versions and the date."""

import csv
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


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
