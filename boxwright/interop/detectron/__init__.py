"""Detectron and Detectron.pytorch: their YAML settings, their names of weights."""
