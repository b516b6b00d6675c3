"""Times whole models beside torchvision's or Detectron2's: one process, in turns, equal weights and inputs.

    python -m benchmarks.models                       # a table; appends to benchmarks/models.csv
    python -m benchmarks.models --only "Mask R-CNN R50"
    python -m benchmarks.models --memory              # peak memory of training, each program in a process of its own
    python -m benchmarks.models --device cuda         # rows for GPUs, with memory; appends to benchmarks/models_gpu.csv
    python -m benchmarks.models --device cuda --limit 500

Detection goes from pictures in memory to masks and keypoints in the frame of the picture; the peers give bitmaps of
full size, ours run lengths. A step of training has losses, gradients and SGD. The peers run in fp32. There
99.9 % of their detections must be found in ours, within 0.01 pixels, or the row fails; "equal" is the share within
0.001. The floor is the time that our model's convolutions and matrix products alone take at the best rate of a
convolution on this machine; for int8 that of bf16. A row is written as soon as it is measured, and one that fails says
why: the others go on, and the exit code is 1.

On a GPU the peers get tensors that are there already, and ours still gets pictures in the host's memory: `network_s` is
ours from a prepared batch on the device on, `recorded_s` the same from a recording. Beside bf16 `peer_same_s` and
`peer_same_mb` are the peer's under autocast.
All of PyTorch's settings are as they are by default; only equality is looked for without TF32. Memory is the most that
tensors hold during a step of training.
"""

import argparse
import copy
import gc
import math
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

import boxwright as bw
from benchmarks.device import CPU, device_of, exact_products, held_megabytes, peak_megabytes, title_of
from benchmarks.peers import PEERS, Torchvision, make, share_equal
from benchmarks.rows import Row, rows_for
from benchmarks.table import append_rows, measure_rows
from boxwright.engine.speed import (
    best_rate,
    count_operations,
    make_pictures,
    make_targets,
    seconds_of,
    step_of,
    training_step,
)

HERE = Path(__file__).parent
EQUAL, NEAR = 1e-3, 1e-2  # pixels
ENOUGH = 0.999
VERSIONS = {"boxwright": bw.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__}
FIELDS = (
    "date", "machine", "threads", "versions", "model", "task", "precision", "batch", "size",
    "ours_s", "peer", "peer_s", "ratio", "gigaflop", "floor_s", "times_floor", "equal",
)  # fmt: skip
GPU_FIELDS = (
    "date", "machine", "device", "threads", "versions", "model", "task", "precision", "batch", "size",
    "ours_s", "network_s", "recorded_s", "peer", "peer_s", "ratio", "peer_same_s", "ratio_same", "gigaflop", "floor_s",
    "times_floor", "equal", "ours_mb", "peer_mb", "memory_ratio", "peer_same_mb", "memory_ratio_same",
)  # fmt: skip

Call = Callable[[], Any]


@dataclass(frozen=True)
class Sides:
    """What is timed in one row, by the columns of the table, and what was found out on the way."""

    calls: dict[str, Call]
    operations: float
    equal: float | None = None
    megabytes: dict[str, float | None] = field(default_factory=dict)


def main() -> int:
    arguments = parse()
    device = device_of(arguments.device)
    torch.set_num_threads(arguments.threads)
    chosen = rows_for(device.type, arguments.only)
    if arguments.one_side:
        one_side(chosen[0], arguments.one_side)
        return 0
    if arguments.memory:
        for row in chosen:
            print_memory(row)
        return 0
    return 0 if run(chosen, device, arguments) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only rows whose name holds this")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, help="turns, of which medians are taken (default: 5, on a GPU 20)")
    parser.add_argument("--threads", type=int, help="default: 2, on a GPU as many as PyTorch takes")
    parser.add_argument("--csv", type=Path, help="append rows to this file (default: models.csv or models_gpu.csv)")
    parser.add_argument("--limit", type=float, default=math.inf, help="begin no row when so many seconds are over")
    parser.add_argument("--memory", action="store_true", help="measure peak memory in place of time, on the CPU")
    parser.add_argument("--one-side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    is_cpu = arguments.device == "cpu"
    if arguments.memory and not is_cpu:
        parser.error("--memory is for the CPU; on a GPU the memory of training is in the table")
    arguments.rounds = arguments.rounds or (5 if is_cpu else 20)
    arguments.threads = arguments.threads or (2 if is_cpu else torch.get_num_threads())
    arguments.csv = arguments.csv or HERE / ("models.csv" if is_cpu else "models_gpu.csv")
    return arguments


# --- time


def run(rows: Sequence[Row], device: torch.device, arguments: argparse.Namespace) -> bool:
    fields = FIELDS if device.type == "cpu" else GPU_FIELDS
    rates = {"fp32": best_rate(device, torch.float32), "bf16": best_rate(device, torch.bfloat16)}
    rates["int8"] = rates["bf16"]
    print(", ".join(f"{precision}: {rate / 1e9:.0f} GFLOP/s at best" for precision, rate in rates.items()), flush=True)

    def keep(row: Mapping[str, Any]) -> None:
        append_rows([row], arguments.csv, fields, threads=arguments.threads, versions=VERSIONS)

    def measure_row(row: Row) -> dict[str, Any]:
        return measure(row, device, fields=fields, rounds=arguments.rounds, rate=rates[row.precision])

    return measure_rows(rows, measure_row, keep, limit=arguments.limit)


def measure(row: Row, device: torch.device, *, fields: Sequence[str], rounds: int, rate: float) -> dict[str, Any]:
    """The row's part of `fields`."""
    gc.collect()  # the models of the row before, which may have failed for want of memory
    sides = (training if row.task == "training" else detection)(row, device, fields)
    seconds = in_turns(sides.calls, rounds if row.task == "detection" else max(rounds // 2, 2), device)
    found = figures(sides, seconds, rate) | {"peer": PEERS[row.model].program}
    found = {name: found[name] for name in fields if found.get(name) is not None}
    print(f"{row.name:58}" + "  ".join(f"{name} {value}" for name, value in found.items()), flush=True)
    size = "x".join(map(str, PEERS[row.model].size))
    what = {"model": row.model, "task": row.task, "precision": row.precision, "batch": row.batch, "size": size}
    return what | found | ({"device": title_of(device)} if "device" in fields else {})


def figures(sides: Sides, seconds: Mapping[str, float], rate: float) -> dict[str, Any]:
    floor, megabytes = sides.operations / rate, sides.megabytes
    found = times_and_ratios(seconds) | {"equal": sides.equal} | megabytes
    found |= {"gigaflop": round(sides.operations / 1e9, 1), "floor_s": short(floor)}
    found["times_floor"] = round(seconds["ours_s"] / floor, 2)
    for ratio, peer in (("memory_ratio", "peer_mb"), ("memory_ratio_same", "peer_same_mb")):
        if megabytes.get(peer):
            found[ratio] = round(megabytes["ours_mb"] / megabytes[peer], 2)
    return found


def times_and_ratios(seconds: Mapping[str, float]) -> dict[str, Any]:
    found: dict[str, Any] = {name: short(value) for name, value in seconds.items()}
    for ratio, peer in (("ratio", "peer_s"), ("ratio_same", "peer_same_s")):
        if peer in seconds:
            found[ratio] = round(seconds[peer] / seconds["ours_s"], 2)
    return found


def short(seconds: float) -> float:
    """Four digits: a GPU's times are thousandths."""
    return float(f"{seconds:.4g}")


def in_turns(calls: Mapping[str, Call], rounds: int, device: torch.device) -> dict[str, float]:
    """Medians in seconds, after a turn that warms up."""
    turns = [[seconds_of(call, device) for call in calls.values()] for _ in range(rounds + 1)][1:]
    return {name: statistics.median(times) for name, times in zip(calls, zip(*turns, strict=True), strict=True)}


# --- detection


def detection(row: Row, device: torch.device, fields: Sequence[str]) -> Sides:
    theirs, detector = both(row, device)
    peer, pictures = PEERS[row.model], make_pictures(PEERS[row.model].size, row.batch)
    ours = partial(detector, pictures)
    detect = peer_detection(theirs, peer.images(pictures, device=device), device)
    with exact_products():
        found, others = ours(), peer.results(detect())
    equal, near = (share_equal(found, others, tolerance=tolerance) for tolerance in (EQUAL, NEAR))
    if row.precision == "fp32" and near < ENOUGH:
        raise AssertionError(f"only {near:.2%} of the detections are equal")
    calls: dict[str, Call] = {"ours_s": ours, "peer_s": detect}
    if "network_s" in fields:
        batch = detector.batch([detector.prepare(picture) for picture in pictures])
        calls["network_s"] = partial(detector.detect, batch)
        if device.type == "cuda":
            recording = copy.copy(detector)
            recording.record()
            calls["recorded_s"] = partial(recording.detect, batch)
    if "peer_same_s" in fields and row.precision == "bf16":
        calls["peer_same_s"] = partial(detect, in_bf16=True)
    return Sides(calls, count_operations(ours), round(equal, 4))


def both(row: Row, device: torch.device) -> tuple[nn.Module, bw.Detector]:
    theirs, detector = make(PEERS[row.model], "fp32" if row.precision == "int8" else row.precision, device)
    if row.precision == "int8":
        detector.quantise(make_pictures(PEERS[row.model].size, 1))
    return theirs, detector


def peer_detection(model: nn.Module, images: Sequence[Any], device: torch.device) -> Callable[..., Any]:
    model.eval()

    @torch.inference_mode()
    def detect(*, in_bf16: bool = False) -> Any:
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bf16):
            return model(*images)

    return detect


# --- training


def training(row: Row, device: torch.device, fields: Sequence[str]) -> Sides:
    """Each side comes to the device on its own, so that what it holds there can be told apart."""
    theirs, detector = both(row, CPU)
    held = held_megabytes(device)
    ours = our_step(detector.to(device), row)
    megabytes = {"ours_mb": peak_megabytes(ours, device, held_before=held)}
    held = held_megabytes(device)
    other = peer_step(theirs.to(device), detector, row, device)
    megabytes["peer_mb"] = peak_megabytes(other, device, held_before=held)
    calls: dict[str, Call] = {"ours_s": ours, "peer_s": other}
    if "peer_same_s" in fields and row.precision == "bf16":
        calls["peer_same_s"] = partial(other, in_bf16=True)
        megabytes["peer_same_mb"] = peak_megabytes(calls["peer_same_s"], device, held_before=held)
    if "network_s" in fields:
        calls["network_s"] = our_network_step(detector, row)
    return Sides(calls, count_operations(ours), megabytes=megabytes)


def our_step(detector: bw.Detector, row: Row) -> Callable[[], float]:
    size = PEERS[row.model].size
    return training_step(detector, make_pictures(size, row.batch), make_targets(detector, size, row.batch))


def our_network_step(detector: bw.Detector, row: Row) -> Callable[[], float]:
    """As `our_step`, from a batch that a loader's workers would have prepared. After a call of `our_step`, which brings
    the model into training."""
    size = PEERS[row.model].size
    batch = detector.training_batch(make_pictures(size, row.batch), make_targets(detector, size, row.batch))
    seeds = torch.arange(row.batch)

    def losses() -> Mapping[str, Tensor]:
        with detector.autocast():
            return detector.model.losses(batch, seeds=seeds)

    return step_of(losses, detector.model)


def peer_step(model: nn.Module, detector: bw.Detector, row: Row, device: torch.device) -> Callable[..., float]:
    peer = PEERS[row.model]
    assert isinstance(peer, Torchvision)
    targets = make_targets(detector, peer.size, row.batch)
    images = peer.images(make_pictures(peer.size, row.batch), targets, device=device)
    model.train()

    def losses(*, in_bf16: bool = False) -> Mapping[str, Tensor]:
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bf16):
            return model(*images)

    return step_of(losses, model)


# --- memory of processes


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


def one_call(row: Row, side: str) -> Call:
    theirs, detector = both(row, CPU)
    if row.task == "training":
        return our_step(detector, row) if side == "ours" else peer_step(theirs, detector, row, CPU)
    peer, pictures = PEERS[row.model], make_pictures(PEERS[row.model].size, row.batch)
    if side == "ours":
        return partial(detector, pictures)
    return peer_detection(theirs, peer.images(pictures, device=CPU), CPU)


if __name__ == "__main__":
    sys.exit(main())
