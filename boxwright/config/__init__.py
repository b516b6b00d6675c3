"""Typed settings, their conventions and presets. A part of a model is named through its module: `parts.RPN`."""

from boxwright.config.conventions import Conventions
from boxwright.config.load import diff, dump, json_schema, load_config, parse_config, save_config
from boxwright.config.presets import preset, preset_names
from boxwright.config.schema import Config

__all__ = [
    "Config",
    "Conventions",
    "diff",
    "dump",
    "json_schema",
    "load_config",
    "parse_config",
    "preset",
    "preset_names",
    "save_config",
]
