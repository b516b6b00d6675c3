"""How the time of a detection grows with the image, the batch, the proposals and the classes, beside torchvision's.

    python -m benchmarks.sweeps        # a table and a picture; appends to benchmarks/sweeps.csv
    python -m benchmarks.sweeps --device cuda --precision bf16      # sweeps_gpu.csv, sweeps_gpu.png

Faster R-CNN R50-FPN, one process, in turns, medians, equal weights and inputs; as in benchmarks/models.py a point fails
where the detections differ in fp32, and the others go on. `steepness` is the exponent with which ours grows from the
point before: 1 means in proportion. The peer runs in fp32; beside bf16 `peer_same_s` is the peer under autocast.
"""

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from torchvision.models.detection.faster_rcnn import FasterRCNN

from benchmarks.device import device_of, exact_products, title_of
from benchmarks.models import ENOUGH, HERE, NEAR, VERSIONS, in_turns, peer_detection, times_and_ratios
from benchmarks.peers import PEERS, Torchvision, frozen_resnet50_fpn, make, share_equal
from benchmarks.table import append_rows, measure_rows
from boxwright.engine.speed import make_pictures

SIDES = {"ours_s": "Boxwright", "peer_s": "torchvision", "peer_same_s": "torchvision, autocast"}
FIELDS = ("date", "machine", "threads", "versions", "swept", "value", "ours_s", "peer_s", "ratio", "steepness")
GPU_FIELDS = (
    "date", "machine", "device", "threads", "versions", "precision", "swept", "value",
    "ours_s", "peer_s", "ratio", "peer_same_s", "ratio_same", "steepness",
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One model and its input; the sweeps vary one number of it."""

    side: int = 480
    batch: int = 1
    proposals: int = 1000
    classes: int = 90

    @property
    def size(self) -> tuple[int, int]:
        return self.side, self.side * 3 // 2

    def peer(self) -> Torchvision:
        """torchvision's model of this point, and ours."""
        limits = {"rpn_pre_nms_top_n_test": self.proposals, "rpn_post_nms_top_n_test": self.proposals}
        sizes = {"min_size": self.side, "max_size": self.size[1]}
        peer = PEERS["Faster R-CNN R50-FPN"]
        assert isinstance(peer, Torchvision)
        return replace(
            peer,
            build=lambda: FasterRCNN(frozen_resnet50_fpn(), self.classes + 1, **sizes, **limits),
            overrides=[
                "model.class_names=[]",
                f"model.num_classes={self.classes}",
                f"model.proposals.pre_nms_top_k.test={self.proposals}",
                f"model.proposals.post_nms_top_k.test={self.proposals}",
                f"model.input.resize.short_test={self.side}",
                f"model.input.resize.long_test={self.size[1]}",
            ],
            size=self.size,
        )


@dataclass(frozen=True)
class Swept:
    """One point of a sweep."""

    sweep: str
    point: Point

    @property
    def value(self) -> int:
        return getattr(self.point, self.sweep)

    @property
    def name(self) -> str:
        return f"{self.sweep} {self.value}"


SWEEPS = {
    "side": (224, 320, 480, 800, 1120),
    "batch": (1, 2, 4, 8, 16),
    "proposals": (100, 300, 1000, 2000, 4000),
    "classes": (1, 20, 90, 365, 1203),
}
GPU_SWEEPS = SWEEPS | {"batch": (*SWEEPS["batch"], 32, 64)}


def main() -> int:
    arguments = parse()
    device = device_of(arguments.device)
    torch.set_num_threads(arguments.threads)
    chosen = points(arguments.only, device.type)
    fields = FIELDS if device.type == "cpu" else GPU_FIELDS
    found: list[Mapping[str, Any]] = []

    def keep(row: Mapping[str, Any]) -> None:
        found.append(row)
        append_rows([row], arguments.csv, fields, threads=arguments.threads, versions=VERSIONS)

    measure_point = measure_with(device, fields=fields, rounds=arguments.rounds, precision=arguments.precision)
    is_whole = measure_rows(chosen, measure_point, keep, limit=arguments.limit)
    if found:
        draw(found, arguments.picture)
    return 0 if is_whole else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of ours, on a GPU")
    parser.add_argument("--rounds", type=int, help="turns, of which medians are taken (default: 3, on a GPU 20)")
    parser.add_argument("--threads", type=int, help="default: 2, on a GPU as many as PyTorch takes")
    parser.add_argument("--only", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--csv", type=Path, help="append rows to this file (default: sweeps.csv or sweeps_gpu.csv)")
    parser.add_argument("--picture", type=Path, help="default: sweeps.png or sweeps_gpu.png")
    parser.add_argument("--limit", type=float, default=math.inf, help="begin no point when so many seconds are over")
    arguments = parser.parse_args()
    is_cpu = arguments.device == "cpu"
    if is_cpu and arguments.precision != "fp32":
        parser.error("--precision is for GPUs: the table of the CPU is in fp32")
    stem = "sweeps" if is_cpu else "sweeps_gpu"
    arguments.rounds = arguments.rounds or (3 if is_cpu else 20)
    arguments.threads = arguments.threads or (2 if is_cpu else torch.get_num_threads())
    arguments.csv = arguments.csv or HERE / f"{stem}.csv"
    arguments.picture = arguments.picture or HERE / f"{stem}.png"
    return arguments


def points(sweeps: Sequence[str], device_type: str) -> list[Swept]:
    values = SWEEPS if device_type == "cpu" else GPU_SWEEPS
    return [Swept(name, Point(**{name: value})) for name in sweeps for value in values[name]]


def measure_with(
    device: torch.device, *, fields: Sequence[str], rounds: int, precision: str
) -> Callable[[Swept], dict[str, Any]]:
    """A function that measures one point after the other, and how steeply the time grows between two of a sweep."""
    before: dict[str, tuple[int, float]] = {}

    def measure_point(swept: Swept) -> dict[str, Any]:
        seconds = measure(swept.point, device, rounds=rounds, precision=precision)
        ours = seconds["ours_s"]
        row = {"device": title_of(device), "precision": precision, "swept": swept.sweep, "value": swept.value}
        row |= times_and_ratios(seconds)
        if swept.sweep in before:
            value, past = before[swept.sweep]
            row["steepness"] = round(math.log(ours / past) / math.log(swept.value / value), 2)
        before[swept.sweep] = swept.value, ours
        row = {name: row[name] for name in fields if name in row}
        print("  ".join(f"{field} {figure}" for field, figure in row.items()), flush=True)
        return row

    return measure_point


def measure(point: Point, device: torch.device, *, rounds: int, precision: str) -> dict[str, float]:
    """Median seconds of both, once their detections were found to be equal."""
    peer = point.peer()
    theirs, detector = make(peer, precision, device)
    pictures = make_pictures(peer.size, point.batch)
    ours = partial(detector, pictures, batch_size=point.batch)
    detect = peer_detection(theirs, peer.images(pictures, device=device), device)
    with exact_products():
        equal = share_equal(ours(), peer.results(detect()), tolerance=NEAR)
    if precision == "fp32" and equal < ENOUGH:
        raise AssertionError(f"only {equal:.2%} of the detections are equal")
    same = {} if precision == "fp32" else {"peer_same_s": partial(detect, in_bf16=True)}
    return in_turns({"ours_s": ours, "peer_s": detect} | same, rounds, device)


def draw(found: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Seconds over the swept number, both on logarithmic axes: a straight line of slope 1 is cost in proportion."""
    names = list(dict.fromkeys(row["swept"] for row in found))
    figure, axes = plt.subplots(1, len(names), figsize=(3.2 * len(names), 3.2), sharey=True, layout="constrained")
    for axis, name in zip(np.atleast_1d(axes), names, strict=True):
        rows = [row for row in found if row["swept"] == name]
        for field, label in SIDES.items():
            if field in rows[0]:
                axis.plot([row["value"] for row in rows], [row[field] for row in rows], marker="o", label=label)
        axis.set(xscale="log", yscale="log", xlabel=name)
        axis.set_xticks([row["value"] for row in rows], [str(row["value"]) for row in rows], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes = np.atleast_1d(axes)
    axes[0].set_ylabel("seconds")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
