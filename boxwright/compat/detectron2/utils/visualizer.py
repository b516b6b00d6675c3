"""`Visualizer.draw_instance_predictions` over our own drawing."""

from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from boxwright.compat.detectron2.structures import Instances
from boxwright.files import atomic_write
from boxwright.report.draw import draw_detections
from boxwright.types import Detections, Masks


class ColorMode(Enum):
    """Accepted, and without effect: each class has a colour of its own."""

    IMAGE = 0
    SEGMENTATION = 1
    IMAGE_BW = 2


class VisImage:
    """A drawn picture."""

    def __init__(self, picture: Image.Image) -> None:
        self.picture = picture

    def get_image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return np.array(self.picture)

    def save(self, filepath: str | Path) -> None:
        """In the format of the file's ending; PNG where Pillow has none for it."""
        with atomic_write(filepath) as file:
            self.picture.save(file, format=Image.registered_extensions().get(Path(filepath).suffix.lower(), "PNG"))


class Visualizer:
    """Paints on (H, W, 3) uint8 RGB, enlarged by `scale`; `metadata.thing_classes` names the classes."""

    def __init__(
        self,
        img_rgb: np.ndarray,
        metadata: Any = None,
        scale: float = 1.0,
        instance_mode: ColorMode = ColorMode.IMAGE,
    ) -> None:
        self.image = np.ascontiguousarray(img_rgb, dtype=np.uint8)
        self.names = tuple(getattr(metadata, "thing_classes", ()))
        self.scale = scale

    def draw_instance_predictions(self, predictions: Instances) -> VisImage:
        """Boxes and classes, and where there are any scores, masks and keypoints, on a copy of the picture."""
        moved = predictions.to("cpu")
        masks = moved.get("pred_masks") if moved.has("pred_masks") else None
        found = Detections(
            boxes=moved.pred_boxes.tensor,
            scores=moved.scores if moved.has("scores") else torch.ones(len(moved)),
            labels=moved.pred_classes,
            size=moved.image_size,
            class_names=self.names,
            segments=None if masks is None else Masks.from_bitmaps(masks),
            keypoints=moved.pred_keypoints if moved.has("pred_keypoints") else None,
        )
        drawn = draw_detections(found, image=self.image)
        width, height = drawn.size
        return VisImage(drawn.resize((round(width * self.scale), round(height * self.scale))))
