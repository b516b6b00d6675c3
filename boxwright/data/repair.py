"""`boxwright data check --fix OUT`: a repaired copy. What was found decides; the original is only read."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from boxwright.data.annotations import Annotations, ObjectInfo
from boxwright.data.check import CheckReport
from boxwright.data.check_images import PictureFacts
from boxwright.data.formats.builder import AnnotationsBuilder
from boxwright.data.formats.convert import Format, write_dataset
from boxwright.data.image_files import need_folder_free
from boxwright.data.problems import Problem
from boxwright.errors import DatasetError
from boxwright.geometry.masks import clip_rings, segment_box
from boxwright.geometry.rings import ring_area
from boxwright.types import Size

LEFT = frozenset({"unused_category", "unlisted_image"})  # a program cannot decide what was meant


@dataclass
class Repairs:
    """What was done, by kind of problem, and what was left as it was."""

    out: Path
    done: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)

    def plain(self) -> dict[str, Any]:
        """For --json: counts by kind of problem."""
        return {"out": str(self.out), "repaired": dict(self.done), "left": dict(self.left)}


def repair_dataset(
    report: CheckReport, out: Path, *, allow_outside: bool = False, on_image: Callable[[], None] = lambda: None
) -> Repairs:
    """Writes the repaired splits to the new folder `out`, in the format of the source."""
    need_folder_free(out)
    if not report.pictures:
        raise DatasetError("a repair needs the pictures to have been looked at; run the check with them")
    repairs = Repairs(out)
    repaired: dict[str, Annotations] = {}
    unturned: set[Path] = set()
    for split, annotations in report.splits.items():
        mender = _Mender(split, annotations, report.pictures[split], report.problems.found, repairs)
        repaired[split] = replace(mender.mend(), homes=annotations.homes)
        unturned |= mender.unturned
    formats = {annotations.format for annotations in repaired.values()}
    to = cast(Format, formats.pop())
    write_dataset(repaired, out, to=to, unturned=unturned, allow_outside=allow_outside, on_image=on_image)
    return repairs


class _Mender:
    """One split."""

    def __init__(
        self, split: str, annotations: Annotations, pictures: list[PictureFacts], found: list[Problem], repairs: Repairs
    ) -> None:
        self.annotations, self.pictures, self.repairs = annotations, pictures, repairs
        self.by_image: dict[int, set[str]] = {}
        self.by_object: dict[int, set[str]] = {}
        self.unturned: set[Path] = set()
        for problem in found:
            if problem.split == split:
                self._sort_in(problem)

    def _sort_in(self, problem: Problem) -> None:
        if problem.object is not None:
            self.by_object.setdefault(problem.object, set()).add(problem.kind)
        elif problem.image is not None:
            self.by_image.setdefault(problem.image, set()).add(problem.kind)
        else:  # the reader has left it out already, or it concerns the set as a whole
            where = self.repairs.left if problem.kind in LEFT else self.repairs.done
            where[problem.kind] += 1

    def mend(self) -> Annotations:
        builder = AnnotationsBuilder(num_keypoints=self.annotations.num_keypoints)
        for index in range(len(self.annotations)):
            size = self._mended_size(index)
            if size is None:
                continue
            image = builder.add_image(replace(self.annotations.image(index), size=size))
            for row, given in zip(self.annotations.rows(index), self.annotations.objects(index), strict=True):
                mended = self._mended_object(row, given, size)
                if mended is not None:
                    builder.add_object(image, mended)
        return builder.build(
            source=self.annotations.source,
            image_root=self.annotations.image_root,
            categories=self.annotations.categories,
            document=self.annotations.document,
            format=self.annotations.format,
        )

    def _mended_size(self, index: int) -> Size | None:
        """The size the image should have; None where it has to go."""
        size = self.annotations.size(index)
        for kind in sorted(self.by_image.get(index, ())):
            if kind in ("missing_image", "corrupt_image", "duplicate_image"):
                self.repairs.done[kind] += 1
                return None
            if kind == "leaked_image":
                self.repairs.done[kind] += 1
                return None
            if kind == "exif_rotation":
                self._unturn(index)
            if kind == "wrong_size":
                self.repairs.done[kind] += 1
                if not self._fits(index, self.pictures[index].upright):
                    return None
                size = self.pictures[index].upright
        return size

    def _unturn(self, index: int) -> None:
        picture = self.pictures[index]
        decided = picture.stored != picture.upright
        (self.repairs.done if decided else self.repairs.left)["exif_rotation"] += 1
        if decided:
            self.unturned.add(self.annotations.path(index))

    def _fits(self, index: int, size: Size) -> bool:
        """All boxes lie in an image of this size, so the size was wrong and not the boxes."""
        boxes = [info.box_xywh for info in self.annotations.objects(index)]
        return all(x + w <= size[1] + 1 and y + h <= size[0] + 1 for x, y, w, h in boxes)

    def _mended_object(self, row: int, given: ObjectInfo, size: Size) -> ObjectInfo | None:
        info: ObjectInfo | None = given
        for kind in sorted(self.by_object.get(row, ()), key=list(_MENDING).index):
            assert info is not None
            mended = _MENDING[kind](info, size)
            (self.repairs.left if mended is info else self.repairs.done)[kind] += 1
            info = mended
            if info is None:
                return None
        return info


def _drop(info: ObjectInfo, size: Size) -> None:
    return None


def _leave(info: ObjectInfo, size: Size) -> ObjectInfo:
    return info


def _box_from_mask(info: ObjectInfo, size: Size) -> ObjectInfo | None:
    """A new box around the mask; without a mask nothing says where the object is."""
    if not info.segment:
        return None
    x1, y1, x2, y2 = segment_box(info.segment, size)
    return replace(info, box_xywh=(x1, y1, x2 - x1, y2 - y1)) if x2 > x1 and y2 > y1 else None


def _clip_box(info: ObjectInfo, size: Size) -> ObjectInfo | None:
    x, y, width, height = info.box_xywh
    x1, y1, x2, y2 = max(x, 0.0), max(y, 0.0), min(x + width, float(size[1])), min(y + height, float(size[0]))
    return replace(info, box_xywh=(x1, y1, x2 - x1, y2 - y1)) if x2 > x1 and y2 > y1 else None


def _drop_tiny_rings(info: ObjectInfo, size: Size) -> ObjectInfo | None:
    assert isinstance(info.segment, list)
    rings = [ring for ring in info.segment if abs(ring_area(ring)) >= 1]
    return replace(info, segment=rings) if rings else None


def _clip_mask(info: ObjectInfo, size: Size) -> ObjectInfo | None:
    assert isinstance(info.segment, list)
    rings = clip_rings(info.segment, (0.0, 0.0, float(size[1]), float(size[0])))
    return replace(info, segment=rings) if rings else None


def _clear_keypoints(info: ObjectInfo, size: Size) -> ObjectInfo:
    assert info.keypoints is not None
    points = info.keypoints.copy()
    outside = ((points[:, :2] < 0) | (points[:, :2] > (size[1], size[0]))).any(axis=1) & (points[:, 2] > 0)
    points[outside] = 0
    return replace(info, keypoints=points) if outside.any() else info


_MENDING: dict[str, Callable[[ObjectInfo, Size], ObjectInfo | None]] = {  # in the order they are applied
    "duplicate_object": _drop,
    "tiny_polygon": _drop_tiny_rings,
    "outside_polygon": _clip_mask,
    "nan_box": _box_from_mask,
    "empty_box": _box_from_mask,
    "mask_without_box": _box_from_mask,
    "outside_box": _clip_box,
    "outside_keypoints": _clear_keypoints,
    "crossing_polygon": _leave,
}
