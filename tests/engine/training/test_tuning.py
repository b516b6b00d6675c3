"""Rates and anchors found by measuring."""

import numpy as np
import pytest
import torch

from boxwright.data.formats.reading import read_dataset
from boxwright.engine.training.tuning import RateRange, RateSweep, fit_anchors, sweep_rates
from boxwright.errors import ConfigError
from tests.engine.conftest import tiny


def test_the_steepest_fall_is_suggested_not_the_lowest_loss():
    rates = [10.0**k for k in range(-6, 1)]
    sweep = RateSweep(rates, [5.0, 4.9, 4.6, 3.0, 2.6, 2.5, 9.0])
    assert sweep.highest == pytest.approx(1e-1)
    assert sweep.suggested in (pytest.approx(1e-4), pytest.approx(1e-3))


def test_a_sweep_rises_and_ends_when_the_loss_bursts(tiny_set):
    told = []
    rates = RateRange(1e-4, 1e12, 12)
    sweep = sweep_rates(tiny("train.clip=none"), tiny_set, rates, device=torch.device("cpu"), say=told.append)
    assert 2 <= len(sweep.rates) < 12
    assert np.allclose(np.diff(np.log(sweep.rates)), np.log(1e16) / 11)
    with pytest.raises(ConfigError, match=r"the sweep goes from 1 to 0\.1"):
        RateRange(1, 0.1, 5)


def test_fitted_anchors_meet_the_boxes_better(tiny_set):
    annotations = read_dataset(tiny_set, split="train")
    fit = fit_anchors(tiny("model.anchors.sizes=[[200],[300],[400]]"), annotations)
    assert [len(level) for level in fit.sizes] == [1, 1, 1]
    assert sorted(fit.sizes) == fit.sizes
    assert fit.before["above_50"] == 0
    assert fit.after["above_50"] > 0.8
