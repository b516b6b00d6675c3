"""Reads every hostile config under limits of memory and of time, and prints a line of JSON for each:

    [name, "result" or the error, whether the error is ours, seconds of this process, MB that the peak of memory grew]

A child of its own: what hangs or takes all memory ends this process, and no other.
"""

import json
import resource
import tempfile
import time
from pathlib import Path

from boxwright.errors import ConfigError
from boxwright.interop.config import read_config_report
from tests.interop.texts.hostile_data import JSON_FILES, YAML_FILES
from tests.interop.texts.hostile_files import PYTHON_FILES
from tests.interop.texts.hostile_operations import OPERATIONS

CASES = {
    f"{kind}: {name}": text
    for kind, table in {"op": OPERATIONS, "py": PYTHON_FILES, "json": JSON_FILES, "yaml": YAML_FILES}.items()
    for name, text in table.items()
}
MEMORY = 400 * 2**20  # bytes over those that importing took
TIME = 150  # seconds, for all


def main() -> None:
    read_config_report("mask_rcnn_r50_fpn")  # imports and caches are no part of a case
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (TIME, TIME))
    first = _peak()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config"
        for name, text in CASES.items():
            path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
            start = time.process_time()
            outcome, is_ours = _read(path)
            print(json.dumps([name, outcome[:200], is_ours, time.process_time() - start, _peak() - first]), flush=True)


def _read(path: Path) -> tuple[str, bool]:
    try:
        read_config_report(path)
    except ConfigError as error:
        return str(error), True
    except Exception as error:  # what the test is there to find
        return repr(error), False
    return "result", True


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
