"""Detections painted on a picture: what is marked, where, and in which colours."""

import numpy as np
import pytest
import torch

from boxwright.errors import ImageError
from boxwright.report.draw import class_colour, draw_detections, enlarged
from boxwright.types import Detections, Masks


def detections(*, labels=(0,), boxes=((10, 20, 30, 50),), size=(100, 120)):
    bitmaps = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for bitmap, (x1, y1, x2, y2) in zip(bitmaps, boxes, strict=True):
        bitmap[y1:y2, x1:x2] = True
    return Detections(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.full((len(boxes),), 0.9),
        labels=torch.tensor(labels, dtype=torch.int64),
        size=size,
        class_names=("cell", "cat"),
        segments=Masks.from_bitmaps(bitmaps),
        image=np.full((*size, 3), 255, np.uint8),
    )


def test_nothing_found_leaves_the_picture_as_it_is():
    picture = np.asarray(draw_detections(detections(labels=(), boxes=())))
    assert (picture == 255).all()


def test_only_the_object_and_its_label_are_painted():
    picture = np.asarray(draw_detections(detections(), labels=False))
    changed = (picture != 255).any(axis=2)
    assert changed[20:50, 10:30].all()
    changed[19:52, 9:32] = False
    assert not changed.any()
    labelled = np.asarray(draw_detections(detections()))
    assert (labelled != picture).any()


def test_classes_have_colours_that_differ():
    colours = np.array([class_colour(label) for label in range(10)], dtype=int)
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=2)
    assert apart[~np.eye(10, dtype=bool)].min() > 40


def test_a_small_picture_is_drawn_larger_with_its_objects_in_place():
    small = detections()
    large = enlarged(small, small.image, 3)
    assert large.size == (300, 360)
    assert large.boxes.tolist() == [[30, 60, 90, 150]]
    assert large.masks[0].sum() == 9 * small.masks[0].sum()
    assert large.masks[0, 60:150, 30:90].all()


def test_without_a_picture_it_says_what_to_give():
    found = detections()
    with pytest.raises(ImageError, match=r"these detections carry no picture .*give draw\(image=\.\.\.\)"):
        draw_detections(Detections(boxes=found.boxes, scores=found.scores, labels=found.labels, size=found.size))
