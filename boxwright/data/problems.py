"""What can be wrong with a data set: one row per kind, and the list a reader or a check fills."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

KINDS: dict[str, str] = {
    # what a reader cannot take in
    "malformed_image": "image entry without an id, a file name or a size",
    "malformed_object": "object that is not readable: missing fields or wrong types",
    "malformed_box": "box that is not four numbers",
    "malformed_mask": "polygon with fewer than three points or an odd number of coordinates",
    "malformed_keypoints": "keypoints that are not x, y, visibility for each name",
    "wrong_rle": "run lengths that do not fit the size of the image",
    "unknown_image": "object of an image that the file does not list",
    "unknown_category": "object of a class that the file does not list",
    "missing_annotation": "image listed in a split without its annotation file",
    # numbers and names
    "duplicate_image_id": "image id used twice",
    "duplicate_object_id": "object id used twice",
    "duplicate_category": "class id or name used twice",
    "duplicate_object": "the same box and class twice in one image",
    "unused_category": "class without a single object",
    # images
    "missing_image": "image file that does not exist",
    "outside_image": "image file outside the data set's folder",
    "corrupt_image": "image file that cannot be decoded",
    "wrong_size": "size in the annotations that is not the image's",
    "exif_rotation": "EXIF rotation that the annotations do not follow",
    "duplicate_image": "the same picture under two names in one split",
    "leaked_image": "the same picture in two splits",
    "unlisted_image": "image file in the folder that no annotation names",
    # geometry
    "nan_box": "box with a value that is not a finite number",
    "empty_box": "box with zero or negative width or height",
    "outside_box": "box that leaves the image",
    "tiny_polygon": "polygon smaller than one pixel",
    "crossing_polygon": "polygon that crosses itself",
    "outside_polygon": "polygon that leaves the image",
    "mask_without_box": "mask whose extent disagrees with its box",
    "outside_keypoints": "labelled keypoint outside its box or the image",
}

HARMLESS = frozenset({"unused_category", "unlisted_image", "outside_image", "crossing_polygon", "outside_keypoints"})


@dataclass(frozen=True)
class Problem:
    """One finding. `image` and `object` are positions in the Annotations where it is about one of those."""

    kind: str
    place: str  # file and key or index, as a person would look it up
    detail: str
    split: str = ""
    image: int | None = None
    object: int | None = None

    def plain(self) -> dict[str, Any]:
        """For JSON, without empty fields; positions are left out."""
        filled = {"kind": self.kind, "split": self.split, "place": self.place, "detail": self.detail}
        return {key: value for key, value in filled.items() if value}


Losses = Counter[str]  # what a format has no place for, with how often; see convert.py


class Problems:
    """Findings in the order they were met."""

    def __init__(self, found: Iterable[Problem] = ()) -> None:
        self.found = list(found)

    def add(self, kind: str, place: str, detail: str, **where: Any) -> None:
        """`kind` is one of KINDS; `where` are split, image and object of a Problem."""
        assert kind in KINDS, kind
        self.found.append(Problem(kind, place, detail, **where))

    def extend(self, others: Iterable[Problem]) -> None:
        """Adds findings after those that are there."""
        self.found.extend(others)

    def counts(self) -> dict[str, int]:
        """Kinds in the order of KINDS."""
        counted = Counter(problem.kind for problem in self.found)
        return {kind: counted[kind] for kind in KINDS if counted[kind]}

    def of(self, kind: str) -> list[Problem]:
        """Those of one kind, in the order they were met."""
        return [problem for problem in self.found if problem.kind == kind]

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)
