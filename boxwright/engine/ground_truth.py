"""A data set's annotations as the evaluation compares with them."""

import numpy as np
from numpy.typing import NDArray

from boxwright.data.annotations import CROWD, DIFFICULT, Annotations
from boxwright.data.columns import unpack_decimals
from boxwright.data.formats.coco_write import object_area
from boxwright.evaluation.ground_truth import ID_ZERO, GroundTruth, federated_of, need_finite_boxes
from boxwright.types import Segment


def ground_truth_of(annotations: Annotations) -> GroundTruth:
    """All objects of the data set, in the order of its file; for a COCO file the same as reading it directly.

    An object without area gets that of its mask, else of its box; one without id a number of its own.
    """
    columns, num_images = annotations.columns, len(annotations)
    images = {info.id: info for info in map(annotations.image, range(num_images))}  # of two with one id the last counts
    categories = {category.id: category for category in annotations.categories}
    image_index = {key: place for place, key in enumerate(sorted(images))}
    category_index = {key: place for place, key in enumerate(sorted(categories))}
    places = np.array([image_index[annotations.image_id(i)] for i in range(num_images)], dtype=np.int32)
    image = np.repeat(places, np.diff(columns["first"]))
    labels = np.array([category_index[category.id] for category in annotations.categories], dtype=np.int32)
    category = labels[columns["label"]]
    order = np.lexsort((category, image))
    ids, boxes = _object_ids(annotations)[order], unpack_decimals(columns["box"])[order]
    need_finite_boxes(boxes, ids, source=annotations.source)
    keypoints = _keypoints(annotations, order)
    listed = [images[key] for key in image_index]
    classes = [categories[key] for key in category_index]
    return GroundTruth(
        image_ids=tuple(image_index),
        image_sizes=np.array([info.size for info in listed], dtype=np.int32).reshape(-1, 2),
        image_files=tuple(info.file_name for info in listed),
        category_ids=tuple(category_index),
        category_names=tuple(one.name for one in classes),
        ids=ids,
        image=image[order],
        category=category[order],
        boxes_xywh=boxes,
        area=_areas(annotations)[order],
        is_crowd=(columns["flags"][order] & CROWD != 0).astype(np.uint8),
        is_difficult=(columns["flags"][order] & DIFFICULT != 0).astype(np.uint8),
        keypoints=keypoints,
        num_keypoints=None if keypoints is None else (keypoints[:, :, 2] > 0).sum(axis=1),
        federated=federated_of([info.extra for info in listed], [one.extra or {} for one in classes], category_index),
        notes=(ID_ZERO,) if 0 in ids else (),
        segmentations=_segmentations(annotations, order),
    )


def category_ids_of(annotations: Annotations) -> list[int]:
    """The data set's own number of each label."""
    return [category.id for category in annotations.categories]


def _object_ids(annotations: Annotations) -> NDArray[np.int64]:
    """(M,) those of the file; an object without one, or with one that another had before it, gets a free number."""
    ids = annotations.columns["object_id"].astype(np.int64)
    keeps = np.zeros(len(ids), dtype=bool)
    keeps[np.unique(ids, return_index=True)[1]] = True
    keeps &= ids >= 0
    free = max(int(ids.max(initial=0)) + 1, 1)
    ids[~keeps] = free + np.arange(int((~keeps).sum()))
    return ids


def _areas(annotations: Annotations) -> NDArray[np.float64]:
    """(M,) see `object_area`."""
    areas = annotations.columns["area"].astype(np.float64)
    images = np.repeat(np.arange(len(annotations)), np.diff(annotations.columns["first"]))
    for image in np.unique(images[np.isnan(areas)]).tolist():
        rows, size = annotations.rows(image), annotations.size(image)
        areas[rows.start : rows.stop] = [object_area(info, size) for info in annotations.objects(image)]
    return areas


def _keypoints(annotations: Annotations, order: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """(M, K, 3), unlabelled for objects without; None where no object has any."""
    if not annotations.has_keypoints:
        return None
    keypoints = np.zeros((annotations.num_objects, annotations.num_keypoints, 3))
    keypoints[annotations.columns["keypoint_row"]] = unpack_decimals(annotations.columns["keypoints"])
    return keypoints[order]


def _segmentations(annotations: Annotations, order: NDArray[np.int64]) -> tuple[Segment | None, ...]:
    """Of a set with masks an object without one covers nothing; of a set without masks none has any."""
    segments = [segment for image in range(len(annotations)) for segment in annotations.segments(image)]
    none: Segment | None = [] if annotations.has_masks else None
    return tuple(segments[row] or none for row in order.tolist())
