"""Rates by step, and recipes scaled to another batch."""

import pytest

from boxwright.config.training import Constant, Cosine, OneCycle, Schedule, Steps, Train, WarmUp
from boxwright.engine.training.schedule import rate_factor, scaled_to_batch

NO_WARM_UP = WarmUp(steps=0)


@pytest.mark.parametrize(
    ("decay", "step", "factor"),
    [
        (Constant(), 90, 1.0),
        (Steps(steps=[60, 80], gamma=0.1), 59, 1.0),
        (Steps(steps=[60, 80], gamma=0.1), 60, 0.1),
        (Steps(steps=[60, 80], gamma=0.1), 99, 0.01),
        (Cosine(), 0, 1.0),
        (Cosine(), 50, 0.5),
        (Cosine(final=0.2), 100, 0.2),
        (OneCycle(warm_share=0.2), 0, 0.0),
        (OneCycle(warm_share=0.2), 20, 1.0),
        (OneCycle(warm_share=0.2), 60, 0.5),
        (OneCycle(warm_share=0.0), 0, 1.0),
    ],
)
def test_the_rate_falls_as_the_schedule_says(decay, step, factor):
    assert rate_factor(step, Schedule(max_steps=100, decay=decay, warm_up=NO_WARM_UP)) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("kind", "step", "factor"),
    [("linear", 0, 0.1), ("linear", 5, 0.55), ("linear", 10, 1.0), ("constant", 9, 0.1), ("constant", 10, 1.0)],
)
def test_the_rate_warms_up(kind, step, factor):
    schedule = Schedule(max_steps=100, decay=Constant(), warm_up=WarmUp(kind=kind, steps=10, factor=0.1))
    assert rate_factor(step, schedule) == pytest.approx(factor)


def test_warm_up_and_decay_multiply():
    schedule = Schedule(max_steps=100, decay=Steps(steps=[3]), warm_up=WarmUp(steps=10, factor=0.0))
    assert rate_factor(5, schedule) == pytest.approx(0.05)


RECIPE = Train(
    batch=16, reference_batch=16, lr=0.02, schedule=Schedule(max_steps=90000, decay=Steps(steps=[60000, 80000]))
)


def test_a_smaller_batch_takes_more_steps_at_a_smaller_rate():
    train = scaled_to_batch(RECIPE, 4)
    assert train.lr == pytest.approx(0.005)
    assert (train.schedule.max_steps, train.schedule.decay.steps) == (360000, [240000, 320000])
    assert train.schedule.warm_up == RECIPE.schedule.warm_up


def test_accumulation_shortens_the_run_but_leaves_the_rate():
    train = scaled_to_batch(RECIPE.model_copy(update={"accumulate": 4}), 4)
    assert train.lr == pytest.approx(0.005)
    assert (train.schedule.max_steps, train.schedule.decay.steps) == (90000, [60000, 80000])


def test_scaling_twice_changes_nothing_more():
    once = scaled_to_batch(RECIPE, 4)
    assert scaled_to_batch(once, 4) == once


def test_without_a_reference_only_the_batch_changes():
    train = Train(batch="auto", lr=0.1)
    assert scaled_to_batch(train, 3) == train.model_copy(update={"batch": 3})
