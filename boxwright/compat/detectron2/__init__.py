"""Detectron2's way to call a detector: in scripts `detectron2` becomes `boxwright.compat.detectron2`."""
