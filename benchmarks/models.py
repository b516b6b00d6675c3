"""Times whole models beside torchvision's or Detectron2's: one process, in turns, equal weights and inputs.

    python -m benchmarks.models                       # a table; appends to benchmarks/models.csv
    python -m benchmarks.models --only "Mask R-CNN R50"
    python -m benchmarks.models --memory              # peak memory of training, each program in a process of its own

Detection goes from pictures in memory to masks and keypoints in the frame of the picture; the peers give bitmaps of
full size, ours run lengths. A step of training has losses, gradients and SGD. The peers always run in fp32. There
99.9 % of their detections must be found in ours, within 0.01 pixels, or the run fails; "equal" is the share within
0.001. The floor is the time that our model's convolutions and matrix products alone take at the best rate of a
convolution on this machine; for int8 that of bf16.
"""

import argparse
import gc
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

import boxwright as bw
from benchmarks.peers import PEERS, Peer, Torchvision, make, share_equal
from benchmarks.table import append_rows
from boxwright.data.image import RgbImage
from boxwright.engine.speed import (
    best_rate,
    count_operations,
    make_pictures,
    make_targets,
    seconds_of,
    training_step,
)

HERE = Path(__file__).parent
CPU = torch.device("cpu")
EQUAL, NEAR = 1e-3, 1e-2  # pixels
ENOUGH = 0.999


@dataclass(frozen=True)
class Row:
    model: str
    task: str
    precision: str = "fp32"
    batch: int = 1

    @property
    def name(self) -> str:
        return f"{self.model}, {self.task}, {self.precision}, batch {self.batch}"


ROWS = (
    Row("Faster R-CNN R50-FPN", "detection"),
    Row("Faster R-CNN R50-FPN", "detection", "bf16"),
    Row("Faster R-CNN R50-FPN", "detection", "int8"),
    Row("Faster R-CNN R50-FPN", "detection", batch=8),
    Row("Mask R-CNN R50-FPN", "detection"),
    Row("Mask R-CNN R50-FPN", "detection", "bf16"),
    Row("Keypoint R-CNN R50-FPN", "detection"),
    Row("Faster R-CNN MobileNetV3-FPN", "detection"),
    Row("Faster R-CNN R50-C4", "detection"),
    Row("Faster R-CNN R50-DC5", "detection"),
    Row("Cascade Mask R-CNN R50-FPN", "detection"),
    Row("Mask R-CNN R18-FPN GN", "detection"),
    Row("Mask R-CNN R18-FPN GN", "detection", "bf16"),
    Row("Mask R-CNN R50-FPN", "training", batch=2),
    Row("Mask R-CNN R50-FPN", "training", "bf16", batch=2),
    Row("Mask R-CNN R18-FPN GN", "training", batch=2),
    Row("Mask R-CNN R18-FPN GN", "training", "bf16", batch=2),
)
VERSIONS = {"boxwright": bw.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__}
FIELDS = (
    "date", "machine", "threads", "versions", "model", "task", "precision", "batch", "size",
    "ours_s", "peer", "peer_s", "ratio", "gigaflop", "floor_s", "times_floor", "equal",
)  # fmt: skip


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    chosen = [row for row in ROWS if arguments.only in row.name]
    if arguments.one_side:
        one_side(chosen[0], arguments.one_side)
    elif arguments.memory:
        for row in chosen:
            print_memory(row)
    else:
        rows = list(measured(chosen, arguments.rounds))
        append_rows(rows, arguments.csv, FIELDS, threads=arguments.threads, versions=VERSIONS)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only rows whose name holds this")
    parser.add_argument(
        "--rounds", type=int, default=5, help="turns, of which medians are taken (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv", type=Path, default=HERE / "models.csv", help="append rows to this file")
    parser.add_argument("--memory", action="store_true", help="measure peak memory in place of time")
    parser.add_argument("--one-side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    return parser.parse_args()


# --- time


def measured(rows: Sequence[Row], rounds: int) -> Iterator[dict[str, Any]]:
    rates = {"fp32": best_rate(CPU, torch.float32), "bf16": best_rate(CPU, torch.bfloat16)}
    rates["int8"] = rates["bf16"]
    print(", ".join(f"{precision}: {rate / 1e9:.0f} GFLOP/s at best" for precision, rate in rates.items()))
    for row in rows:
        ours, theirs, operations, equal = sides(row)
        mine, others = in_turns(ours, theirs, rounds if row.task == "detection" else max(rounds // 2, 2))
        floor = operations / rates[row.precision]
        figures = {
            "ours_s": round(mine, 3),
            "peer": PEERS[row.model].program,
            "peer_s": round(others, 3),
            "ratio": round(others / mine, 2),
            "gigaflop": round(operations / 1e9, 1),
            "floor_s": round(floor, 3),
            "times_floor": round(mine / floor, 2),
            "equal": equal,
        }
        print(f"{row.name:58}" + "  ".join(f"{name} {value}" for name, value in figures.items()), flush=True)
        size = "x".join(map(str, PEERS[row.model].size))
        yield {
            "model": row.model,
            "task": row.task,
            "precision": row.precision,
            "batch": row.batch,
            "size": size,
        } | figures


def sides(row: Row) -> tuple[Callable[[], Any], Callable[[], Any], float, float | None]:
    """Ours and torchvision's, the operations of ours, and the share of equal detections."""
    theirs, detector = both(row)
    pictures = make_pictures(PEERS[row.model].size, row.batch)
    if row.task == "training":
        ours = training_step(detector, pictures, make_targets(detector, PEERS[row.model].size, row.batch))
        return ours, peer_step(theirs, detector, row), count_operations(ours), None
    detect = peer_detection(theirs, PEERS[row.model], pictures)
    others = PEERS[row.model].results(detect())
    mine = detector(pictures)
    equal, near = (share_equal(mine, others, tolerance=tolerance) for tolerance in (EQUAL, NEAR))
    if row.precision == "fp32" and near < ENOUGH:
        raise SystemExit(f"{row.name}: only {near:.2%} of the detections are equal")
    return lambda: detector(pictures), detect, count_operations(lambda: detector(pictures)), round(equal, 4)


def both(row: Row) -> tuple[nn.Module, bw.Detector]:
    theirs, detector = make(PEERS[row.model], "fp32" if row.precision == "int8" else row.precision)
    if row.precision == "int8":
        detector.quantise(make_pictures(PEERS[row.model].size, 1))
    return theirs, detector


def peer_detection(model: nn.Module, peer: Peer, pictures: Sequence[RgbImage]) -> Callable[[], Any]:
    images = peer.images(pictures)
    model.eval()
    return torch.inference_mode()(lambda: model(*images))


def peer_step(model: nn.Module, detector: bw.Detector, row: Row) -> Callable[[], float]:
    peer = PEERS[row.model]
    assert isinstance(peer, Torchvision)
    images = peer.images(make_pictures(peer.size, row.batch), make_targets(detector, peer.size, row.batch))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-6, momentum=0.9)
    model.train()

    def step() -> float:
        total = torch.stack(list(model(*images).values())).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        return total.item()

    return step


def in_turns(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Medians in seconds, after a turn that warms up."""
    times = [(seconds_of(ours, CPU), seconds_of(theirs, CPU)) for _ in range(rounds + 1)][1:]
    mine, others = zip(*times, strict=True)
    return statistics.median(mine), statistics.median(others)


# --- memory


def print_memory(row: Row) -> None:
    peaks = {side: peak_of(row, side) for side in ("ours", "peer")}
    megabytes = ", ".join(f"{side} {peak:.0f} MB" for side, peak in peaks.items())
    print(f"{row.name}: {megabytes}, {peaks['ours'] / peaks['peer']:.2f} of the peer's", flush=True)


def peak_of(row: Row, side: str) -> float:
    command = [sys.executable, "-m", "benchmarks.models", "--only", row.name, "--one-side", side]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE.parent).stdout)


def one_side(row: Row, side: str) -> None:
    """Runs one program three times, without the other's model, and prints the most MB that the process held."""
    call = one_call(row, side)
    gc.collect()
    for _ in range(3):
        call()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def one_call(row: Row, side: str) -> Callable[[], Any]:
    theirs, detector = both(row)
    pictures = make_pictures(PEERS[row.model].size, row.batch)
    if row.task == "training" and side == "ours":
        return training_step(detector, pictures, make_targets(detector, PEERS[row.model].size, row.batch))
    if row.task == "training":
        return peer_step(theirs, detector, row)
    return (lambda: detector(pictures)) if side == "ours" else peer_detection(theirs, PEERS[row.model], pictures)


if __name__ == "__main__":
    main()
