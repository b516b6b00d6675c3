"""Detectron2: its YAML settings, its LazyConfig files, its names of weights."""
