"""Targets of a batch become one list of objects; frames lead to the original images and back."""

import pytest
import torch
from torch.testing import assert_close

from boxwright.errors import DatasetError, ShapeError
from boxwright.models.frames import clip_to_images, make_frames
from boxwright.models.objects import gather_objects
from boxwright.types import Batch, Target


def target(boxes, labels=None, crowds=(), **fields):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    marks = torch.tensor([i in crowds for i in range(len(rows))], dtype=torch.bool)
    names = torch.tensor(labels if labels is not None else [0] * len(rows), dtype=torch.int64)
    return Target(boxes=rows, labels=names, size=(40, 60), is_crowd=marks, **fields)


def batch(*targets, scales=None):
    count = len(targets)
    return Batch(
        images=torch.zeros(count, 3, 64, 64),
        sizes=[(40, 60)] * count,
        original_sizes=[(20, 30)] * count,
        scales=scales or [(2.0, 2.0)] * count,
        targets=list(targets),
    )


def test_without_objects_there_are_none():
    objects = gather_objects(batch(target([]), target([])), num_classes=3)
    assert objects.counts == (0, 0)
    assert objects.boxes.shape == (0, 4)
    boxes, index, is_real = objects.padded()
    assert (boxes.shape, index.shape, is_real.shape) == ((2, 0, 4), (2, 0), (2, 0))


def test_objects_without_area_are_left_out():
    objects = gather_objects(batch(target([[1, 1, 5, 5], [3, 3, 3, 9], [9, 9, 4, 4]])), num_classes=1)
    assert objects.boxes.tolist() == [[1, 1, 5, 5]]


def test_crowds_are_told_apart():
    objects = gather_objects(
        batch(target([[1, 1, 5, 5], [2, 2, 8, 8]], [0, 2], crowds=(1,)), target([[3, 3, 6, 6]], [1])), num_classes=3
    )
    assert objects.image.tolist() == [0, 0, 1]
    assert objects.without_crowds().labels.tolist() == [0, 1]
    assert objects.without_crowds().counts == (1, 1)
    assert objects.crowds().boxes.tolist() == [[2, 2, 8, 8]]
    assert objects.crowds().counts == (1, 0)
    assert objects.padded()[1].tolist() == [[0, 1], [2, 0]]
    assert objects.padded()[2].tolist() == [[True, False], [True, False]]


def test_inclusive_corners_are_one_original_pixel_nearer():
    given = batch(target([[4, 4, 12, 8]]), scales=[(2.0, 1.5)])
    objects = gather_objects(given, num_classes=1, box_offset=1.0)
    assert objects.boxes.tolist() == [[4, 4, 10.5, 6]]


def test_half_an_original_pixel_moves_keypoints():
    points = torch.tensor([[[4.0, 6, 2]]])
    given = batch(target([[1, 1, 9, 9]], keypoints=points), target([]), scales=[(2.0, 1.5), (1.0, 1.0)])
    objects = gather_objects(given, num_classes=1, keypoint_offset=0.5)
    assert objects.keypoints.tolist() == [[[4.75, 7, 2]]]


def test_masks_and_keypoints_count_only_if_every_image_has_them():
    points = torch.ones(1, 1, 3)
    given = batch(target([[1, 1, 9, 9]], keypoints=points), target([[1, 1, 9, 9]]))
    assert gather_objects(given, num_classes=1).keypoints is None
    assert gather_objects(given, num_classes=1).segments is None


def test_labels_beyond_the_classes_are_told():
    with pytest.raises(DatasetError, match=r"targets\[1\].*labels 3 to 3; the model has classes 0 to 1"):
        gather_objects(batch(target([]), target([[1, 1, 5, 5]], [3])), num_classes=2)
    with pytest.raises(ShapeError, match="give the batch targets"):
        gather_objects(Batch(torch.zeros(1, 3, 32, 32), [(32, 32)], [(32, 32)], [(1.0, 1.0)]), num_classes=2)


def test_frames_lead_back_and_forth():
    frames = make_frames(batch(target([]), target([]), scales=[(2.0, 1.5), (4.0, 4.0)]), pad_to=32)
    assert frames.padded.tolist() == [[64, 64], [64, 64]]
    assert frames.batch_size == (64, 64)
    boxes, image = torch.tensor([[3.0, 4, 6, 8], [4, 4, 8, 8]]), torch.tensor([0, 1])
    original = frames.to_original(boxes, image)
    assert original.tolist() == [[2, 2, 4, 4], [1, 1, 2, 2]]
    assert_close(frames.to_network(original, image), boxes)
    assert_close(frames.to_original(boxes[:, None].expand(-1, 3, -1), image)[:, 2], original)


@pytest.mark.parametrize(("offset", "corner"), [(0.0, [30.0, 20.0]), (1.0, [29.0, 19.0])])
def test_clipping_ends_at_the_border_or_the_last_pixel(offset, corner):
    sizes = torch.tensor([[20.0, 30.0]])
    boxes = clip_to_images(torch.tensor([[-5.0, -5, 99, 99]]), torch.tensor([0]), sizes, offset=offset)
    assert boxes.tolist() == [[0, 0, *corner]]
