"""Anchors have the numbers of each original."""

import pytest
import torch
from torch.testing import assert_close

from boxwright.errors import ConfigError
from boxwright.models.anchors import Anchors, cell_anchors


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("none", [-22.627417, -11.313708, 22.627417, 11.313708]),
        ("half_even", [-23.0, -11.0, 23.0, 11.0]),
        # Detectron, stride 16: 23 x 12 is the box of ratio 0.5, twice that about 7.5
        ("detectron", [-15.0, -4.0, 30.0, 19.0]),
    ],
)
def test_the_first_anchor_of_a_cell_is_wide(rounding, expected):
    cell = cell_anchors([32], [0.5, 1, 2], stride=16, rounding=rounding, order="ratio_major")
    assert_close(cell[0], torch.tensor(expected))


def test_detectrons_anchors_are_those_of_faster_rcnn():
    cell = cell_anchors([128, 256, 512], [0.5, 1, 2], stride=16, rounding="detectron", order="ratio_major")
    known = [[-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199], [-56, -56, 71, 71]]
    assert_close(cell[:4], torch.tensor(known, dtype=torch.float32))


def test_size_or_ratio_varies_slowest():
    by_size = cell_anchors([10, 20], [1, 4], stride=8, rounding="none", order="size_major")
    by_ratio = cell_anchors([10, 20], [1, 4], stride=8, rounding="none", order="ratio_major")
    assert_close(by_size[[0, 2, 1, 3]], by_ratio)


def make(**changes):
    settings = {"strides": {"p2": 4, "p3": 8}, "sizes": [[8], [16]], "aspect_ratios": [[1.0, 2.0]]} | changes
    return Anchors(**settings)


def test_anchors_run_along_rows_and_start_at_the_corner():
    first, second = make()([torch.zeros(1, 3, 2, 3), torch.zeros(1, 3, 1, 1)], (8, 12))
    assert first.shape == (2 * 3 * 2, 4)
    assert second.shape == (2, 4)
    assert_close(first[::2].reshape(2, 3, 4)[1, 2], torch.tensor([4.0, 0, 12, 8]))


def test_measured_strides_follow_from_the_padded_size():
    maps = [torch.zeros(1, 3, 7, 7), torch.zeros(1, 3, 4, 4)]
    step = [anchors[2] - anchors[0] for anchors in make(measure_strides=True)(maps, (25, 25))]
    assert [one[0].item() for one in step] == [3, 6]
    step = [anchors[2] - anchors[0] for anchors in make()(maps, (25, 25))]
    assert [one[0].item() for one in step] == [4, 8]


def test_cells_past_an_images_own_padding_are_told():
    inside = make().inside_padding([(2, 2), (1, 1)], torch.tensor([[8.0, 8.0], [4.0, 8.0]]))
    assert inside.tolist() == [[True] * 10, [True] * 4 + [False] * 4 + [True] * 2]


def test_levels_with_other_numbers_of_anchors_are_an_error():
    with pytest.raises(ConfigError, match=r"levels have \[2, 4\] anchors per cell"):
        make(sizes=[[8], [16, 32]])
    with pytest.raises(ConfigError, match=r"anchors\.sizes has 3 entries for 2 levels"):
        make(sizes=[[8], [16], [32]])
