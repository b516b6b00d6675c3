"""Tables of name pairs rename both ways, and what they do not know is named."""

import pytest
import torch

from boxwright.errors import WeightsError
from boxwright.interop.tables.background import background_first, background_last
from boxwright.interop.tables.rename import Names, change, count

NAMES = Names(
    "Source",
    (
        ("layer{l}.{b}.bn{i}.{*p}", "c{l+1}.{b}.conv{i}.norm.{*p}"),
        ("convs.{3i}.{*p}", "convs.{i}.{*p}"),
        ("convs.{3i+1}.{*p}", "convs.{i}.norm.{*p}"),
        ("head.{*c}.out.{*p}", "{*c}.{*p}"),
        ("fc{i+6}.weight", "fcs.{i}.weight"),
        ("unused.{i}", None),
    ),
)


def state(*keys: str) -> dict[str, torch.Tensor]:
    return {key: torch.tensor(float(number)) for number, key in enumerate(keys)}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("layer1.12.bn3.running_mean", "c2.12.conv3.norm.running_mean"),
        ("convs.6.bias", "convs.2.bias"),
        ("convs.7.weight", "convs.2.norm.weight"),
        ("head.mask.out.weight", "mask.weight"),
        ("fc7.weight", "fcs.1.weight"),
    ],
)
def test_a_pair_renames_in_both_directions(theirs, ours):
    assert list(NAMES.to_ours(state(theirs))) == [ours]
    assert list(NAMES.from_ours(state(ours))) == [theirs]


def test_values_stay_with_their_names():
    renamed = NAMES.to_ours(state("convs.0.weight", "unused.4", "convs.3.weight"))
    assert {name: value.item() for name, value in renamed.items()} == {"convs.0.weight": 0.0, "convs.1.weight": 2.0}


@pytest.mark.parametrize("key", ["convs.2.weight", "layer1.0.bn1.scale", "fc5.weight", "xlayer1.0.bn1.weight"])
def test_a_key_that_fits_no_pair_is_named(key):
    with pytest.raises(WeightsError, match=rf"Source: 1 of 2 weights are unknown, first: '{key}'"):
        NAMES.to_ours(state("convs.0.weight", key))


def test_two_keys_for_one_name_are_refused():
    names = Names("Source", (("a", "x"), ("b", "x")))
    with pytest.raises(WeightsError, match="Source: 'b' and 'a' both mean 'x'; keep one of them"):
        names.to_ours(state("a", "b"))


def test_count_tells_how_many_numbers_a_template_has():
    assert count(["p.0.weight", "p.0.bias", "p.3.weight", "q.1.weight"], "p.{i}.{*p}") == 2


def test_change_touches_only_the_endings_named():
    changed = state("a.weight", "b.weight", "c.weight")
    change(changed, ("b.weight", "c.weight"), lambda value: value + 10)
    assert [value.item() for value in changed.values()] == [0.0, 11.0, 12.0]


def test_background_moves_last_and_its_boxes_and_masks_go():
    weights = {
        "box_head.score.bias": torch.arange(3.0),
        "box_stages.1.delta.weight": torch.arange(12.0)[:, None],
        "mask_head.logits.bias": torch.arange(3.0),
        "rpn.head.score.bias": torch.arange(3.0),
    }
    ours = background_last(weights)
    assert ours["box_head.score.bias"].tolist() == [1, 2, 0]
    assert ours["box_stages.1.delta.weight"][:, 0].tolist() == list(range(4, 12))
    assert ours["mask_head.logits.bias"].tolist() == [1, 2]
    assert ours["rpn.head.score.bias"].tolist() == [0, 1, 2]
    again = background_last(background_first(ours))
    assert all(torch.equal(again[name], ours[name]) for name in ours)


def test_class_agnostic_masks_have_no_background():
    weights = {"box_head.score.bias": torch.arange(81.0), "mask_head.logits.bias": torch.ones(1)}
    ours = background_last(weights)
    assert len(ours["mask_head.logits.bias"]) == 1
    assert len(background_first(ours)["mask_head.logits.bias"]) == 1
