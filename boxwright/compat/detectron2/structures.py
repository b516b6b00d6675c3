"""Detectron2's results: `Boxes` and `Instances`, as far as scripts read them."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from boxwright.errors import ShapeError
from boxwright.types import Detections


class Boxes:
    """(N, 4) float32 boxes x1, y1, x2, y2 under `tensor`."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.to(torch.float32).reshape(-1, 4)

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, item: Any) -> "Boxes":
        return Boxes(self.tensor[item].reshape(-1, 4))

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensor)

    def area(self) -> Tensor:
        """(N,)"""
        return (self.tensor[:, 2] - self.tensor[:, 0]) * (self.tensor[:, 3] - self.tensor[:, 1])

    def get_centers(self) -> Tensor:
        """(N, 2) as x, y."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2

    def to(self, *place: Any, **options: Any) -> "Boxes":
        """A copy elsewhere; arguments as for `Tensor.to`, but the boxes stay float32."""
        return Boxes(self.tensor.to(*place, **options))

    @property
    def device(self) -> torch.device:
        """Of `tensor`."""
        return self.tensor.device


class Instances:
    """N objects of one picture: fields of equal length, read as attributes. `image_size` is height, width."""

    def __init__(self, image_size: tuple[int, int], **fields: Any) -> None:
        self.__dict__["_image_size"] = (int(image_size[0]), int(image_size[1]))
        self.__dict__["_fields"] = {}
        for name, value in fields.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the picture, in pixels."""
        size: tuple[int, int] = self.__dict__["_image_size"]
        return size

    def __setattr__(self, name: str, value: Any) -> None:
        self.set(name, value)

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("_fields", {})  # not there yet while a copy is made
        if name not in fields:
            raise AttributeError(f"these instances have no field {name!r}; they have {', '.join(fields)}")
        return fields[name]

    def set(self, name: str, value: Any) -> None:
        """A ShapeError where `value` has another length than the fields that are there."""
        if self.get_fields() and len(value) != len(self):
            raise ShapeError(f"{name} has {len(value)} entries for {len(self)} instances")
        self.__dict__["_fields"][name] = value

    def get(self, name: str) -> Any:
        """The field itself, no copy; a KeyError where there is none."""
        return self.__dict__["_fields"][name]

    def has(self, name: str) -> bool:
        """Whether there is a field of this name."""
        return name in self.__dict__["_fields"]

    def remove(self, name: str) -> None:
        """A KeyError where there is no such field."""
        del self.__dict__["_fields"][name]

    def get_fields(self) -> dict[str, Any]:
        """By name, in the order they were set: the dictionary itself, no copy."""
        fields: dict[str, Any] = self.__dict__["_fields"]
        return fields

    def __len__(self) -> int:
        return next((len(value) for value in self.get_fields().values()), 0)

    def __getitem__(self, item: Any) -> "Instances":
        """Rows by a mask, indices, a slice or one number."""
        if isinstance(item, int):
            if not -len(self) <= item < len(self):
                raise IndexError(f"instance {item} of {len(self)}")
            item = slice(item, item + 1 or None)
        return Instances(self.image_size, **{name: value[item] for name, value in self.get_fields().items()})

    def to(self, *place: Any, **options: Any) -> "Instances":
        """New Instances, with tensors and Boxes elsewhere; arguments as for `Tensor.to`. Other fields are shared."""
        moved = {n: v.to(*place, **options) if hasattr(v, "to") else v for n, v in self.get_fields().items()}
        return Instances(self.image_size, **moved)

    def __repr__(self) -> str:
        return f"Instances({len(self)} of a picture of {self.image_size}, with {', '.join(self.get_fields())})"


def to_instances(found: Detections) -> Instances:
    """pred_boxes, scores, pred_classes, and where the model has them pred_masks (N, H, W) bool and pred_keypoints
    (N, K, 3): x, y, score."""
    instances = Instances(found.size, pred_boxes=Boxes(found.boxes), scores=found.scores, pred_classes=found.labels)
    if found.segments is not None:
        instances.set("pred_masks", found.segments.bitmaps())
    if found.keypoints is not None:
        instances.set("pred_keypoints", found.keypoints)
    return instances


def to_proposals(found: Detections) -> Instances:
    """Of a model that ends with its proposals: proposal_boxes and objectness_logits."""
    return Instances(found.size, proposal_boxes=Boxes(found.boxes), objectness_logits=found.scores.logit())
