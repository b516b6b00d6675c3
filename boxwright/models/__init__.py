"""The detectors as modules with built parts: `rcnn.RCNN` is the way of an image, `build` turns settings into parts."""
