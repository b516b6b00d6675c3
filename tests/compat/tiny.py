"""Detectors of a few million random weights, made in half a second, and a picture for them."""

from functools import cache

import numpy as np
import torch

from boxwright.config import Config, load_config
from boxwright.engine.detector import Detector

SMALL = (
    "model.backbone.depth=18",
    "model.neck.channels=16",
    "model.box_head.features.fcs=[32]",
    "model.num_classes=3",
    "model.class_names=[cat, dog, bird]",
    "model.input.resize.short_test=96",
    "model.input.resize.long_test=128",
    "test.score_threshold=0.0",
    "test.max_detections=5",
)


@cache
def tiny_config(preset: str = "mask_rcnn_r50_fpn") -> Config:
    changes = [*SMALL, "model.mask_head.convs=[16, 16]", "model.mask_head.upsample_channels=16"]
    if preset.startswith("keypoint"):
        changes = [*(c for c in SMALL if "class" not in c), "model.keypoint_head.convs=[16]"]
    return load_config(preset, changes)


def tiny_detector(preset: str = "mask_rcnn_r50_fpn") -> Detector:
    """The same random weights at each call."""
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    detector = Detector(config=tiny_config(preset))
    torch.random.set_rng_state(state)
    return detector


def picture() -> np.ndarray:
    """(96, 128, 3) uint8, a gradient with a bright rectangle."""
    image = np.linspace(0, 200, 96 * 128 * 3).reshape(96, 128, 3).astype(np.uint8)
    image[20:60, 30:90] = (250, 120, 30)
    return image
