"""The values that travel between the parts: Masks, Target, Batch, Detections.

Shapes, dtypes and finiteness are checked once, here, when a value is made; later code relies on them.
Letters: N objects, K keypoints, H and W of the image in pixels. Boxes are x1, y1, x2, y2.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, TypedDict

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from boxwright.errors import MissingExtraError, ShapeError
from boxwright.files import atomic_write
from boxwright.json_file import read_json
from boxwright.transfer import send

Size = tuple[int, int]  # height, width


class Rle(TypedDict):
    """A bitmap as COCO run lengths: `counts` in COCO's compressed form, or as the plain list crowd regions use."""

    size: list[int]
    counts: Any


Polygons = list[np.ndarray]  # one object as flat x, y, x, y, ... rings, float64
Segment = Polygons | Rle


@dataclass(frozen=True)
class Masks:
    """N masks of one image of `size`, each kept as polygons or run lengths and decoded on demand."""

    segments: list[Segment]
    size: Size

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: Any) -> "Masks":
        return Masks([self.segments[i] for i in _index_tensor(index, len(self)).tolist()], self.size)

    @classmethod
    def from_bitmaps(cls, bitmaps: Tensor | np.ndarray) -> Self:
        """(N, H, W) bool -> Masks."""
        array = np.asarray(bitmaps.cpu() if isinstance(bitmaps, Tensor) else bitmaps)
        if array.ndim != 3:
            raise ShapeError(f"masks have shape {tuple(array.shape)}; expected (N, H, W)")
        rles = [coco_mask.encode(np.asfortranarray(bitmap, dtype=np.uint8)) for bitmap in array]
        return cls(list(rles), (array.shape[1], array.shape[2]))

    def rles(self) -> list[Rle]:
        """Each as compressed run lengths; the outlines of an object become one mask."""
        return [_to_rle(segment, self.size) for segment in self.segments]

    def bitmaps(self) -> Tensor:
        """(N, H, W) bool."""
        if not self.segments:
            return torch.zeros((0, *self.size), dtype=torch.bool)
        stacked = coco_mask.decode(self.rles())  # (H, W, N), Fortran order: the transpose is a view
        return torch.from_numpy(stacked.transpose(2, 0, 1).astype(bool, order="C"))


@dataclass(frozen=True)
class Target:
    """What is known of one image: N objects in its frame."""

    boxes: Tensor  # (N, 4) float32
    labels: Tensor  # (N,) int64, 0-based foreground class
    size: Size
    masks: Masks | None = None
    keypoints: Tensor | None = None  # (N, K, 3) float32: x, y, visibility 0, 1 or 2
    is_crowd: Tensor | None = None  # (N,) bool; None becomes all False
    image_id: int | str | None = None

    def __post_init__(self) -> None:
        count = _check_boxes(self.boxes, "Target.boxes")
        _check("Target.labels", self.labels, (count,), torch.int64)
        if self.is_crowd is None:
            object.__setattr__(self, "is_crowd", torch.zeros(count, dtype=torch.bool))
        else:
            _check("Target.is_crowd", self.is_crowd, (count,), torch.bool)
        _check_extras("Target", count, self.masks, self.keypoints)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> "Target":
        index = _index_tensor(index, len(self))
        return replace(
            self,
            boxes=self.boxes[index],
            labels=self.labels[index],
            masks=None if self.masks is None else self.masks[index],
            keypoints=None if self.keypoints is None else self.keypoints[index],
            is_crowd=None if self.is_crowd is None else self.is_crowd[index],
        )

    def to(self, device: torch.device | str) -> "Target":
        """The tensors elsewhere; masks stay in the host's memory, where they are drawn from."""
        if self.boxes.device == torch.device(device):
            return self
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {name: v.to(device) for name, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True)
class Batch:
    """B prepared images padded at the right and bottom to one size.

    `sizes` are the images' true heights and widths in the network frame (before padding), `original_sizes` those of
    the pictures they came from, `scales` the (y, x) factors from the original image to the network frame.
    """

    images: Tensor  # (B, 3, H, W) float
    sizes: list[Size]
    original_sizes: list[Size]
    scales: list[tuple[float, float]]
    targets: list[Target] | None = None  # in the network frame

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[1] != 3:
            raise ShapeError(f"Batch.images has shape {tuple(self.images.shape)}; expected (B, 3, H, W)")
        for name in ("sizes", "original_sizes", "scales", "targets"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.images):
                raise ShapeError(f"Batch.{name} has {len(value)} entries for {len(self.images)} images")
        height, width = self.images.shape[2:]
        for index, size in enumerate(self.sizes):
            if not (0 < size[0] <= height and 0 < size[1] <= width):
                raise ShapeError(f"Batch.sizes[{index}] is {size}; the padded batch is only {(height, width)}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice) -> "Batch":
        """Some of the images, padded as they are."""
        parts: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen = {name: part[index] for name, part in parts.items() if part is not None}
        return Batch(**chosen)

    def to(self, device: torch.device | str) -> "Batch":
        """The images elsewhere; targets stay in the host's memory, where they are counted."""
        return replace(self, images=send(self.images, torch.device(device)))


@dataclass(frozen=True)
class RawDetections:
    """What a model found in one image: N objects in the network frame, best first; `postprocess` makes Detections.

    A model that selects its boxes in the original image also keeps them as they are there. Heatmaps may be on a GPU
    while all else is not.
    """

    boxes: Tensor  # (N, 4)
    scores: Tensor  # (N,)
    labels: Tensor  # (N,) int64
    original_boxes: Tensor | None = None  # (N, 4)
    masks: Tensor | None = None  # (N, M, M) probabilities inside each box
    heatmaps: Tensor | None = None  # (N, K, S, S) logits of each keypoint inside each box

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Detections:
    """What a detector found in one image: N objects in the frame of the original image, best first.

    Indexing with a mask, a slice or indices gives a Detections of those rows.
    """

    boxes: Tensor  # (N, 4) float32
    scores: Tensor  # (N,) float32
    labels: Tensor  # (N,) int64
    size: Size
    class_names: tuple[str, ...] = ()
    segments: Masks | None = None
    keypoints: Tensor | None = None  # (N, K, 3) float32: x, y, score
    image: np.ndarray | None = field(default=None, repr=False)  # (H, W, 3) uint8 RGB, kept for drawing
    path: str | None = None

    def __post_init__(self) -> None:
        count = _check_boxes(self.boxes, "Detections.boxes")
        _check("Detections.scores", self.scores, (count,), torch.float32)
        _check("Detections.labels", self.labels, (count,), torch.int64)
        _check_extras("Detections", count, self.segments, self.keypoints)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Any) -> "Detections":
        index = _index_tensor(index, len(self))
        return replace(
            self,
            boxes=self.boxes[index],
            scores=self.scores[index],
            labels=self.labels[index],
            segments=None if self.segments is None else self.segments[index],
            keypoints=None if self.keypoints is None else self.keypoints[index],
        )

    def __iter__(self) -> Iterator["Detections"]:
        return (self[i] for i in range(len(self)))

    @property
    def names(self) -> list[str]:
        """The class name of each object; its number as text where the model has no names."""
        known = len(self.class_names)
        return [self.class_names[label] if label < known else str(label) for label in self.labels.tolist()]

    @property
    def masks(self) -> Tensor | None:
        """(N, H, W) bool, decoded at each access; `segments` is the compact form."""
        return None if self.segments is None else self.segments.bitmaps()

    def draw(self, **style: Any) -> Any:
        """The image with the objects painted on it: a PIL picture. Keywords as in `boxwright.report.draw`."""
        from boxwright.report.draw import draw_detections

        return draw_detections(self, **style)

    def to_coco(self, image_id: int | str, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """COCO results records. `category_ids[label]` are the data set's ids; without it label + 1."""
        rles = None if self.segments is None else self.segments.rles()
        keypoints = None if self.keypoints is None else self.keypoints.flatten(1).tolist()
        records = []
        rows = zip(self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), strict=True)
        for i, ((x1, y1, x2, y2), score, label) in enumerate(rows):
            record: dict[str, Any] = {
                "image_id": image_id,
                "category_id": label + 1 if category_ids is None else category_ids[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            if rles is not None:
                record["segmentation"] = {"size": list(rles[i]["size"]), "counts": rles[i]["counts"].decode("ascii")}
            if keypoints is not None:
                record["keypoints"] = keypoints[i]
            records.append(record)
        return records

    def to_supervision(self) -> Any:
        """A `supervision.Detections` with the same rows."""
        try:
            import supervision
        except ImportError as error:
            raise MissingExtraError(package="supervision", extra="report", purpose="to_supervision()") from error
        return supervision.Detections(
            xyxy=self.boxes.numpy(force=True),
            confidence=self.scores.numpy(force=True),
            class_id=self.labels.numpy(force=True),
            mask=None if self.masks is None else self.masks.numpy(),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def save(self, path: str | Path) -> None:
        """Writes the rows (not the picture) as JSON; `Detections.load` gives them back exactly."""
        rles = None if self.segments is None else self.segments.rles()
        content = {
            "size": list(self.size),
            "class_names": list(self.class_names),
            "path": self.path,
            "boxes": self.boxes.tolist(),
            "scores": self.scores.tolist(),
            "labels": self.labels.tolist(),
            "masks": None if rles is None else [rle["counts"].decode("ascii") for rle in rles],
            "keypoints": None if self.keypoints is None else self.keypoints.tolist(),
        }
        with atomic_write(path, "w") as file:
            json.dump(content, file)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The rows that `save` wrote; what is not such a file is a `ShapeError`."""
        try:
            content = read_json(path)
            size = (int(content["size"][0]), int(content["size"][1]))
            counts, keypoints = content["masks"], content["keypoints"]
            rles: list[Segment] | None = None
            if counts is not None:
                rles = [Rle(size=list(size), counts=text.encode("ascii")) for text in counts]
            return cls(
                boxes=torch.tensor(content["boxes"], dtype=torch.float32).reshape(-1, 4),
                scores=torch.tensor(content["scores"], dtype=torch.float32),
                labels=torch.tensor(content["labels"], dtype=torch.int64),
                size=size,
                class_names=tuple(content["class_names"]),
                segments=None if rles is None else Masks(rles, size),
                keypoints=None if keypoints is None else _keypoint_tensor(keypoints),
                path=content["path"],
            )
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ShapeError(f"{path} holds no saved detections ({error}); write one with Detections.save") from error


def _keypoint_tensor(rows: list[Any]) -> Tensor:
    keypoints = torch.tensor(rows, dtype=torch.float32)
    return keypoints if len(rows) else keypoints.reshape(0, 0, 3)


def _to_rle(segment: Segment, size: Size) -> Rle:
    if isinstance(segment, list):
        if not segment:
            return coco_mask.encode(np.zeros(size, dtype=np.uint8, order="F"))  # type: ignore[no-any-return]
        return coco_mask.merge(coco_mask.frPyObjects([ring.tolist() for ring in segment], *size))  # type: ignore[no-any-return]
    if isinstance(segment["counts"], list):  # COCO's uncompressed form, as crowd regions are written
        return coco_mask.frPyObjects(segment, *size)  # type: ignore[no-any-return]
    return segment


def _check_boxes(boxes: Tensor, name: str) -> int:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError(f"{name} has shape {tuple(boxes.shape)}; expected (N, 4) as x1, y1, x2, y2")
    _check(name, boxes, (len(boxes), 4), torch.float32)
    return len(boxes)


def _check(name: str, value: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(value.shape) != shape:
        raise ShapeError(f"{name} has shape {tuple(value.shape)}; expected {shape}")
    if value.dtype != dtype:
        raise ShapeError(f"{name} is {value.dtype}; expected {dtype}")
    # Reading the values back would make the GPU wait; there the kernels' own results are trusted.
    if value.is_floating_point() and value.device.type == "cpu" and not bool(torch.isfinite(value).all()):
        row = int((~torch.isfinite(value)).nonzero()[0, 0])
        raise ShapeError(f"{name}[{row}] is {value[row].tolist()}; expected finite numbers")


def _check_extras(owner: str, count: int, masks: Masks | None, keypoints: Tensor | None) -> None:
    if masks is not None and len(masks) != count:
        raise ShapeError(f"{owner} has {len(masks)} masks for {count} boxes")
    if keypoints is not None:
        if keypoints.ndim != 3 or keypoints.shape[2] != 3:
            raise ShapeError(f"{owner}.keypoints has shape {tuple(keypoints.shape)}; expected (N, K, 3)")
        _check(f"{owner}.keypoints", keypoints, (count, keypoints.shape[1], 3), torch.float32)


def _index_tensor(index: Any, count: int) -> Tensor:
    """Any of int, slice, bool mask, indices -> int64 indices, so that every field is taken by the same rows."""
    if isinstance(index, Tensor) and index.dtype == torch.bool:
        if tuple(index.shape) != (count,):
            raise ShapeError(f"a mask of shape {tuple(index.shape)} cannot index {count} objects")
        return index.nonzero()[:, 0]
    if isinstance(index, Tensor):
        return index.reshape(-1)
    if isinstance(index, int) and not -count <= index < count:
        raise IndexError(f"object {index} of {count}")
    if isinstance(index, list | tuple) and not index:
        index = slice(0, 0)
    rows = np.arange(count)[np.asarray(index) if isinstance(index, list | tuple) else index]
    return torch.from_numpy(np.array(rows, ndmin=1))
