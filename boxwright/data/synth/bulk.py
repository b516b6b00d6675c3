"""COCO-sized files without pictures, for measuring readers and evaluation.

Writing a million polygons takes long because of their digits. So a bank of objects is written out as text once, and
each annotation takes one of them: files of full size in seconds. What repeats is the outlines, not the work they give.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from boxwright.data.synth.outline import Points, encode_mask, fill_polygon
from boxwright.data.synth.shapes import polar
from boxwright.files import atomic_write

SIZES = ((480, 640), (640, 480), (427, 640), (640, 427))  # height, width of the pictures there would be
CATEGORY_IDS = tuple(number for number in range(1, 91) if number % 9)  # 80 ids with gaps, as COCO's
NUM_OUTLINES, NUM_VARIANTS, NUM_CROWDS = 400, 8, 16


@dataclass(frozen=True)
class Stored:
    """JSON text of one object: what follows `"segmentation":` up to the end of its bounding box and area."""

    polygon: str
    rle: str


def annotations(path: str | Path, *, images: int = 118_287, annotations: int = 860_001, seed: int = 0) -> Path:
    """Writes an annotation file as large as COCO train2017's: polygons, 1% crowds as RLE, ids with gaps, no order."""
    rng = np.random.default_rng(seed)
    bank = [_stored(outline, SIZES[0]).polygon for outline in _outlines(rng, NUM_OUTLINES * NUM_VARIANTS)]
    crowds = [[_stored_crowd(rng, size) for _ in range(NUM_CROWDS)] for size in SIZES]
    # Squares of a uniform number: some pictures are crowded, about one in a hundred is empty.
    owners = (rng.random(annotations) ** 2 * images).astype(np.int64).tolist()
    chosen = rng.integers(len(bank), size=annotations).tolist()
    labels = np.array(CATEGORY_IDS)[rng.integers(len(CATEGORY_IDS), size=annotations)].tolist()
    is_crowd = (rng.random(annotations) < 0.01).tolist()
    order = (rng.permutation(images) if images else np.zeros(0, np.int64)).tolist()

    def rows() -> Iterator[str]:
        for number, (owner, which, label, crowd) in enumerate(zip(owners, chosen, labels, is_crowd, strict=True)):
            image = order[owner]
            body = crowds[image % len(SIZES)][which % NUM_CROWDS] if crowd else bank[which]
            yield _annotation(number + 1, _image_id(image), label, int(crowd), body)

    with atomic_write(path, "w") as file:
        _write_ground_truth(file, images, rows())
    return Path(path)


def detections(
    folder: str | Path,
    *,
    images: int = 5_000,
    annotations: int = 36_000,
    per_image: int = 100,
    masks: bool = True,
    seed: int = 0,
) -> tuple[Path, Path]:
    """Writes FOLDER/val.json and FOLDER/results.json, of COCO val2017's size, and returns the two paths.

    Some detections of an image lie near its objects, with their class and higher scores; the others lie anywhere.
    """
    rng, folder = np.random.default_rng(seed), Path(folder)
    outlines = list(_outlines(rng, NUM_OUTLINES))
    bank = [[_stored(variant, SIZES[0]) for variant in _variants(rng, outline)] for outline in outlines]
    crowds = [_stored_crowd(rng, SIZES[0]) for _ in range(NUM_CROWDS)]
    owners = rng.integers(max(images, 1), size=annotations if images else 0)
    chosen = rng.integers(NUM_OUTLINES, size=len(owners))
    labels = np.array(CATEGORY_IDS)[rng.integers(len(CATEGORY_IDS), size=len(owners))]
    is_crowd = rng.random(len(owners)) < 0.01

    def objects() -> Iterator[str]:
        columns = (owners.tolist(), chosen.tolist(), labels.tolist(), is_crowd.tolist())
        for number, (owner, which, label, crowd) in enumerate(zip(*columns, strict=True)):
            body = crowds[which % NUM_CROWDS] if crowd else bank[which][0].polygon
            yield _annotation(number + 1, _image_id(owner), label, int(crowd), body)

    with atomic_write(folder / "val.json", "w") as file:
        _write_ground_truth(file, images, objects(), size=SIZES[0])
    results = _results(rng, images, per_image, owners, chosen, labels)
    with atomic_write(folder / "results.json", "w") as file:
        _write_list(file, (_result(row, bank, masks) for row in results))
    return folder / "val.json", folder / "results.json"


Row = tuple[int, int, int, float, int]  # image, outline, category id, score, variant


def _results(
    rng: Generator,
    images: int,
    per_image: int,
    owners: NDArray[np.int64],
    chosen: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> Iterator[Row]:
    by_image = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[by_image], np.arange(images + 1))
    for image in range(images):
        mine = by_image[starts[image] : starts[image + 1]]
        near = np.repeat(mine, 3)[: int(per_image * 0.6)]
        num_far = per_image - len(near)
        outlines = np.concatenate([chosen[near], rng.integers(NUM_OUTLINES, size=num_far)])
        classes = np.concatenate([labels[near], np.array(CATEGORY_IDS)[rng.integers(80, size=num_far)]])
        scores = np.concatenate([rng.random(len(near)), rng.random(num_far) ** 3])
        variants = rng.integers(NUM_VARIANTS, size=per_image)
        order = np.argsort(-scores, kind="stable")
        columns = (column[order].tolist() for column in (outlines, classes, scores, variants))
        yield from zip([image] * per_image, *columns, strict=True)


def _result(row: Row, bank: list[list[Stored]], masks: bool) -> str:
    image, outline, label, score, variant = row
    body = bank[outline][variant].rle
    if not masks:
        body = body[body.index('"bbox"') :]
    return f'{{"image_id":{_image_id(image)},"category_id":{label},"score":{score:.5f},{body}}}'


def _outlines(rng: Generator, number: int) -> Iterator[Points]:
    """Blobs of 8 to 40 corners and 8 to 340 pixels, inside the smallest common part of SIZES."""
    limit = min(min(size) for size in SIZES)
    for _ in range(number):
        corners = int(rng.integers(8, 41))
        radii = (0.75 + 0.25 * rng.random(corners)).tolist()
        reach = 4 * (170 / 4) ** rng.beta(1.6, 1.8)
        points = polar(radii) * reach * (1.0, rng.uniform(0.4, 1.0))
        yield np.round(points + rng.uniform(reach, limit - reach, size=2), 2)


def _variants(rng: Generator, outline: Points) -> Iterator[Points]:
    """The outline itself, then others moved and stretched a little: overlaps from about 0.5 to 1."""
    yield outline
    middle, extent = outline.mean(axis=0), np.ptp(outline, axis=0)
    for _ in range(NUM_VARIANTS - 1):
        moved = middle + (outline - middle) * rng.uniform(0.85, 1.15, size=2) + extent * rng.normal(size=2) * 0.06
        yield np.round(np.clip(moved, 0, min(min(size) for size in SIZES)), 2)


def _stored(outline: Points, size: tuple[int, int]) -> Stored:
    rle = coco_mask.frPyObjects([outline.ravel().tolist()], *size)[0]
    low, extent = outline.min(axis=0), np.ptp(outline, axis=0)
    box = f'"bbox":{_text(np.round([*low, *extent], 2).tolist())}'
    area = int(coco_mask.area(rle))
    compact = {"size": list(size), "counts": rle["counts"].decode("ascii")}
    return Stored(
        polygon=f'"segmentation":{_text([outline.ravel().tolist()])},"area":{area},{box}',
        rle=f'"segmentation":{_text(compact)},{box}',
    )


def _stored_crowd(rng: Generator, size: tuple[int, int]) -> str:
    mask = np.zeros(size, bool)
    for outline in _outlines(rng, 8):
        mask |= fill_polygon(outline, *size)
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = [int(xs[0]), int(ys[0]), int(xs[-1] - xs[0]) + 1, int(ys[-1] - ys[0]) + 1]
    return f'"segmentation":{_text(encode_mask(mask, compress=False))},"area":{int(mask.sum())},"bbox":{_text(box)}'


def _image_id(index: int) -> int:
    return 9 + 4 * index


def _annotation(number: int, image_id: int, label: int, is_crowd: int, body: str) -> str:
    return f'{{"id":{number},"image_id":{image_id},"category_id":{label},"iscrowd":{is_crowd},{body}}}'


def _write_ground_truth(
    file: IO[str], images: int, objects: Iterable[str], size: tuple[int, int] | None = None
) -> None:
    categories = [{"id": number, "name": f"thing {number}", "supercategory": "thing"} for number in CATEGORY_IDS]
    file.write(f'{{"info":{{"description":"synthetic, of COCO\'s size"}},"categories":{_text(categories)},"images":')
    _write_list(file, (_image(index, *(size or SIZES[index % len(SIZES)])) for index in range(images)))
    file.write(',"annotations":')
    _write_list(file, objects)
    file.write("}")


def _image(index: int, height: int, width: int) -> str:
    number = _image_id(index)
    return f'{{"id":{number},"file_name":"{number:012d}.jpg","height":{height},"width":{width}}}'


def _write_list(file: IO[str], rows: Iterable[str]) -> None:
    file.write("[")
    for number, row in enumerate(rows):
        file.write(row if number == 0 else "," + row)
    file.write("]")


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
