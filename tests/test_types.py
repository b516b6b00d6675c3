"""Detections, Target and Batch hold only what fits, and index, save and convert without loss."""

import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from boxwright import Batch, Detections, Target
from boxwright.errors import MissingExtraError, ShapeError
from boxwright.types import Masks


def detections(count: int = 3) -> Detections:
    corners = torch.arange(4.0 * count).reshape(count, 4)
    bitmaps = torch.zeros(count, 20, 30, dtype=torch.bool)
    for i in range(count):
        bitmaps[i, i : i + 4, 2:9] = True
    return Detections(
        boxes=corners + torch.tensor([0.0, 0, 5, 5]),
        scores=torch.linspace(0.9, 0.1, count),
        labels=torch.arange(count) % 2,
        size=(20, 30),
        class_names=("cat", "dog"),
        segments=Masks.from_bitmaps(bitmaps),
        keypoints=torch.rand(count, 2, 3, generator=torch.Generator().manual_seed(0)),
    )


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (slice(0, 0), []),
        (torch.tensor([False, True, True]), [1, 2]),
        (np.array([True, False, False]), [0]),
        ([2, 0], [2, 0]),
        ([], []),
        (1, [1]),
        (-1, [2]),
        (torch.tensor([1]), [1]),
        (slice(None, None, -1), [2, 1, 0]),
    ],
)
def test_an_index_takes_the_same_rows_of_every_field(index, rows):
    whole = detections()
    part = whole[index]
    assert part.boxes.tolist() == whole.boxes[rows].tolist()
    assert part.names == [whole.names[i] for i in rows]
    assert torch.equal(part.masks, whole.masks[rows])
    assert torch.equal(part.keypoints, whole.keypoints[rows])


def test_an_index_out_of_range_is_an_index_error():
    with pytest.raises(IndexError, match="object 3 of 3"):
        detections()[3]


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(ShapeError, match=r"a mask of shape \(2,\) cannot index 3 objects"):
        detections()[torch.tensor([True, False])]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_saved_detections_load_to_the_same_values(tmp_path, count):
    whole = detections(count)
    whole.save(tmp_path / "d.json")
    again = Detections.load(tmp_path / "d.json")
    assert torch.equal(again.boxes, whole.boxes)
    assert torch.equal(again.scores, whole.scores)
    assert torch.equal(again.labels, whole.labels)
    assert torch.equal(again.masks, whole.masks)
    assert count == 0 or torch.equal(again.keypoints, whole.keypoints)
    assert again.class_names == whole.class_names


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "list indices"),
        ('{"boxes": []}', "'size'"),
        ('{"size": [4, 4], "masks": null, "keypoints": null, "boxes": ["a"]}', "too many dimensions"),
        (None, "does not exist"),
    ],
)
def test_a_file_that_holds_something_else_is_named(text, reason, tmp_path):
    if text is not None:
        (tmp_path / "other.json").write_text(text)
    with pytest.raises(ShapeError, match=rf"other\.json holds no saved detections \(.*{reason}"):
        Detections.load(tmp_path / "other.json")


def test_coco_records_can_be_read_by_pycocotools():
    records = json.loads(json.dumps(detections().to_coco(image_id=7, category_ids=[3, 18])))
    assert [record["category_id"] for record in records] == [3, 18, 3]
    assert records[1]["bbox"] == [4.0, 5.0, 7.0, 7.0]  # x, y, width, height of 4, 5, 11, 12
    assert coco_mask.area([record["segmentation"] for record in records]).tolist() == [28, 28, 28]
    assert len(records[0]["keypoints"]) == 6


def test_labels_without_names_are_numbers():
    bare = Detections(torch.zeros(1, 4), torch.ones(1), torch.tensor([5]), size=(2, 2))
    assert bare.names == ["5"]
    assert bare.masks is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": torch.zeros(3, 5)}, "Detections.boxes has shape (3, 5); expected (N, 4) as x1, y1, x2, y2"),
        (
            {"boxes": torch.zeros(3, 4, dtype=torch.float64)},
            "Detections.boxes is torch.float64; expected torch.float32",
        ),
        ({"scores": torch.zeros(2)}, "Detections.scores has shape (2,); expected (3,)"),
        ({"labels": torch.zeros(3)}, "Detections.labels is torch.float32; expected torch.int64"),
        ({"scores": torch.tensor([0, float("nan"), 0])}, "Detections.scores[1] is nan; expected finite numbers"),
        ({"segments": Masks([], (20, 30))}, "Detections has 0 masks for 3 boxes"),
        ({"keypoints": torch.zeros(3, 2)}, "Detections.keypoints has shape (3, 2); expected (N, K, 3)"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    fields = {"boxes": torch.zeros(3, 4), "scores": torch.zeros(3), "labels": torch.zeros(3, dtype=torch.int64)}
    with pytest.raises(ShapeError) as caught:
        Detections(**(fields | change), size=(20, 30))
    assert str(caught.value) == message


def test_polygons_and_bitmaps_agree():
    masks = Masks([[np.array([2.0, 1, 8, 1, 8, 5, 2, 5])], []], (10, 12))
    bitmaps = masks.bitmaps()
    assert bitmaps[0, 1:5, 2:8].all()
    assert bitmaps[0].sum() == 24
    assert bitmaps[1].sum() == 0
    assert torch.equal(Masks.from_bitmaps(bitmaps).bitmaps(), bitmaps)


def test_a_target_indexes_all_its_fields_and_knows_no_crowd_by_default():
    target = Target(torch.zeros(2, 4), torch.tensor([4, 5]), (8, 8), masks=Masks([[], []], (8, 8)))
    assert target.is_crowd.tolist() == [False, False]
    assert target[torch.tensor([False, True])].labels.tolist() == [5]
    assert len(target[[0]].masks) == 1


def test_a_part_of_a_batch_keeps_all_that_belongs_to_its_images():
    sizes, scales = [(8, 8), (4, 6)], [(1.0, 1.0), (0.5, 0.25)]
    targets = [Target(torch.zeros(1, 4), torch.tensor([label]), (8, 8)) for label in (3, 7)]
    batch = Batch(torch.arange(2.0).view(2, 1, 1, 1).expand(2, 3, 8, 8), sizes, [(8, 8), (8, 24)], scales, targets)
    last = batch[1:]
    assert (len(last), last.images.unique().tolist()) == (1, [1.0])
    assert (last.sizes, last.original_sizes, last.scales) == ([(4, 6)], [(8, 24)], [(0.5, 0.25)])
    assert last.targets[0].labels.tolist() == [7]


def test_a_batch_refuses_sizes_beyond_its_padding():
    with pytest.raises(ShapeError, match=r"Batch\.sizes\[0\] is \(9, 4\); the padded batch is only \(8, 8\)"):
        Batch(torch.zeros(1, 3, 8, 8), [(9, 4)], [(9, 4)], [(1.0, 1.0)])


def test_a_missing_extra_names_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "supervision", None)
    with pytest.raises(
        MissingExtraError, match=r"needs supervision, which is not installed: pip install 'boxwright\[report\]'"
    ):
        detections().to_supervision()
