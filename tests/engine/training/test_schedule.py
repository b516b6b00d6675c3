"""Rates by step, and recipes scaled to another batch."""

import pytest

from boxwright.config import training
from boxwright.engine.training.schedule import rate_factor, scaled_to_batch

NO_WARM_UP = training.WarmUp(steps=0)


@pytest.mark.parametrize(
    ("decay", "step", "factor"),
    [
        (training.Constant(), 90, 1.0),
        (training.Steps(steps=[60, 80], gamma=0.1), 59, 1.0),
        (training.Steps(steps=[60, 80], gamma=0.1), 60, 0.1),
        (training.Steps(steps=[60, 80], gamma=0.1), 99, 0.01),
        (training.Cosine(), 0, 1.0),
        (training.Cosine(), 50, 0.5),
        (training.Cosine(final=0.2), 100, 0.2),
        (training.OneCycle(warm_share=0.2), 0, 0.0),
        (training.OneCycle(warm_share=0.2), 20, 1.0),
        (training.OneCycle(warm_share=0.2), 60, 0.5),
        (training.OneCycle(warm_share=0.0), 0, 1.0),
    ],
)
def test_the_rate_falls_as_the_schedule_says(decay, step, factor):
    assert rate_factor(step, training.Schedule(max_steps=100, decay=decay, warm_up=NO_WARM_UP)) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("kind", "step", "factor"),
    [("linear", 0, 0.1), ("linear", 5, 0.55), ("linear", 10, 1.0), ("constant", 9, 0.1), ("constant", 10, 1.0)],
)
def test_the_rate_warms_up(kind, step, factor):
    schedule = training.Schedule(
        max_steps=100, decay=training.Constant(), warm_up=training.WarmUp(kind=kind, steps=10, factor=0.1)
    )
    assert rate_factor(step, schedule) == pytest.approx(factor)


def test_warm_up_and_decay_multiply():
    schedule = training.Schedule(
        max_steps=100, decay=training.Steps(steps=[3]), warm_up=training.WarmUp(steps=10, factor=0.0)
    )
    assert rate_factor(5, schedule) == pytest.approx(0.05)


RECIPE = training.Train(
    batch=16,
    reference_batch=16,
    lr=0.02,
    schedule=training.Schedule(max_steps=90000, decay=training.Steps(steps=[60000, 80000])),
)


def test_a_smaller_batch_takes_more_steps_at_a_smaller_rate():
    train = scaled_to_batch(RECIPE, 4)
    assert train.lr == pytest.approx(0.005)
    assert (train.schedule.max_steps, train.schedule.decay.steps) == (360000, (240000, 320000))
    assert train.schedule.warm_up == RECIPE.schedule.warm_up


def test_accumulation_shortens_the_run_but_leaves_the_rate():
    train = scaled_to_batch(RECIPE.with_(accumulate=4), 4)
    assert train.lr == pytest.approx(0.005)
    assert (train.schedule.max_steps, train.schedule.decay.steps) == (90000, (60000, 80000))


def test_scaling_twice_changes_nothing_more():
    once = scaled_to_batch(RECIPE, 4)
    assert scaled_to_batch(once, 4) == once


def test_without_a_reference_only_the_batch_changes():
    train = training.Train(batch="auto", lr=0.1)
    assert scaled_to_batch(train, 3) == train.with_(batch=3)
