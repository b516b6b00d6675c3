"""The way from files to batches beside torchvision and Detectron2, the size of the index, the memory of workers.

    python -m benchmarks.data --out benchmarks/data.csv

Needs torchvision; Detectron2's rows need its sources on PYTHONPATH. Pictures are generated, so every machine reads the
same bytes. In each round both programs run over the same pictures, one after the other, with as many workers and the
same batches, from the file to a normalised, padded batch with targets; the ratio is that of the medians. Flips are off:
the batches of both are compared, pixels to the bit and boxes to 1e-4 pixels.
"""

import argparse
import csv
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from boxwright.data import synth
from boxwright.data.annotations import Annotations
from boxwright.data.augment import Augmentation
from boxwright.data.dataset import SampleRule, TargetRule
from boxwright.data.formats.reading import read_dataset
from boxwright.data.loader import BatchRule, TrainingLoader, evaluation_loader, start_worker, training_loader
from boxwright.data.network_input import InputRule
from boxwright.geometry.masks import segment_to_bitmap
from boxwright.geometry.rings import bitmap_to_rings
from boxwright.types import Batch

Row = dict[str, Any]
Sample = tuple[np.ndarray, np.ndarray]  # the image without its padding, (3, h, w); boxes
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
MIB = 2**20
WANTED_RATIO, WANTED_SECONDS, WANTED_MB = 2.0, 3.0, 100.0


def our_batches(folder: Path, rule: InputRule, targets: TargetRule, batch: int, workers: int) -> Iterator[Batch]:
    annotations = read_dataset(folder, split="train")
    return evaluation_loader(annotations, rule=rule, batch=batch, targets=targets, workers=workers)


def our_samples(batches: Iterator[Batch]) -> Iterator[Sample]:
    for batch in batches:
        for image, (height, width), target in zip(batch.images, batch.sizes, batch.targets or (), strict=True):
            yield image[:, :height, :width].numpy(), target.boxes.numpy()


def torchvision_batches(folder: Path, batch: int, workers: int, masks: bool) -> Iterator[Any]:
    """CocoDetection, levels divided by 255 as its published weights want them, and the transform inside its models."""
    import torchvision
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    plain = torchvision.datasets.CocoDetection(
        str(folder / "images"), str(folder / "train.json"), transforms=_to_floats
    )
    keys = ["boxes", "labels", "image_id", *(["masks"] if masks else [])]
    dataset = torchvision.datasets.wrap_dataset_for_transforms_v2(plain, target_keys=keys)
    resize = GeneralizedRCNNTransform(800, 1333, list(IMAGENET["mean"]), list(IMAGENET["std"]))
    for images, targets in torch.utils.data.DataLoader(
        dataset, batch_size=batch, num_workers=workers, collate_fn=_in_columns
    ):
        yield resize(list(images), [_with_boxes(target) for target in targets])


def _to_floats(image: Any, target: Any) -> tuple[torch.Tensor, Any]:
    from torchvision.transforms import functional

    return functional.convert_image_dtype(functional.pil_to_tensor(image)), target


def _with_boxes(target: dict[str, Any]) -> dict[str, Any]:
    return target if "boxes" in target else {**target, "boxes": torch.zeros(0, 4)}


def _in_columns(samples: list[Any]) -> tuple[Any, ...]:
    return tuple(zip(*samples, strict=True))


def torchvision_samples(batches: Iterator[Any]) -> Iterator[Sample]:
    for images, targets in batches:
        for image, (height, width), target in zip(images.tensors, images.image_sizes, targets, strict=True):
            yield image[:, :height, :width].numpy(), target["boxes"].numpy()


def detectron2_batches(folder: Path, rule: InputRule, batch: int, workers: int, masks: bool) -> Iterator[Any]:
    """Its own mapper with its resize, and the normalising and padding of its models."""
    from detectron2.data import DatasetMapper, MapDataset
    from detectron2.data import transforms as T
    from detectron2.data.datasets import load_coco_json
    from detectron2.structures import ImageList

    records = load_coco_json(str(folder / "train.json"), str(folder / "images"))
    for annotation in (found for record in records for found in record["annotations"]):
        annotation["bbox"] = [float(value) for value in annotation["bbox"]]  # of whole numbers it would cut the scaled
    mapper = DatasetMapper(
        is_train=True,
        augmentations=[T.ResizeShortestEdge(800, 1333)],
        image_format="BGR",
        use_instance_mask=masks,
        instance_mask_format="polygon",
    )
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (rule.mean, rule.std))
    loader = torch.utils.data.DataLoader(
        MapDataset(records, mapper), batch_size=batch, num_workers=workers, collate_fn=list
    )
    for samples in loader:
        yield ImageList.from_tensors([(item["image"] - mean) / std for item in samples], 32), samples


def detectron2_samples(batches: Iterator[Any]) -> Iterator[Sample]:
    for images, samples in batches:
        for image, (height, width), item in zip(images.tensor, images.image_sizes, samples, strict=True):
            yield image[:, :height, :width].numpy(), item["instances"].gt_boxes.tensor.numpy()


def check_equal(ours: Iterator[Sample], theirs: Iterator[Sample]) -> int:
    """The number of pictures compared; an AssertionError where one differs."""
    count = 0
    for (image, boxes), (other, other_boxes) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(image, other)
        np.testing.assert_allclose(boxes, other_boxes, rtol=0, atol=1e-4)
        count += 1
    return count


def images_per_second(batches: Callable[[], Iterator[Any]], num_images: int) -> float:
    """From the first batch on: starting workers and reading the annotations are not counted."""
    running = batches()
    next(running)
    begin, done = time.perf_counter(), 0
    for _ in running:
        done += 1
    return done / (time.perf_counter() - begin) * num_images


def write_pictures(folder: Path, num_images: int, size: int) -> None:
    """Objects with holes or in parts become polygons too: Detectron2 takes either polygons alone or none."""
    synth.generate(folder, kind="figures", images=num_images, seed=0, size=size, val_fraction=0.0)
    path = folder / "train.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        segment = annotation["segmentation"]
        if isinstance(segment, dict) and not annotation["iscrowd"]:
            bitmap = segment_to_bitmap({"size": segment["size"], "counts": segment["counts"]}, (size, size))
            annotation["segmentation"] = [ring.tolist() for ring in bitmap_to_rings(bitmap)]
    path.write_text(json.dumps(content))


def compare(folder: Path, source: str, *, masks: bool, args: argparse.Namespace) -> Row:
    if source == "torchvision":
        rule = InputRule(method="torch", channels="rgb", value_range=1, **IMAGENET)
        form, samples = "bitmaps", torchvision_samples
    else:
        rule, form, samples = InputRule(), "polygons", detectron2_samples

    def ours() -> Iterator[Batch]:
        targets = TargetRule(masks=form if masks else "none", keep_crowds=source == "torchvision")  # type: ignore[arg-type]
        return our_batches(folder, rule, targets, args.batch, args.workers)

    def theirs() -> Iterator[Any]:
        if source == "torchvision":
            return torchvision_batches(folder, args.batch, args.workers, masks)
        return detectron2_batches(folder, rule, args.batch, args.workers, masks)

    compared = check_equal(our_samples(ours()), samples(theirs()))  # also the run that compiles and fills the caches
    rounds = [(images_per_second(ours, args.batch), images_per_second(theirs, args.batch)) for _ in range(args.repeat)]
    our_speed, their_speed = (statistics.median(column) for column in zip(*rounds, strict=True))
    return {
        "what": f"images/s beside {source}, boxes{' and masks' * masks}",
        "boxwright": round(our_speed, 1),
        "other": round(their_speed, 1),
        "ratio": round(our_speed / their_speed, 2),
        "wanted": f">= {WANTED_RATIO:g}x",
        "note": f"{compared} pictures equal, {args.workers} workers, batches of {args.batch}",
    }


def memory_of(process: int | str) -> float:
    """MiB of a process; pages that several share are divided among them, so that sums count each once."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


Part = Literal["nothing", "boxes", "boxes and masks"]


class TargetsOnly(torch.utils.data.Dataset):
    """A part of every object of every image, without the pictures; each worker says how much it grew by that."""

    def __init__(self, annotations: Annotations, part: Part) -> None:
        self.annotations, self.part = annotations, part
        self.before: float | None = None

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> float:
        if self.part != "nothing":
            self.annotations.target(index, with_masks=self.part == "boxes and masks")
        if self.before is None:
            self.before = memory_of("self")
        return memory_of("self") - self.before if index % 500 == 0 else 0.0


def growth_of_workers(annotations: Annotations, part: Part) -> float:
    """MiB of four workers together, from their first image to their last."""
    loader = torch.utils.data.DataLoader(
        TargetsOnly(annotations, part), batch_size=500, num_workers=4, worker_init_fn=start_worker
    )
    grown = [0.0] * 4
    for number, batch in enumerate(loader):
        grown[number % 4] = max(grown[number % 4], float(batch.max()))
    return sum(grown)


def measure_index(args: argparse.Namespace, folder: Path) -> list[Row]:
    path = synth.annotations(folder / "train.json", images=args.index_images, annotations=args.index_objects)
    times = []
    for _ in range(4):
        begin = time.perf_counter()
        annotations = read_dataset(path)
        times.append(time.perf_counter() - begin)
    grown = {part: growth_of_workers(annotations, part) for part in get_args(Part)}
    size = f"{len(annotations)} images, {annotations.num_objects} objects, {path.stat().st_size / MIB:.0f} MiB of JSON"
    index = Path(annotations.index_path).stat().st_size / MIB
    return [
        {"what": "seconds to read COCO's size, first time", "boxwright": round(times[0], 2), "note": size},
        {
            "what": "seconds to read COCO's size, afterwards",
            "boxwright": round(statistics.median(times[1:]), 4),
            "wanted": f"< {WANTED_SECONDS:g} s",
            "note": f"an index of {index:.0f} MiB",
        },
        *(
            {
                "what": f"MiB that 4 workers together grow by when they read {part} of every image",
                "boxwright": round(mib, 1),
                "wanted": "" if part == "nothing" else f"< {WANTED_MB:g} MB, {WANTED_MB * 1e6 / MIB:.1f} MiB",
                "note": "PSS: pages that several share are divided among them, so that the index counts once",
            }
            for part, mib in grown.items()
        ),
    ]


def measure_leaks(args: argparse.Namespace, folder: Path) -> Row:
    """Memory of four workers over many batches: what they have after the first tenth, and at the end."""
    synth.generate(folder, kind="shapes", images=200, seed=1, size=96, val_fraction=0.0)
    loader: TrainingLoader = training_loader(
        read_dataset(folder, split="train"),
        SampleRule(
            input=InputRule(short=(96,), long=160, pad_to=32),
            targets=TargetRule(masks="polygons"),
            augmentation=Augmentation(flip=0.5, colour=0.5),
        ),
        BatchRule(size=2),
        workers=4,
    )
    torch.set_num_threads(1)  # threads that wait for one another on a busy machine would take most of the time
    marks: list[float] = []
    every = max(args.iterations // 10, 1)
    for number, _ in enumerate(loader, start=1):
        if number % every == 0:
            marks.append(sum(memory_of(worker) for worker in _children()))
            print(f"{number} batches: {marks[-1]:.0f} MiB", file=sys.stderr, flush=True)
        if number == args.iterations:
            break
    return {
        "what": f"MiB of 4 workers after {every} and after {args.iterations} batches",
        "boxwright": round(marks[-1], 1),
        "other": round(marks[0], 1),
        "ratio": round(marks[-1] / marks[0], 3),
        "wanted": "1",
        "note": "every tenth: " + " ".join(f"{mark:.0f}" for mark in marks),
    }


def _children() -> Sequence[str]:
    """The workers: processes that this one started and that hold a share of its memory."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def print_rows(rows: Sequence[Row]) -> None:
    heads = ("what", "boxwright", "other", "ratio", "wanted", "note")
    cells = [heads, *(tuple(str(row.get(head, "")) for head in heads) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def with_machine(row: Row) -> Row:
    import torchvision

    heads = ("what", "boxwright", "other", "ratio", "wanted", "note")
    return {head: row.get(head, "") for head in heads} | {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "date": date.today().isoformat(),
    }


def append_csv(path: Path, rows: Sequence[Row]) -> None:
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=["speed", "index", "leaks"], default=["speed", "index", "leaks"])
    parser.add_argument("--images", type=int, default=300, help="pictures of the comparison")
    parser.add_argument("--size", type=int, default=640, help="their height and width")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--index-images", type=int, default=118_287)
    parser.add_argument("--index-objects", type=int, default=860_001)
    parser.add_argument("--iterations", type=int, default=10_000)
    parser.add_argument("--out", type=Path, help="append the rows to this CSV")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["BOXWRIGHT_CACHE"] = str(folder / "cache")
        if "speed" in args.parts:
            pictures = folder / "pictures"
            write_pictures(pictures, args.images, args.size)
            for source in ("torchvision", "detectron2"):
                rows += [compare(pictures, source, masks=masks, args=args) for masks in (False, True)]
        if "index" in args.parts:
            (folder / "large").mkdir()
            rows += measure_index(args, folder / "large")
        if "leaks" in args.parts:
            rows.append(measure_leaks(args, folder / "small"))
    print_rows(rows)
    full = [with_machine(row) for row in rows]
    if args.out:
        append_csv(args.out, full)
    if args.json:
        args.json.write_text(json.dumps(full, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
