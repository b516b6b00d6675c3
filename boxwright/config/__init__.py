"""Typed settings, their conventions and presets."""

from .conventions import Conventions
from .load import diff, dump, json_schema, load_config, override, parse_config, save_config
from .presets import preset, preset_names
from .schema import RCNN, Config, Model, RetinaNet

__all__ = [
    "RCNN",
    "Config",
    "Conventions",
    "Model",
    "RetinaNet",
    "diff",
    "dump",
    "json_schema",
    "load_config",
    "override",
    "parse_config",
    "preset",
    "preset_names",
    "save_config",
]
