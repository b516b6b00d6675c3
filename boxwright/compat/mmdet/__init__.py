"""mmdetection's way to call a detector: in scripts `mmdet.apis` becomes `boxwright.compat.mmdet.apis`."""
