"""How the time of a detection grows with the image, the batch, the proposals and the classes, beside torchvision's.

    python -m benchmarks.sweeps        # a table and a picture; appends to benchmarks/sweeps.csv

Faster R-CNN R50-FPN in fp32, one process, in turns, medians, equal weights and inputs; as in benchmarks/models.py the
run fails where the detections differ. `steepness` is the exponent with which ours grows from the point before: 1 means
in proportion.
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from torchvision.models.detection.faster_rcnn import FasterRCNN

from benchmarks.models import ENOUGH, HERE, NEAR, VERSIONS, in_turns, peer_detection
from benchmarks.peers import PEERS, Torchvision, frozen_resnet50_fpn, make, share_equal
from benchmarks.table import append_rows
from boxwright.engine.speed import make_pictures

SIDES = {"ours_s": "Boxwright", "peer_s": "torchvision"}
FIELDS = ("date", "machine", "threads", "versions", "swept", "value", *SIDES, "ratio", "steepness")


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


SWEEPS = {
    "side": [Point(side=side) for side in (224, 320, 480, 800, 1120)],
    "batch": [Point(batch=batch) for batch in (1, 2, 4, 8, 16)],
    "proposals": [Point(proposals=proposals) for proposals in (100, 300, 1000, 2000, 4000)],
    "classes": [Point(classes=classes) for classes in (1, 20, 90, 365, 1203)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns, of which medians are taken")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--csv", type=Path, default=HERE / "sweeps.csv", help="append rows to this file")
    parser.add_argument("--picture", type=Path, default=HERE / "sweeps.png")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = {}
    for name in arguments.only:
        found[name] = list(sweep(name, arguments.rounds))
        append_rows(found[name], arguments.csv, FIELDS, threads=arguments.threads, versions=VERSIONS)
    draw(found, arguments.picture)


def sweep(name: str, rounds: int) -> Iterator[dict[str, Any]]:
    before: tuple[int, float] | None = None
    for point in SWEEPS[name]:
        value = getattr(point, name)
        ours, theirs = measure(point, rounds)
        row: dict[str, Any] = {"swept": name, "value": value, "ours_s": round(ours, 4), "peer_s": round(theirs, 4)}
        row["ratio"] = round(theirs / ours, 2)
        if before is not None:
            row["steepness"] = round(math.log(ours / before[1]) / math.log(value / before[0]), 2)
        before = value, ours
        print("  ".join(f"{field} {figure}" for field, figure in row.items()), flush=True)
        yield row


def measure(point: Point, rounds: int) -> tuple[float, float]:
    """Median seconds of both, once their detections were found to be equal."""
    peer = point.peer()
    theirs, detector = make(peer, "fp32")
    pictures = make_pictures(peer.size, point.batch)
    detect = peer_detection(theirs, peer, pictures)
    equal = share_equal(detector(pictures, batch_size=point.batch), peer.results(detect()), tolerance=NEAR)
    if equal < ENOUGH:
        raise SystemExit(f"{point}: only {equal:.2%} of the detections are equal")
    return in_turns(lambda: detector(pictures, batch_size=point.batch), detect, rounds)


def draw(found: Mapping[str, Sequence[dict[str, Any]]], path: Path) -> None:
    """Seconds over the swept number, both on logarithmic axes: a straight line of slope 1 is cost in proportion."""
    figure, axes = plt.subplots(1, len(found), figsize=(3.2 * len(found), 3.2), sharey=True, layout="constrained")
    for axis, (name, rows) in zip(np.atleast_1d(axes), found.items(), strict=True):
        for field, label in SIDES.items():
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
    main()
