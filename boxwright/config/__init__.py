"""Typed settings, their conventions and presets. Public: `Config`, `load_config`, `dump`, `diff`, `json_schema`."""

from .conventions import Conventions
from .schema import RCNN, Config, Model, RetinaNet

__all__ = ["RCNN", "Config", "Conventions", "Model", "RetinaNet"]
