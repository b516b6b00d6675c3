"""A picture and its things, painted back to front, so that what is seen of each is known to the pixel."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from boxwright.data.synth.outline import Mask, Points, encode_mask, fill_polygon, quantise, trace_mask
from boxwright.data.synth.texture import Pixels

MAX_SIDE = 300  # pixels: the longest side of the largest things
MIN_SIDE = 8
MIN_AREA = 12  # pixels: nothing that shows less is painted


@dataclass(frozen=True)
class Thing:
    """One object, in a crop of its own: H, W the crop's size; `x`, `y` its top left corner in the picture (may be < 0).

    category    index into the kind's categories; None for something that stands in the way and is not annotated
    mask        (H, W) its pixels when nothing hides them
    colours     (H, W, 3) what they look like
    outline     polygon that fills to exactly `mask`, in the crop's frame; None when it must be traced
    keypoints   (K, 3) integer column, row (crop's frame) and visibility 0, 1, 2 as far as the thing itself hides them
    """

    category: int | None
    x: int
    y: int
    mask: Mask
    colours: Pixels
    outline: Points | None = None
    keypoints: NDArray[np.int64] | None = None
    is_crowd: bool = False

    @property
    def side(self) -> int:
        """The longer side of its crop, in pixels."""
        return int(max(self.mask.shape))


@dataclass
class Scene:
    """`picture` (H, W, 3) RGB and `owner` (H, W): 0 background, i + 1 where `things[i]` is seen."""

    picture: Pixels
    things: list[Thing] = field(default_factory=list)
    owner: NDArray[np.int16] = field(init=False)
    _full: list[int] = field(default_factory=list, init=False)
    _seen: list[int] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.owner = np.zeros(self.picture.shape[:2], np.int16)

    def add(self, thing: Thing) -> bool:
        """Paints `thing` over what is there, unless it would leave too little of it, or of another, to be seen."""
        window, crop = self._overlap(thing)
        mask, owner = thing.mask[crop], self.owner[window]
        seen, full = int(mask.sum()), int(thing.mask.sum())
        if seen < max(_least_seen(thing) * full, MIN_AREA):
            return False
        hidden = np.bincount(owner[mask], minlength=len(self.things) + 1)[1:]
        remaining = [have - lost for have, lost in zip(self._seen, hidden.tolist(), strict=True)]
        if any(
            left < _least_seen(it) * all_ for left, it, all_ in zip(remaining, self.things, self._full, strict=True)
        ):
            return False
        self.things.append(thing)
        self._full.append(full)
        self._seen = [*remaining, seen]
        owner[mask] = len(self.things)
        self.picture[window][mask] = thing.colours[crop][mask]
        return True

    def visible_mask(self, index: int) -> Mask:
        """(H, W) where `things[index]` is seen."""
        return np.asarray(self.owner == index + 1)

    def annotations(self) -> Iterator[dict[str, Any]]:
        """One COCO annotation per annotated thing, without id and image_id; category_id counts from 1."""
        for index, thing in enumerate(self.things):
            if thing.category is not None:
                yield self._annotate(index, thing, thing.category)

    def _annotate(self, index: int, thing: Thing, category: int) -> dict[str, Any]:
        (rows, columns), _ = self._overlap(thing)
        mask = self.owner[rows, columns] == index + 1
        ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x, y = int(columns.start + xs[0]), int(rows.start + ys[0])
        annotation: dict[str, Any] = {
            "category_id": category + 1,
            "iscrowd": int(thing.is_crowd),
            "area": self._seen[index],
            "bbox": [x, y, int(xs[-1] - xs[0]) + 1, int(ys[-1] - ys[0]) + 1],
            "segmentation": self._segmentation(index, thing, mask, x=columns.start, y=rows.start),
        }
        if thing.keypoints is not None:
            annotation |= self._keypoints(index, thing)
        return annotation

    def _segmentation(
        self, index: int, thing: Thing, mask: Mask, *, x: int, y: int
    ) -> list[list[float]] | dict[str, Any]:
        if thing.is_crowd:
            return encode_mask(self.visible_mask(index), compress=False)
        if self._is_whole(index) and thing.outline is not None:
            polygons: list[Points] | None = [thing.outline + (thing.x, thing.y)]
        else:
            polygons = trace_mask(mask)
            polygons = polygons and [polygon + (x, y) for polygon in polygons]
        if polygons is None:
            return encode_mask(self.visible_mask(index), compress=True)
        return [polygon.ravel().tolist() for polygon in polygons]

    def _is_whole(self, index: int) -> bool:
        _, crop = self._overlap(self.things[index])
        is_inside = self.things[index].mask[crop].shape == self.things[index].mask.shape
        return is_inside and self._seen[index] == self._full[index]

    def _keypoints(self, index: int, thing: Thing) -> dict[str, Any]:
        """Visibility after what stands in front: 2 seen, 1 hidden, 0 outside of the picture or not labelled."""
        assert thing.keypoints is not None
        height, width = self.owner.shape
        points = []
        for column, row, visibility in (thing.keypoints + (thing.x, thing.y, 0)).tolist():
            if not visibility or not (0 <= column < width and 0 <= row < height):
                points.append((0, 0, 0))
            else:
                is_seen = visibility == 2 and self.owner[row, column] == index + 1
                points.append((column, row, 2 if is_seen else 1))
        return {
            "num_keypoints": sum(point[2] > 0 for point in points),
            "keypoints": [value for point in points for value in point],
        }

    def _overlap(self, thing: Thing) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Slices of the picture and of the thing's crop that coincide (empty where it lies outside)."""
        spans = []
        for start, length, limit in zip((thing.y, thing.x), thing.mask.shape, self.owner.shape, strict=True):
            first, last = max(start, 0), max(min(start + length, limit), max(start, 0))
            spans.append((slice(first, last), slice(first - start, last - start)))
        (rows, crop_rows), (columns, crop_columns) = spans
        return (rows, columns), (crop_rows, crop_columns)


def _least_seen(thing: Thing) -> float:
    """The part of a thing that must stay in sight: all but a sliver of the smallest, a good third of the others."""
    return 0.8 if thing.side < 20 else 0.4


def place_polygon(points: Points) -> tuple[int, int, Mask, Points]:
    """(N, 2) in the picture's frame -> x, y of a crop around it, its mask, and the polygon in the crop's frame."""
    points = quantise(points)
    x, y = np.floor(points.min(axis=0)).astype(int).tolist()
    outline = points - (x, y)
    width, height = np.ceil(outline.max(axis=0)).astype(int).tolist()
    return x, y, fill_polygon(outline, height, width), outline


def random_side(rng: Generator, size: int, *, typical: float = 0.5) -> float:
    """Pixels between MIN_SIDE and MAX_SIDE (or 0.9 of the picture), by octaves; `typical` (0 to 1) moves the bulk."""
    largest = min(MAX_SIDE, 0.9 * size)
    return float(MIN_SIDE * (largest / MIN_SIDE) ** rng.beta(1 + 3 * typical, 4 - 3 * typical))


def random_centre(rng: Generator, scene: Scene, side: float) -> tuple[float, float]:
    """x, y for a thing of `side`: anywhere (large ones may reach out of the picture), or at the rim of another one."""
    height, width = scene.owner.shape
    if scene.things and rng.random() < 0.35:
        other = scene.things[int(rng.integers(len(scene.things)))]
        angle, reach = rng.random() * 2 * np.pi, (other.side + side) * 0.38
        middle_x, middle_y = other.x + other.mask.shape[1] / 2, other.y + other.mask.shape[0] / 2
        return float(middle_x + reach * np.cos(angle)), float(middle_y + reach * np.sin(angle))
    margin = side * 0.5 if side < 40 else side * 0.3
    x, y = (margin + rng.random() * max(extent - 2 * margin, 1) for extent in (width, height))
    return x, y


def merge_crowd(members: list[Thing]) -> Thing:
    """Many small things as one crowd region: the union of their pixels."""
    x, y = min(thing.x for thing in members), min(thing.y for thing in members)
    right = max(thing.x + thing.mask.shape[1] for thing in members)
    bottom = max(thing.y + thing.mask.shape[0] for thing in members)
    mask, colours = np.zeros((bottom - y, right - x), bool), np.zeros((bottom - y, right - x, 3), np.uint8)
    for thing in members:
        rows = slice(thing.y - y, thing.y - y + thing.mask.shape[0])
        columns = slice(thing.x - x, thing.x - x + thing.mask.shape[1])
        mask[rows, columns] |= thing.mask
        colours[rows, columns][thing.mask] = thing.colours[thing.mask]
    has_keypoints = members[0].keypoints is not None
    none_labelled = np.zeros_like(members[0].keypoints) if has_keypoints else None
    return Thing(members[0].category, x, y, mask, colours, keypoints=none_labelled, is_crowd=True)
