"""Named as Detectron2 names it, so that only the head of an import line changes."""
