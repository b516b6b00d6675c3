"""A data set's annotations as the evaluation compares with them."""

from collections.abc import Iterator
from typing import Any

from boxwright.data.annotations import Annotations, ObjectInfo
from boxwright.data.formats.coco_write import object_area, plain_segment
from boxwright.evaluation.ground_truth import GroundTruth, read_ground_truth


def ground_truth_of(annotations: Annotations) -> GroundTruth:
    """All objects of the data set, in the order of its file; for a COCO file the same as reading it directly.

    An object without area gets that of its mask, else of its box; one without id a number of its own.
    """
    return read_ground_truth(
        {
            "images": [_image(annotations, index) for index in range(len(annotations))],
            "annotations": list(_objects(annotations)),
            "categories": [
                {**(category.extra or {}), "id": category.id, "name": category.name}
                for category in annotations.categories
            ],
        }
    )


def category_ids_of(annotations: Annotations) -> list[int]:
    """The data set's own number of each label."""
    return [category.id for category in annotations.categories]


def _image(annotations: Annotations, index: int) -> dict[str, Any]:
    info = annotations.image(index)
    return {**info.extra, "id": info.id, "file_name": info.file_name, "height": info.size[0], "width": info.size[1]}


def _objects(annotations: Annotations) -> Iterator[dict[str, Any]]:
    ids = annotations.columns["object_id"].tolist()
    free = max(ids, default=0) + 1
    seen: set[int] = set()
    for image in range(len(annotations)):
        for row, info in zip(annotations.rows(image), annotations.objects(image), strict=True):
            if ids[row] < 0 or ids[row] in seen:
                ids[row], free = max(free, 1), max(free, 1) + 1
            seen.add(ids[row])
            yield _object(annotations, image, info, ids[row])


def _object(annotations: Annotations, image: int, info: ObjectInfo, identifier: int) -> dict[str, Any]:
    entry: dict[str, Any] = {
        **(info.extra or {}),
        "id": identifier,
        "image_id": annotations.image_id(image),
        "category_id": annotations.categories[info.label].id,
        "bbox": list(info.box_xywh),
        "area": object_area(info, annotations.size(image)),
        "iscrowd": int(info.is_crowd),
        "difficult": int(info.is_difficult),
    }
    if annotations.has_masks:
        entry["segmentation"] = plain_segment(info.segment)
    if info.keypoints is not None:
        entry["keypoints"] = info.keypoints.reshape(-1).tolist()
        entry["num_keypoints"] = int((info.keypoints[:, 2] > 0).sum())
    return entry
