"""A pipeline of Albumentations as a step. The library is the user's: nothing here needs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.random import Generator

from boxwright.data.sample import Sample, settle_target
from boxwright.errors import ConfigError
from boxwright.geometry.masks import segment_to_bitmap
from boxwright.types import Masks, Target

NamedTransform = Mapping[str, Mapping[str, Any]]  # one name with its arguments


def pipeline_of(transforms: Sequence[NamedTransform]) -> list[Any]:
    """`[{"CLAHE": {"p": 0.3}}, ...]`, as settings have it, -> the transforms themselves."""
    library = _albumentations()
    return [_transform(library, name, arguments) for one in transforms for name, arguments in one.items()]


def _transform(library: Any, name: str, arguments: Mapping[str, Any]) -> Any:
    kind = getattr(library, name, None)
    if not isinstance(kind, type) or not issubclass(kind, library.BasicTransform):
        raise ConfigError(f"data.augment.albumentations: albumentations has no transform {name!r}")
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"data.augment.albumentations: {name} cannot be made: {error}") from error


def _albumentations() -> Any:
    try:
        import albumentations
    except ImportError as error:
        raise ConfigError(
            f"an Albumentations pipeline needs that library ({error}): pip install albumentations"
        ) from error
    return albumentations


@dataclass(frozen=True)
class AlbumentationsStep:
    """`pipeline` is an `albumentations.Compose` or a list of its transforms, without parameters for boxes or keypoints.

    Boxes, masks and keypoints follow; left and right keypoints do not change places in its flips, so flip with `Flip`.
    """

    pipeline: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "pipeline", _with_parameters(self.pipeline))

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        seed = getattr(self.pipeline, "set_random_seed", None)
        if seed is None:
            raise ConfigError("this albumentations is too old to be seeded; install version 1.4.19 or later")
        seed(int(rng.integers(0, 2**31)))
        return _from_result(self.pipeline(**_to_arguments(sample)), sample.target)


def _with_parameters(pipeline: Any) -> Any:
    albumentations = _albumentations()
    steps = getattr(pipeline, "transforms", pipeline)
    return albumentations.Compose(
        list(steps),
        bbox_params=albumentations.BboxParams(format="pascal_voc", label_fields=["rows"], min_area=0.0, clip=True),
        keypoint_params=albumentations.KeypointParams(format="xy", remove_invisible=False),
    )


def _to_arguments(sample: Sample) -> dict[str, Any]:
    target = sample.target
    arguments: dict[str, Any] = {
        "image": sample.image,
        "bboxes": target.boxes.numpy().astype(np.float64),
        "rows": np.arange(len(target)),
        "keypoints": np.zeros((0, 2)),
    }
    if target.masks is not None and len(target):
        bitmaps = [segment_to_bitmap(segment, target.size).astype(np.uint8) for segment in target.masks.segments]
        arguments["masks"] = np.stack(bitmaps)
    if target.keypoints is not None:
        arguments["keypoints"] = target.keypoints[..., :2].reshape(-1, 2).double().numpy()
    return arguments


def _from_result(result: dict[str, Any], before: Target) -> Sample:
    image = np.ascontiguousarray(result["image"])
    rows = np.asarray(result["rows"], dtype=np.int64).reshape(-1)
    boxes = torch.from_numpy(np.asarray(result["bboxes"], dtype=np.float32).reshape(-1, 4)[:, :4].copy())
    size = (image.shape[0], image.shape[1])
    kept = before[torch.from_numpy(rows)]
    masks = None
    if before.masks is not None:
        bitmaps = np.asarray(result["masks"])[rows] if len(before) else np.zeros((0, *size))
        masks = Masks.from_bitmaps(bitmaps.astype(bool))
    keypoints = kept.keypoints
    if before.keypoints is not None and keypoints is not None:
        points = np.asarray(result["keypoints"], dtype=np.float32)[:, :2].reshape(*before.keypoints.shape[:2], 2)
        moved = torch.cat((torch.from_numpy(points)[torch.from_numpy(rows)], keypoints[..., 2:]), dim=-1)
        keypoints = moved * (moved[..., 2:] > 0)
    return Sample(image, settle_target(replace(kept, boxes=boxes, size=size, masks=masks, keypoints=keypoints)))
