"""The annotations of one split, in columns: what every reader makes and every writer, check and loader reads.

Letters: I images, M objects, K keypoints. Boxes here are x, y, width, height as in the file; `target` gives
the x1, y1, x2, y2 of training. Objects of image i are rows `first[i]` to `first[i + 1]`.
"""

import json
import os
import zlib
from dataclasses import asdict, dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from boxwright.data.array_file import Arrays, is_mapped, open_arrays
from boxwright.data.columns import Texts, unpack_decimals
from boxwright.data.packed_rings import image_rings
from boxwright.errors import DatasetError
from boxwright.types import Masks, Rle, Segment, Size, Target

CROWD, DIFFICULT, TRUNCATED, UNUSABLE = 1, 2, 4, 8  # bits of the column `flags`


@dataclass(frozen=True)
class Category:
    """A foreground class. `id` is the source's own number; keypoints and skeleton (0-based) where it has them."""

    name: str
    id: int
    supercategory: str = ""
    keypoints: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] = ()
    extra: dict[str, Any] | None = None

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> "Category":
        """From what `dataclasses.asdict` makes of it, once through JSON: lists become tuples again."""
        pairs = {name: tuple((int(a), int(b)) for a, b in values[name]) for name in ("skeleton", "flip_pairs")}
        return cls(**{**values, **pairs, "keypoints": tuple(values["keypoints"])})


@dataclass(frozen=True)
class ImageInfo:
    """One image as its file has it; `file_name` is relative to `image_root`, `extra` is all else."""

    id: int | str
    file_name: str
    size: Size
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectInfo:
    """One object as its file has it. The box is x, y, width, height."""

    label: int
    box_xywh: tuple[float, float, float, float]
    segment: Segment | None = None
    keypoints: NDArray[np.float64] | None = None  # (K, 3)
    is_crowd: bool = False
    is_difficult: bool = False
    is_truncated: bool = False
    area: float | None = None
    id: int | None = None
    extra: dict[str, Any] | None = None


@dataclass(frozen=True)
class Annotations:
    """See the module's docstring. Immutable; the columns may lie in a file that many processes share."""

    source: str  # the file or folder they were read from
    image_root: str
    categories: tuple[Category, ...]
    columns: Arrays
    document: dict[str, Any]  # what the file says about itself: info, licenses
    problems: tuple[dict[str, Any], ...] = ()  # what the reader left out, see problems.py
    format: str = "coco"
    index_path: str = ""  # the file the columns are mapped from
    homes: tuple[str, ...] = ()  # the data set's folders, where they are more than `image_root`

    def __reduce__(self) -> Any:
        """To a worker go the path of the index and the columns that are not in it, never a copy of those that are."""
        own = {name: column for name, column in self.columns.items() if not is_mapped(column)}
        return _reopened, (self.index_path, own, self.plain_meta())

    def __len__(self) -> int:
        return len(self.columns["height"])

    @property
    def num_objects(self) -> int:
        """M, unusable ones and crowds among them."""
        return len(self.columns["label"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""
        return tuple(category.name for category in self.categories)

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """Of the first category that has keypoints; empty where none has."""
        return next((category.keypoints for category in self.categories if category.keypoints), ())

    @property
    def flip_pairs(self) -> tuple[tuple[int, int], ...]:
        """0-based pairs of keypoints that change places in a mirrored image; of the category of `keypoint_names`."""
        return next((category.flip_pairs for category in self.categories if category.keypoints), ())

    @property
    def num_keypoints(self) -> int:
        """K of the column, whose rows all have as many."""
        return int(self.columns["keypoints"].shape[1])

    @property
    def has_masks(self) -> bool:
        """Whether any object has rings or run lengths."""
        return bool(len(self.columns["ring_points"]) or len(self.columns["rle_size"]))

    @property
    def has_keypoints(self) -> bool:
        """Whether any object has keypoints, be they all unlabelled."""
        return len(self.columns["keypoints"]) > 0

    def texts(self, name: str) -> Texts:
        """file, key and image_extra by image, object_extra by object, runs by row of `rle_size`; extras are JSON."""
        return Texts(self.columns[f"{name}.blob"], self.columns[f"{name}.first"])

    def image_id(self, image: int) -> int | str:
        """The source's own: a number where all images have one, else a text."""
        return int(self.columns["image_id"][image]) if "image_id" in self.columns else self.texts("key").text_at(image)

    def path(self, image: int) -> Path:
        """Of the picture; nothing says that it is there, or inside `image_root`."""
        return Path(self.image_root, self.texts("file").text_at(image))

    def is_outside(self, image: int) -> bool:
        """Whether the picture's name leads out of the data set's folders."""
        path = Path(os.path.abspath(self.path(image)))
        return not any(path.is_relative_to(os.path.abspath(home)) for home in self.homes or (self.image_root,))

    def size(self, image: int) -> Size:
        """(height, width) as the source has it, or as read from the picture where the format says nothing."""
        return int(self.columns["height"][image]), int(self.columns["width"][image])

    def rows(self, image: int) -> range:
        """The objects of an image, as positions in the columns."""
        first = self.columns["first"]
        return range(int(first[image]), int(first[image + 1]))

    def image(self, image: int) -> ImageInfo:
        """What the source says of an image."""
        extra = self.texts("image_extra").bytes_at(image)
        return ImageInfo(
            id=self.image_id(image),
            file_name=self.texts("file").text_at(image),
            size=self.size(image),
            extra=json.loads(extra) if extra else {},
        )

    def objects(self, image: int) -> list[ObjectInfo]:
        """Every object of an image in the order of its file, unusable ones and crowds among them."""
        rows = self.rows(image)
        parts = zip(rows, self.segments(image), self.keypoints(image), strict=True)
        return [self._object(row, segment, keypoints) for row, segment, keypoints in parts]

    def _object(self, row: int, segment: Segment | None, keypoints: NDArray[np.float64] | None) -> ObjectInfo:
        columns = self.columns
        flags, area = int(columns["flags"][row]), float(columns["area"][row])
        extra = self.texts("object_extra").bytes_at(row)
        identifier = int(columns["object_id"][row])
        x, y, width, height = unpack_decimals(columns["box"][row]).tolist()
        return ObjectInfo(
            label=int(columns["label"][row]),
            box_xywh=(x, y, width, height),
            segment=segment,
            keypoints=keypoints,
            is_crowd=bool(flags & CROWD),
            is_difficult=bool(flags & DIFFICULT),
            is_truncated=bool(flags & TRUNCATED),
            area=None if np.isnan(area) else area,
            id=None if identifier < 0 else identifier,
            extra=json.loads(extra) if extra else None,
        )

    def segments(self, image: int) -> list[Segment | None]:
        """Rings or run lengths of each object of an image; None where it has no mask."""
        if not self.has_masks:
            return [None] * len(self.rows(image))
        segments: list[Segment | None] = [rings or None for rings in image_rings(self.columns, image)]
        texts, begin = self.texts("runs"), self.rows(image).start
        for which in self._places("rle_row", image):
            height, width = self.columns["rle_size"][which].tolist()
            row = int(self.columns["rle_row"][which])
            segments[row - begin] = Rle(size=[height, width], counts=zlib.decompress(texts.bytes_at(which)))
        return segments

    def keypoints(self, image: int) -> list[NDArray[np.float64] | None]:
        """(K, 3) of each object of an image, as in the file; None where it has none."""
        points: list[NDArray[np.float64] | None] = [None] * len(self.rows(image))
        for which in self._places("keypoint_row", image):
            row = int(self.columns["keypoint_row"][which])
            points[row - self.rows(image).start] = unpack_decimals(self.columns["keypoints"][which])
        return points

    def _places(self, name: str, image: int) -> range:
        """Where in a rising column of rows those of an image are."""
        rows = self.rows(image)
        begin, end = np.searchsorted(self.columns[name], (rows.start, rows.stop)).tolist()
        return range(begin, end)

    def target(
        self, image: int, *, with_masks: bool = False, with_keypoints: bool = False, keypoint_offset: float = 0.0
    ) -> Target:
        """The usable objects of an image for training, boxes clipped to it, in the frame of the original image.

        An object without a mask or keypoints gets an empty segment or unlabelled points where these are asked for.
        `keypoint_offset` is added to x and y: 0.5 takes the file's pixel numbers for pixel centres, as Detectron2 does.
        """
        size = self.size(image)
        usable = self.columns["flags"][self.rows(image)] & UNUSABLE == 0
        rows = np.flatnonzero(usable) + self.rows(image).start
        segments = compress(self.segments(image), usable) if with_masks else ()
        return Target(
            boxes=self._boxes(rows, size),
            labels=torch.from_numpy(self.columns["label"][rows].astype(np.int64)),
            size=size,
            masks=Masks([segment or [] for segment in segments], size) if with_masks else None,
            keypoints=self._keypoints(image, usable, keypoint_offset) if with_keypoints else None,
            is_crowd=torch.from_numpy((self.columns["flags"][rows] & CROWD).astype(bool)),
            image_id=self.image_id(image),
        )

    def _boxes(self, rows: NDArray[np.int64], size: Size) -> torch.Tensor:
        boxes = unpack_decimals(self.columns["box"][rows]).copy()
        boxes[:, 2:] += boxes[:, :2]
        np.clip(boxes, 0, np.array([size[1], size[0], size[1], size[0]], dtype=np.float64), out=boxes)
        return torch.from_numpy(boxes.astype(np.float32))

    def _keypoints(self, image: int, usable: NDArray[np.bool_], offset: float) -> torch.Tensor:
        none = np.zeros((self.num_keypoints, 3))
        found = [none if points is None else points for points in compress(self.keypoints(image), usable)]
        points = np.array(found, dtype=np.float64).reshape(len(found), self.num_keypoints, 3)
        points[..., :2] += offset
        points *= points[..., 2:] > 0
        return torch.from_numpy(points.astype(np.float32))

    def need_known_names(self) -> None:
        """A DatasetError where objects name a class or an image that is not there: what is left without them would be
        taken for the whole."""
        strange = [found for found in self.problems if found["kind"] in ("unknown_category", "unknown_image")]
        if strange:
            place, detail = strange[0]["place"].removeprefix(f"{self.source}: "), strange[0]["detail"]
            raise DatasetError(
                f"{self.source}: objects that name a class or an image which is not listed: {len(strange)}, first: "
                f"{place}: {detail}. `boxwright data check` lists them all, and its --fix OUT writes a "
                "copy without them"
            )

    def with_categories(self, categories: tuple[Category, ...], labels: NDArray[Any]) -> "Annotations":
        """The same objects under other classes: `labels` are the new ones, one per object."""
        columns = {**self.columns, "label": labels.astype(np.int32)}
        return replace(self, categories=categories, columns=columns)

    def plain_meta(self) -> dict[str, Any]:
        """All but the columns, as JSON can hold it; `from_plain` takes it back."""
        return {
            "source": self.source,
            "image_root": self.image_root,
            "categories": [asdict(category) for category in self.categories],
            "document": self.document,
            "problems": list(self.problems),
            "format": self.format,
            "index_path": self.index_path,
            "homes": list(self.homes),
        }

    @classmethod
    def from_plain(cls, meta: dict[str, Any], columns: Arrays) -> "Annotations":
        """From what `plain_meta` gives, once through JSON, and the columns."""
        categories = tuple(Category.from_plain(values) for values in meta["categories"])
        rows = {name: tuple(meta[name]) for name in ("problems", "homes")}
        return cls(**{**meta, "categories": categories, **rows}, columns=columns)


def _reopened(index_path: str, own: Arrays, meta: dict[str, Any]) -> Annotations:
    columns = open_arrays(Path(index_path))[1] if index_path else {}
    return Annotations.from_plain(meta, {**columns, **own})
