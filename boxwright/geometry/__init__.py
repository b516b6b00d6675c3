"""Boxes, masks and keypoints under flips, crops and affine maps; polygons, bitmaps and run lengths."""
