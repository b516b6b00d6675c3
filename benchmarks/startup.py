"""Times the start: imports, loading from a file, the first detection. Every figure comes from processes of its own.

    python -m benchmarks.startup                 # a table; appends to benchmarks/startup.csv
    python -m benchmarks.startup --repeat 9

The weights are random ones in files of ours, the pictures smooth colours. Bytecode is there, as pip makes it while it
installs; "after install" means that no kernel has been compiled yet.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import torch

import boxwright as bw
from benchmarks.table import append_rows
from boxwright.engine.speed import make_pictures

HERE = Path(__file__).parent
VERSIONS = {"boxwright": bw.__version__, "torch": torch.__version__, "numba": numba.__version__}
FIELDS = ("date", "machine", "threads", "versions", "what", "seconds", "fastest", "wanted", "second_call")
MODELS = ("faster_rcnn_r50_fpn", "mask_rcnn_r50_fpn", "mask_rcnn_r18_fpn_gn")
# Random models whose maps do not explode, and which keep all that they find.
CHANGES = ("model.backbone.zero_init_residual=true", "test.score_threshold=0")
LOAD = """
import time, torch
begin = time.perf_counter()
import boxwright as bw
bw.load({given})
print(time.perf_counter() - begin)
"""
DETECT = """
import time, numpy, boxwright as bw
picture = numpy.load("{size}.npy")
detector = bw.load("mask_rcnn_{model}.safetensors", device="cpu", precision="{precision}")
found = detector(picture)
found.masks
print(time.time())
begin = time.perf_counter()
detector(picture).masks
print(time.perf_counter() - begin)
"""


@dataclass(frozen=True)
class Row:
    """`code` prints when it was done, or how long it took, and perhaps how long a second call took."""

    what: str
    code: str
    wanted: float | None = None
    prints_duration: bool = False
    compiles: bool = False


def load_row(given: str, what: str) -> Row:
    return Row(f"bw.load: {what}, torch imported before", LOAD.format(given=given), 1.0, prints_duration=True)


def detect_row(model: str, size: str, when: str, precision: str = "fp32") -> Row:
    code = DETECT.format(model=model, size=size, precision=precision)
    is_first = when == "after install"
    name = f"first detection {when}: Mask R-CNN {model}, {size}, {precision}"
    return Row(name, code, 10.0 if is_first else 2.0, compiles=is_first)


DONE = "import time; print(time.time())"
ROWS = (
    Row("python, nothing imported", DONE),
    Row("import boxwright", f"import boxwright; {DONE}", 0.15),
    Row("boxwright --help", f"from boxwright.cli.main import run; run(['--help']); {DONE}", 0.5),
    Row("import torch", f"import torch; {DONE}"),
    load_row("'faster_rcnn_r50_fpn', weights='faster_rcnn_r50_fpn.safetensors'", "preset, Faster R-CNN R50-FPN"),
    load_row("'mask_rcnn_r50_fpn.safetensors'", "our file, Mask R-CNN R50-FPN"),
    detect_row("r50_fpn", "800x1199", "after install"),
    detect_row("r50_fpn", "800x1199", "later"),
    detect_row("r50_fpn", "800x1199", "later", "bf16"),
    detect_row("r18_fpn_gn", "320x320", "after install"),
    detect_row("r18_fpn_gn", "320x320", "later"),
)


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        rows = [measure(row, folder, arguments) for row in ROWS if arguments.only in row.what]
    append_rows(rows, Path(arguments.csv), FIELDS, threads=arguments.threads, versions=VERSIONS)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only rows whose name holds this")
    parser.add_argument("--repeat", type=int, default=5, help="processes of each row (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--csv", default=str(HERE / "startup.csv"), help="append rows to this file (default: %(default)s)"
    )
    return parser.parse_args()


def prepare(folder: Path) -> None:
    torch.manual_seed(0)
    for preset in MODELS:
        bw.save(bw.load(preset, overrides=CHANGES, device="cpu"), folder / f"{preset}.safetensors")
    for height, width in ((800, 1199), (320, 320)):
        np.save(folder / f"{height}x{width}.npy", make_pictures((height, width), 1)[0])


def measure(row: Row, folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """The median over the processes; one more comes before them, so that files and kernels are where they will be."""
    start(row, folder, folder / "kernels", arguments.threads)
    times = [
        start(row, folder, folder / (f"kernels{i}" if row.compiles else "kernels"), arguments.threads)
        for i in range(arguments.repeat)
    ]
    seconds, second_call = [statistics.median(column) for column in zip(*times, strict=True)]
    fastest = min(first for first, _ in times)
    print(f"{row.what:72} {seconds:6.2f} {fastest:6.2f} {second_call:6.2f}   {row.wanted or ''}", flush=True)
    return {
        "what": row.what,
        "seconds": round(seconds, 3),
        "fastest": round(fastest, 3),
        "wanted": row.wanted,
        "second_call": round(second_call, 3) or None,
    }


def start(row: Row, folder: Path, kernels: Path, threads: int) -> tuple[float, float]:
    """Seconds of one process, from its start or as it says, and of its second call."""
    changed = {"NUMBA_CACHE_DIR": str(kernels), "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(HERE.parent)}
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | changed
    begin = time.time()
    done = subprocess.run(
        [sys.executable, "-c", row.code], cwd=folder, env=environment, stdout=subprocess.PIPE, check=True, text=True
    )
    first, *second = (float(line) for line in done.stdout.splitlines() if line.replace(".", "", 1).isdigit())
    return first if row.prints_duration else first - begin, second[0] if second else 0.0


if __name__ == "__main__":
    main()
