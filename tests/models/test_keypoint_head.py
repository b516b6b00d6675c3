"""Keypoints become cells of a map, and a map keypoints again."""

import pytest
import torch
from torch.testing import assert_close

from boxwright.geometry.heatmaps import decode_heatmaps
from boxwright.models.keypoint_head import keypoint_targets, visible_inside

BOX = torch.tensor([[10.0, 20, 18, 28]])


@pytest.mark.parametrize(
    ("x", "y", "visibility", "cell"),
    [
        (10, 20, 2, 0),
        (13.9, 22, 1, 1 * 4 + 1),
        (14, 22, 2, 1 * 4 + 2),
        (18, 28, 2, 15),  # on the far border: the last cell
        (18.1, 22, 2, None),
        (9.9, 22, 2, None),
        (14, 22, 0, None),
    ],
)
def test_a_point_lies_in_the_cell_below_it(x, y, visibility, cell):
    cells, is_valid = keypoint_targets(torch.tensor([[[x, y, visibility]]], dtype=torch.float32), BOX, size=4)
    assert is_valid.tolist() == [[cell is not None]]
    assert cells.tolist() == [[cell or 0]]


def test_labelled_points_count_up_to_the_border():
    points = torch.tensor([[[10.0, 20, 2], [18, 28, 1], [14, 24, 0], [30, 24, 2]]])
    assert visible_inside(points, BOX).tolist() == [2]


def test_a_box_without_area_has_no_finite_trouble():
    flat = torch.tensor([[10.0, 20, 10, 20]])
    cells, is_valid = keypoint_targets(torch.tensor([[[12.0, 22, 2]]]), flat, size=4)
    assert is_valid.tolist() == [[False]]
    assert cells.tolist() == [[0]]


@pytest.mark.parametrize("score", ["pooled_probability", "probability", "logit"])
def test_the_keypoint_is_the_centre_of_the_highest_pixel(score):
    heatmaps = torch.zeros(1, 1, 8, 8)
    heatmaps[0, 0, 5, 2] = 20
    found = decode_heatmaps(heatmaps, BOX, score=score)
    assert_close(found[0, 0, :2], torch.tensor([12.5, 25.5]))
    expected = 20.0 if score == "logit" else 1.0
    assert_close(found[0, 0, 2].item(), expected, rtol=1e-5, atol=0)


def test_a_box_of_no_area_is_read_as_one_pixel():
    found = decode_heatmaps(torch.rand(1, 2, 8, 8), torch.tensor([[5.0, 5, 5, 5]]), score="probability")
    assert_close(found[0, :, :2], torch.full((2, 2), 5.5))


def test_scores_stay_finite_where_the_enlarged_maximum_overshoots():
    heatmaps = torch.zeros(1, 1, 8, 8)
    heatmaps[0, 0, 3:5, 3:5] = 1e4
    found = decode_heatmaps(heatmaps, torch.tensor([[0.0, 0, 31, 31]]), score="pooled_probability")
    assert found.isfinite().all()
