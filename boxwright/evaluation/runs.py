"""Many masks of many images packed into three arrays, so that kernels can walk them without Python objects."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from boxwright.errors import DatasetError
from boxwright.ops.dispatch import on_host
from boxwright.types import Size


@dataclass(frozen=True, eq=False)
class Runs:
    """N run-length masks in COCO's compressed text: mask i is text[first[i]:first[i + 1]].

    The text may hold more than these masks: slices share it.
    """

    text: NDArray[np.uint8]
    first: NDArray[np.int64]  # (N + 1,)
    sizes: NDArray[np.int32]  # (N, 2) height, width
    boxes_xywh: NDArray[np.float64]  # (N, 4), integers
    area: NDArray[np.int64]  # (N,) pixels

    def __len__(self) -> int:
        return len(self.area)

    def take(self, rows: NDArray[Any] | slice) -> "Runs":
        """Some masks by mask or position; a slice copies no text."""
        if isinstance(rows, slice):
            rest = self.sizes[rows], self.boxes_xywh[rows], self.area[rows]
            return Runs(self.text, self.first[rows.start : rows.stop + 1], *rest)
        lengths = np.diff(self.first)[rows]
        first = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        places = np.arange(first[-1]) + np.repeat(self.first[:-1][rows] - first[:-1], lengths)
        return Runs(self.text[places], first, self.sizes[rows], self.boxes_xywh[rows], self.area[rows])

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """As the kernels take them."""
        return self.text, self.first, self.sizes, self.boxes_xywh, self.area

    @cached_property
    def lengths(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """counts (C,), first (N + 1,): the run lengths themselves."""
        return on_host("coco_runs").unpack_runs(self.text, self.first)  # type: ignore[no-any-return]

    def rle(self, index: int) -> dict[str, Any]:
        """One mask as COCO writes it."""
        text = self.text[self.first[index] : self.first[index + 1]].tobytes()
        return {"size": self.sizes[index].tolist(), "counts": text.decode("ascii")}


def join_runs(parts: Sequence[Runs]) -> Runs:
    """The masks of all parts, one part after the other."""
    if not parts:
        return pack_rles([], what="mask")
    texts = [part.text[part.first[0] : part.first[-1]] for part in parts]
    starts = np.cumsum([0] + [len(text) for text in texts], dtype=np.int64)
    first = [part.first[:-1] - part.first[0] + start for part, start in zip(parts, starts[:-1], strict=True)]
    return Runs(
        text=np.concatenate(texts),
        first=np.concatenate([*first, starts[-1:]]),
        sizes=np.concatenate([part.sizes for part in parts]),
        boxes_xywh=np.concatenate([part.boxes_xywh for part in parts]),
        area=np.concatenate([part.area for part in parts]),
    )


def pack_rles(rles: Sequence[Any], *, what: str) -> Runs:
    """COCO RLEs (`counts` as text or bytes) -> Runs. `what` names the items in errors: "detection", "annotation"."""
    try:
        texts = [rle["counts"] for rle in rles]
        flat = np.fromiter(chain.from_iterable([rle["size"] for rle in rles]), dtype=np.int32)
        sizes = flat.reshape(len(rles), 2)
        encoded = [text.encode("ascii") if isinstance(text, str) else bytes(text) for text in texts]
    except (KeyError, TypeError, ValueError, UnicodeEncodeError) as error:
        raise DatasetError(
            f"a mask of the {what}s is not a COCO RLE ({error}); expected {{'size': [height, width], 'counts': text}}"
        ) from error
    first = np.concatenate(([0], np.cumsum([len(text) for text in encoded], dtype=np.int64))).astype(np.int64)
    text = np.frombuffer(bytearray(b"".join(encoded)), dtype=np.uint8)
    boxes, area, bad = on_host("coco_runs").measure_runs(text, first, sizes)
    if bad >= 0:
        height, width = sizes[bad].tolist()
        raise DatasetError(
            f"the mask of {what} number {bad} is damaged: its run lengths do not fill {height} x {width} pixels; "
            "write it again with pycocotools.mask.encode"
        )
    return Runs(text, first, sizes, boxes, area)


def rles_of(segmentations: Iterable[Any], sizes: Iterable[Size], *, what: str) -> list[Any]:
    """Polygons, plain run lists or RLEs, with the (height, width) of their images -> compressed RLEs."""
    rles = []
    for index, (segmentation, size) in enumerate(zip(segmentations, sizes, strict=True)):
        try:
            rles.append(_to_rle(segmentation, size))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DatasetError(
                f"the segmentation of {what} number {index} cannot be read ({error}); expected polygons of at least "
                "three points, or a run-length mask with size and counts"
            ) from error
    return rles


def _to_rle(segmentation: Any, size: Size) -> Any:
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, *size)
    if isinstance(segmentation, dict):
        return segmentation
    if not segmentation:  # no polygon: nothing is covered
        return coco_mask.encode(np.zeros(size, dtype=np.uint8, order="F"))
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
