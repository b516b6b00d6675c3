"""Each region reads the level that fits it, as each original rounds."""

import pytest
import torch

from boxwright.models.pooler import LevelRule, RegionPooler


def square(side):
    return torch.tensor([[0.0, 0, side, side]])


@pytest.mark.parametrize(
    ("side", "level"), [(0, 0), (20, 0), (111.9, 0), (112, 1), (223.9, 1), (224, 2), (448, 3), (5000, 3)]
)
def test_twice_the_side_is_one_level_up_between_the_ends(side, level):
    assert LevelRule()(square(side), lowest=2, highest=5).tolist() == [level]


def test_detectron_counts_both_corners():
    assert LevelRule(offset=1.0)(square(223), lowest=2, highest=5).tolist() == [2]
    assert LevelRule()(square(223), lowest=2, highest=5).tolist() == [1]


def test_an_epsilon_decides_on_the_border():
    """sqrt(area) is 224 (1 - 5e-7): an epsilon of 1e-6 lifts it to the upper level, one of 1e-8 does not."""
    boxes = square(223.9999)
    assert LevelRule(epsilon=1e-6)(boxes, lowest=2, highest=5).tolist() == [2]
    assert LevelRule(epsilon=1e-6, epsilon_inside=False)(boxes, lowest=2, highest=5).tolist() == [2]
    assert LevelRule(epsilon=1e-8)(boxes, lowest=2, highest=5).tolist() == [1]


def test_mmdetections_finest_scale_is_the_same_rule_from_below():
    rule = LevelRule(canonical_size=56.0, canonical_level=2)
    for side in (30, 111.9, 112, 224, 900):
        assert (
            rule(square(side), lowest=2, highest=5).tolist() == LevelRule()(square(side), lowest=2, highest=5).tolist()
        )


def test_regions_read_their_level_and_image():
    maps = {name: torch.full((2, 1, 64 // 2**i, 64 // 2**i), float(i)) for i, name in enumerate(("p2", "p3"))}
    for value in maps.values():
        value[1] += 10
    boxes = torch.tensor([[8.0, 8, 40, 40], [8, 8, 200, 200], [8, 8, 40, 40]])
    pooler = RegionPooler(levels=("p2", "p3"), strides=(4, 8), size=2)
    pooled = pooler(maps, boxes, torch.tensor([0, 0, 1]))
    assert pooled.shape == (3, 1, 2, 2)
    assert pooled.amax(dim=(1, 2, 3)).tolist() == pytest.approx([0, 1, 10], abs=1e-5)


def test_of_two_levels_of_one_stride_the_first_is_read():
    maps = {"p5": torch.zeros(1, 1, 4, 4), "p6": torch.ones(1, 1, 4, 4)}
    pooler = RegionPooler(levels=("p5", "p6"), strides=(32, 32), size=1)
    assert pooler(maps, torch.tensor([[0.0, 0, 600, 600]]), torch.tensor([0])).item() == 0


def test_no_regions_give_no_rows():
    maps = {"c4": torch.rand(1, 3, 8, 8)}
    pooled = RegionPooler(levels=("c4",), strides=(16,), size=7)(
        maps, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    )
    assert pooled.shape == (0, 3, 7, 7)
