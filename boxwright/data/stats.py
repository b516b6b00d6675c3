"""What a data set consists of, in numbers: classes, sizes, shapes, objects per image, and how anchors fit them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.config import parts
from boxwright.data.annotations import CROWD, DIFFICULT, UNUSABLE, Annotations
from boxwright.data.columns import unpack_decimals
from boxwright.data.resize import ResizeMethod, shortest_edge_scale

SMALL, MEDIUM = 32.0**2, 96.0**2  # COCO's limits of area
PERCENTILES = (0, 5, 25, 50, 75, 95, 100)
GOOD_FIT = 0.7  # IoU from which an anchor of the same centre counts as a good start


@dataclass(frozen=True, kw_only=True)
class AnchorShapes:
    """Anchors by their shapes alone, in pixels of the network frame, and the scale that images are brought to."""

    sizes: Sequence[float]
    aspect_ratios: Sequence[float]  # height / width
    short: int = 800
    long: int | None = 1333
    method: ResizeMethod = "pillow"

    def shapes(self) -> NDArray[np.float64]:
        """(A, 2) height and width."""
        sizes, ratios = np.meshgrid(self.sizes, np.sqrt(self.aspect_ratios))
        return np.stack((sizes * ratios, sizes / ratios), axis=-1).reshape(-1, 2)


def anchor_shapes(anchors: parts.Anchors, resize: parts.Resize) -> AnchorShapes:
    """Those of all levels of a config, and the scale of its test images."""
    return AnchorShapes(
        sizes=sorted({size for level in anchors.sizes for size in level}),
        aspect_ratios=sorted({ratio for level in anchors.aspect_ratios for ratio in level}),
        short=resize.short_test,
        long=resize.long_test,
        method=resize.method,
    )


@dataclass(frozen=True)
class BoxTable:
    """The usable boxes of a split that are no crowds, as columns of equal length."""

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    width: NDArray[np.float64]
    height: NDArray[np.float64]

    @property
    def size(self) -> NDArray[np.float64]:
        """Square root of the area."""
        return np.sqrt(self.width * self.height)


def box_table(annotations: Annotations) -> BoxTable:
    """Of the annotations that are neither crowds nor UNUSABLE; sides in pixels of the original images."""
    keep = annotations.columns["flags"] & (CROWD | UNUSABLE) == 0
    image = np.repeat(np.arange(len(annotations)), np.diff(annotations.columns["first"]))[keep]
    sides = unpack_decimals(annotations.columns["box"][keep])[:, 2:]
    return BoxTable(image, annotations.columns["label"][keep].astype(np.int64), sides[:, 0], sides[:, 1])


def dataset_stats(splits: Mapping[str, Annotations], *, anchors: AnchorShapes | None = None) -> dict[str, Any]:
    """Numbers of each split, as JSON can hold them. Sizes are in pixels of the original images. Objects of classes
    that are not there are a DatasetError."""
    for annotations in splits.values():
        annotations.need_known_names()
    return {name: split_stats(annotations, anchors=anchors) for name, annotations in splits.items()}


def split_stats(annotations: Annotations, *, anchors: AnchorShapes | None = None) -> dict[str, Any]:
    """As `dataset_stats`, of one split; "keypoints_labelled" and "anchors" only where there are some."""
    table, flags = box_table(annotations), annotations.columns["flags"]
    areas = table.width * table.height
    per_image = np.bincount(table.image, minlength=len(annotations))
    stats: dict[str, Any] = {
        "images": len(annotations),
        "images_without_objects": int((per_image == 0).sum()),
        "objects": len(areas),
        "crowds": int((flags & CROWD != 0).sum()),
        "difficult": int((flags & DIFFICULT != 0).sum()),
        "unusable": int((flags & UNUSABLE != 0).sum()) + len(annotations.problems),
        "with_masks": annotations.has_masks,
        "classes": _class_counts(annotations, table),
        "image_height": _percentiles(annotations.columns["height"]),
        "image_width": _percentiles(annotations.columns["width"]),
        "objects_per_image": _percentiles(per_image),
        "box_size": _percentiles(table.size),
        "box_aspect_ratio": _percentiles(table.height / table.width),
        "share_of_boxes": {
            "small": _share(areas < SMALL),
            "medium": _share((areas >= SMALL) & (areas < MEDIUM)),
            "large": _share(areas >= MEDIUM),
        },
    }
    if annotations.has_keypoints:
        stats["keypoints_labelled"] = _keypoint_shares(annotations)
    if anchors is not None:
        stats["anchors"] = _anchor_stats(annotations, table, anchors)
    return stats


def _class_counts(annotations: Annotations, table: BoxTable) -> dict[str, dict[str, int]]:
    num_classes = len(annotations.categories)
    objects = np.bincount(table.label, minlength=num_classes)
    pairs = np.unique(np.stack((table.image, table.label)), axis=1)
    images = np.bincount(pairs[1], minlength=num_classes)
    names = annotations.class_names
    return {name: {"objects": int(objects[i]), "images": int(images[i])} for i, name in enumerate(names)}


def _keypoint_shares(annotations: Annotations) -> dict[str, float]:
    """Of the objects that have keypoints, the share in which each is labelled."""
    labelled = (annotations.columns["keypoints"][..., 2] > 0).mean(axis=0)
    names = annotations.keypoint_names or tuple(str(k) for k in range(annotations.num_keypoints))
    return {name: round(float(share), 4) for name, share in zip(names, labelled, strict=True)}


def _percentiles(values: NDArray[Any]) -> dict[str, float]:
    if len(values) == 0:
        return {}
    found = np.percentile(values, PERCENTILES)
    return {f"p{percent}": round(float(value), 3) for percent, value in zip(PERCENTILES, found, strict=True)}


def _share(which: NDArray[np.bool_]) -> float:
    return round(float(which.mean()), 4) if len(which) else 0.0


def _anchor_stats(annotations: Annotations, table: BoxTable, anchors: AnchorShapes) -> dict[str, Any]:
    fit = anchor_fit(annotations, table, anchors)
    scale = network_scales(annotations, anchors)[table.image]
    return {
        "sizes": list(anchors.sizes),
        "aspect_ratios": list(anchors.aspect_ratios),
        "box_size_in_network": _percentiles(table.size * scale),
        "best_iou": _percentiles(fit),
        "share_well_covered": _share(fit >= GOOD_FIT),
        "share_below_half": _share(fit < 0.5),
    }


def network_scales(annotations: Annotations, anchors: AnchorShapes) -> NDArray[np.float64]:
    """(I,) the factor each image is resized by."""
    limits: dict[str, Any] = {"short": anchors.short, "long": anchors.long, "method": anchors.method}
    sizes = (annotations.size(image) for image in range(len(annotations)))
    return np.array([shortest_edge_scale(size, **limits) for size in sizes])


def anchor_fit(annotations: Annotations, table: BoxTable, anchors: AnchorShapes) -> NDArray[np.float64]:
    """(M,) the best IoU of each box with an anchor of the same centre: what the shapes allow at best."""
    scale = network_scales(annotations, anchors)[table.image]
    height, width = table.height * scale, table.width * scale
    best = np.zeros(len(height))
    for anchor_height, anchor_width in anchors.shapes():
        common = np.minimum(height, anchor_height) * np.minimum(width, anchor_width)
        union = height * width + anchor_height * anchor_width - common
        np.maximum(best, common / union, out=best)
    return best
