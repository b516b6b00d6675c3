"""COCO evaluation against pycocotools at COCO val2017's size, in one process, equality checked in the same run.

    python -m benchmarks.evaluation --out benchmarks/evaluation.csv

5,000 images, 36,000 annotations and 100 detections an image are generated. Timed is what comes after both programs hold
the annotations and the detections in their own form: matching, curves and figures. The way there is timed too and
printed beside it: pycocotools' `loadRes` of records against our streaming, image by image, of the arrays a detector
gives, figures included. Ours is the median of `--repeat` runs, pycocotools runs once; the first, compiling run of ours
is not counted.
"""

import argparse
import contextlib
import csv
import io
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
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from boxwright.data.synth import bulk
from boxwright.evaluation import Evaluator, GroundTruth, evaluate_coco, read_detections, read_ground_truth

JUDGED_AS = {"box": "bbox", "mask": "segm"}
WANTED = {"box": 100, "mask": 20}
Row = dict[str, Any]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def ask_judge(annotations: Path, records: list[Row], kind: str) -> tuple[float, float, COCOeval]:
    """Seconds to load the detections, seconds to evaluate them.

    Masks come without boxes, as Detectron2 hands them over: else pycocotools takes their areas from the boxes.
    """
    fields = ["image_id", "category_id", "score", "bbox" if kind == "box" else "segmentation"]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        loading, found = seconds(lambda: truth.loadRes([{name: record[name] for name in fields} for record in records]))
        judge = COCOeval(truth, found, JUDGED_AS[kind])

        def evaluate() -> None:
            judge.evaluate()
            judge.accumulate()
            judge.summarize()

        working, _ = seconds(evaluate)
    return loading, working, judge


def arrays_by_image(records: Sequence[Row], truth: GroundTruth) -> list[tuple[int, dict[str, Any]]]:
    """What a detector gives for each image."""
    images: dict[int, list[Row]] = {}
    for record in records:
        images.setdefault(record["image_id"], []).append(record)
    return [
        (
            image_id,
            {
                "boxes_xywh": np.array([r["bbox"] for r in rows]),
                "scores": np.array([r["score"] for r in rows]),
                "labels": np.array([truth.category_index[r["category_id"]] for r in rows]),
                "rles": [r["segmentation"] for r in rows],
            },
        )
        for image_id, rows in images.items()
    ]


def stream(truth: GroundTruth, kind: str, images: Sequence[tuple[int, dict[str, Any]]]) -> Any:
    evaluator = Evaluator(truth, kinds=[kind])
    for image_id, arrays in images:
        evaluator.add(image_id, **arrays)
    return getattr(evaluator.result(), kind)


def check_equal(figures: Any, judge: COCOeval) -> None:
    for ours, theirs in ((figures.curves.precision, "precision"), (figures.curves.recall, "recall")):
        np.testing.assert_allclose(ours, judge.eval[theirs], rtol=0, atol=1e-12)
    np.testing.assert_allclose(figures.curves.scores, judge.eval["scores"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(figures.stats, judge.stats, rtol=0, atol=1e-12)


def resident_mib() -> float:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory_of_streaming(truth: GroundTruth, num_images: int, per_image: int) -> tuple[float, list[float]]:
    """MB of masks that were streamed, and MiB by which the process had grown after each quarter of the images.

    The masks are made as they are added, so that nobody else holds them. The first eighth, with what is compiled and
    what the allocator keeps, comes before the count.
    """
    warm = Evaluator(truth, kinds=("box", "mask"))
    for image_id, arrays in made_up(truth, max(num_images // 8, 1), per_image):
        warm.add(image_id, **arrays)
    warm.result()
    evaluator = Evaluator(truth, kinds=("box", "mask"))
    before, grown, streamed = resident_mib(), [], 0
    for number, (image_id, arrays) in enumerate(made_up(truth, num_images, per_image), start=1):
        streamed += sum(len(rle["counts"]) for rle in arrays["rles"])
        evaluator.add(image_id, **arrays)
        if number % max(num_images // 4, 1) == 0:
            grown.append(round(resident_mib() - before, 1))
    evaluator.result()
    return streamed / 1e6, grown


def made_up(truth: GroundTruth, num_images: int, per_image: int) -> Iterator[tuple[int, dict[str, Any]]]:
    rng = np.random.default_rng(0)
    bitmap = np.asfortranarray(np.add.outer(np.arange(480) // 60, np.arange(640) // 20) % 2, dtype=np.uint8)
    counts = coco_mask.encode(bitmap)["counts"]
    for image in range(num_images):
        yield (
            int(truth.image_ids[image]),
            {
                "boxes_xywh": rng.random((per_image, 4)) * 300,
                "scores": rng.random(per_image),
                "labels": rng.integers(len(truth.category_ids), size=per_image),
                "rles": [{"size": [480, 640], "counts": bytes(bytearray(counts))} for _ in range(per_image)],
            },
        )


def measure(kind: str, annotations: Path, results: Path, repeat: int) -> Row:
    records = json.loads(results.read_text())
    load_theirs, theirs, judge = ask_judge(annotations, records, kind)
    truth = read_ground_truth(annotations)
    table = read_detections(records, truth)
    images = arrays_by_image(records, truth)
    check_equal(getattr(evaluate_coco(truth, table, kinds=[kind]), kind), judge)
    check_equal(stream(truth, kind, images), judge)
    ours = [seconds(lambda: evaluate_coco(truth, table, kinds=[kind]))[0] for _ in range(repeat)]
    streamed = [seconds(lambda: stream(truth, kind, images))[0] for _ in range(repeat)]
    return {
        "kind": kind,
        "images": len(truth.image_ids),
        "annotations": len(truth),
        "detections": len(table),
        "pycocotools_s": round(theirs, 3),
        "boxwright_s": round(statistics.median(ours), 4),
        "ratio": round(theirs / statistics.median(ours), 1),
        "pycocotools_with_loading_s": round(load_theirs + theirs, 3),
        "boxwright_streamed_s": round(statistics.median(streamed), 4),
        "ratio_with_loading": round((load_theirs + theirs) / statistics.median(streamed), 1),
        "equal_to": "1e-12",
    }


def surroundings() -> Row:
    from importlib.metadata import version

    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": version("numba"),
        "pycocotools": version("pycocotools"),
        "date": date.today().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--annotations", type=int, default=36_000)
    parser.add_argument("--per-image", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=list(WANTED), choices=list(WANTED))
    parser.add_argument("--out", type=Path, help="a CSV file for the results")
    parser.add_argument("--json", type=Path, help="a JSON file for the results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = bulk.detections(
            folder, images=options.images, annotations=options.annotations, per_image=options.per_image
        )
        megabytes, grown = memory_of_streaming(read_ground_truth(made[0]), options.images, options.per_image)
        rows = [measure(kind, *made, options.repeat) | surroundings() for kind in options.kinds]
    for row in rows:
        print(
            f"{row['kind']}: pycocotools {row['pycocotools_s']} s, boxwright {row['boxwright_s']} s: {row['ratio']}x; "
            f"with loading {row['pycocotools_with_loading_s']} s, streamed {row['boxwright_streamed_s']} s: "
            f"{row['ratio_with_loading']}x; every number equal to {row['equal_to']}"
        )
    print(f"streaming {megabytes:,.0f} MB of masks: the process grew by {grown} MiB after each quarter of the images")
    if options.out:
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    if options.json:
        options.json.write_text(
            json.dumps({"rows": rows, "streamed_mb": megabytes, "grown_mib": grown}, indent=2) + "\n"
        )
    slow = [row for row in rows if row["ratio"] < WANTED[row["kind"]]]
    sys.exit(f"below the wanted ratio: {[(row['kind'], row['ratio']) for row in slow]}" if slow else 0)


if __name__ == "__main__":
    main()
