"""Typed settings, their conventions and presets."""

from boxwright.config.conventions import Conventions
from boxwright.config.load import diff, dump, json_schema, load_config, override, parse_config, save_config
from boxwright.config.presets import preset, preset_names
from boxwright.config.schema import RCNN, Config, Model, RetinaNet

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
