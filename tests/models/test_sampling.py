"""The numbers of examples, and the ones that come first."""

import pytest
import torch

from boxwright.models.sampling import Draw, Sampler, lowest

FIRST = Draw("first")


def masks(positive, negative):
    return torch.tensor([positive], dtype=torch.bool), torch.tensor([negative], dtype=torch.bool)


def sampled(sampler, positive, negative, draw=FIRST):
    pos, neg = masks(positive, negative)
    chosen = sampler(pos, neg, draw.keys(tuple(pos.shape), pos.device, stream=0))
    return [mask[0].nonzero()[:, 0].tolist() for mask in chosen]


def test_nothing_gives_nothing():
    assert sampled(Sampler(size=4, positive_fraction=0.5), [], []) == [[], []]


def test_the_first_candidates_are_taken_and_negatives_fill_up():
    sampler = Sampler(size=4, positive_fraction=0.5)
    assert sampled(sampler, [1, 0, 1, 1, 0, 0, 0], [0, 1, 0, 0, 1, 1, 0]) == [[0, 2], [1, 4]]
    assert sampled(sampler, [0, 0, 0, 1, 0, 0, 0], [1, 1, 1, 0, 1, 1, 0]) == [[3], [0, 1, 2]]


def test_too_few_negatives_leave_the_sample_small():
    assert sampled(Sampler(size=8, positive_fraction=0.25), [1, 1, 1], [0, 0, 0]) == [[0, 1], []]


@pytest.mark.parametrize(("rounds", "most"), [(False, 2), (True, 2)])
def test_half_a_positive_rounds_to_even(rounds, most):
    assert Sampler(size=10, positive_fraction=0.25, rounds_positives=rounds).most_positives == most


def test_a_large_half_is_cut_or_rounded():
    assert Sampler(size=14, positive_fraction=0.25).most_positives == 3
    assert Sampler(size=14, positive_fraction=0.25, rounds_positives=True).most_positives == 4


def test_detectron_disables_surplus_positives_from_the_front():
    sampler = Sampler(size=4, positive_fraction=0.5, detectron_anchors=True)
    assert sampled(sampler, [1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 0]) == [[1, 2], [3, 4]]


def test_detectron_makes_negatives_of_positives_below_the_threshold():
    sampler = Sampler(size=4, positive_fraction=0.5, detectron_anchors=True)
    assert sampled(sampler, [0, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]) == [[], [0, 1, 2]]


def test_detectron_takes_no_negatives_unless_there_are_more_than_wanted():
    sampler = Sampler(size=4, positive_fraction=0.5, detectron_anchors=True)
    assert sampled(sampler, [1, 0, 0, 0], [0, 1, 1, 1]) == [[0], []]


def test_all_takes_all():
    assert sampled(Sampler(size=1, positive_fraction=0.5, kind="all"), [1, 1, 0], [0, 0, 1]) == [[0, 1], [2]]


def test_a_seed_repeats_a_random_draw_and_every_candidate_has_its_turn():
    sampler = Sampler(size=2, positive_fraction=0.5)
    seen = set()
    for seed in range(40):
        both = [sampled(sampler, [1, 1, 1, 0], [0, 0, 0, 1], Draw("random", torch.tensor([seed]))) for _ in range(2)]
        assert both[0] == both[1]
        seen.add(both[0][0][0])
    assert seen == {0, 1, 2}


def random_keys(seeds, count=4096, stream=0):
    return Draw("random", torch.tensor(seeds)).keys((len(seeds), count), torch.device("cpu"), stream=stream)


def test_an_image_draws_the_same_whatever_its_neighbours():
    assert torch.equal(random_keys([3, 5, 2**62 - 1])[1:], random_keys([5, 2**62 - 1]))


def test_keys_are_spread_evenly_and_differ_by_image_use_and_place():
    first, second = random_keys([8, 9])
    other_use = random_keys([8], stream=1)[0]
    assert torch.histc(first, bins=8, min=0, max=1) == pytest.approx(torch.full((8,), 512.0), rel=0.15)
    for a, b in ((first, second), (first, other_use), (first[1:], first[:-1])):
        assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1].item()) < 0.05


def test_each_image_has_its_own_limit():
    keys = Draw("first").keys((2, 3), torch.device("cpu"), stream=0)
    chosen = lowest(torch.ones(2, 3, dtype=torch.bool), keys, 3, torch.tensor([0, 2]))
    assert chosen.tolist() == [[False] * 3, [True, True, False]]
