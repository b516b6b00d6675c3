"""A small data set with results of all kinds of errors, and its report."""

import json

import pytest

from boxwright.data import synth
from boxwright.evaluation.runs import rles_of


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    """A folder with val.json of 10 pictures and results.json: things found, moved, taken for another class, missed."""
    folder = tmp_path_factory.mktemp("scene")
    synth.generate(folder, kind="shapes", images=10, seed=4, size=128, val_fraction=1.0)
    content = json.loads((folder / "val.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    results = []
    for number, record in enumerate(r for r in content["annotations"] if not r["iscrowd"]):
        if number % 7 == 3:
            continue
        x, y, width, height = record["bbox"]
        moved = width / 3 if number % 5 == 1 else 0
        (rle,) = rles_of([record["segmentation"]], [sizes[record["image_id"]]], what="annotation")
        results.append(
            {
                "image_id": record["image_id"],
                "category_id": record["category_id"] % 6 + 1 if number % 6 == 2 else record["category_id"],
                "bbox": [x + moved, y, width, height],
                "score": round(0.3 + (number * 37 % 60) / 100, 2),
                "segmentation": {"size": rle["size"], "counts": _text(rle["counts"])},
            }
        )
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "fewer.json").write_text(json.dumps(results[::2]))
    return folder


def _text(counts):
    return counts.decode("ascii") if isinstance(counts, bytes) else counts
