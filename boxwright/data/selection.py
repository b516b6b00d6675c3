"""Which images are trained on, how often, and which go together: numbers per image, from the columns alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boxwright.data.annotations import CROWD, UNUSABLE, Annotations
from boxwright.errors import DatasetError

Positions = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SelectionRule:
    """Which images are trained on, how often, and which go together; how many may be bad.

    Names, meaning and defaults are those of the settings `data`.
    """

    only_with_objects: bool = True
    min_keypoints: int = 0
    classes: Sequence[str] = ()
    repeat_factor: float | None = None
    aspect_grouping: bool = True
    max_bad_share: float = 0.01


def select_images(
    annotations: Annotations,
    *,
    only_with_objects: bool = True,
    min_keypoints: int = 0,
    classes: Sequence[str] = (),
) -> Positions:
    """Positions of the images that pass.

    `only_with_objects` asks for an object that is usable and no crowd, `classes` for such an object of one of these
    classes, `min_keypoints` for so many labelled keypoints in the image.
    """
    keep = np.ones(len(annotations), dtype=bool)
    counted = annotations.columns["flags"] & (CROWD | UNUSABLE) == 0
    if classes:
        unknown = [name for name in classes if name not in annotations.class_names]
        if unknown:
            raise DatasetError(
                f"{annotations.source} has no class {unknown[0]!r}; it has {', '.join(annotations.class_names[:20])}"
            )
        wanted = [label for label, name in enumerate(annotations.class_names) if name in classes]
        keep &= _per_image(annotations, counted & np.isin(annotations.columns["label"], wanted)) > 0
    if only_with_objects:
        keep &= _per_image(annotations, counted) > 0
    if min_keypoints:
        keep &= _per_image(annotations, counted * _labelled_keypoints(annotations)) >= min_keypoints
    return np.flatnonzero(keep)


def _per_image(annotations: Annotations, values: NDArray[np.generic]) -> NDArray[np.int64]:
    """(M,) numbers of the objects -> (I,) their sums."""
    first = annotations.columns["first"]
    total = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
    sums: NDArray[np.int64] = total[first[1:]] - total[first[:-1]]
    return sums


def _labelled_keypoints(annotations: Annotations) -> NDArray[np.int64]:
    """(M,) how many keypoints of each object are labelled."""
    labelled = np.zeros(annotations.num_objects, dtype=np.int64)
    labelled[annotations.columns["keypoint_row"]] = (annotations.columns["keypoints"][..., 2] > 0).sum(axis=1)
    return labelled


def repeat_factors(annotations: Annotations, images: Positions, *, share: float) -> NDArray[np.float64]:
    """How often each of `images` appears in an epoch, 1 or more.

    A class found in the share f of the images asks for max(1, sqrt(share / f)); an image follows its rarest class, as
    LVIS does it.
    """
    positions = np.full(len(annotations), -1)
    positions[images] = np.arange(len(images))
    image_of = np.repeat(np.arange(len(annotations)), np.diff(annotations.columns["first"]))
    labels = annotations.columns["label"]
    pairs = np.unique(np.stack((positions[image_of], labels)), axis=1)
    pairs = pairs[:, pairs[0] >= 0]
    images_with = np.bincount(pairs[1], minlength=len(annotations.categories))
    factors = np.maximum(1.0, np.sqrt(share * len(images) / np.maximum(images_with, 1)))
    repeats = np.ones(len(images))
    np.maximum.at(repeats, pairs[0], factors[pairs[1]])
    return repeats


def aspect_groups(annotations: Annotations, images: Positions) -> NDArray[np.int64]:
    """0 for images wider than high, 1 for the others: a batch of one group has less padding."""
    height, width = annotations.columns["height"][images], annotations.columns["width"][images]
    return (width <= height).astype(np.int64)
