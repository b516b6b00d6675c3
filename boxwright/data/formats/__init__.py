"""Annotation formats in and out: COCO and LVIS, VOC, Cityscapes, YOLO; `reading.read_dataset` opens them all."""
