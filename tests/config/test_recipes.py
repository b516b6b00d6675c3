"""Recipes by name: the numbers that their programs publish."""

import pytest

from boxwright.config import load_config
from boxwright.config.recipes import apply_recipe
from boxwright.engine.training.schedule import scaled_to_batch
from boxwright.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "max_steps", "steps", "batch", "lr"),
    [
        ("1x", 90000, (60000, 80000), 16, 0.02),  # Detectron2's Base schedules
        ("2x", 180000, (120000, 160000), 16, 0.02),
        ("3x", 270000, (210000, 250000), 16, 0.02),
        ("20e", 146600, (117280, 139270), 16, 0.02),  # mmdetection's schedule_20e: epochs 16 and 19
        ("lsj_100e", 184375, (163889, 177546), 64, 0.1),  # mask_rcnn_R_50_FPN_100ep_LSJ.py
        ("lsj_400e", 737500, (655556, 710185), 64, 0.1),
    ],
)
def test_a_recipe_has_its_published_numbers(name, max_steps, steps, batch, lr):
    train = apply_recipe(load_config("mask_rcnn_r50_fpn"), name).train
    assert (train.schedule.max_steps, train.schedule.decay.steps) == (max_steps, steps)
    assert (train.batch, train.lr) == (batch, lr)


def test_large_scale_jitter_brings_its_crops():
    augment = apply_recipe(load_config("mask_rcnn_r50_fpn"), "lsj_200e").data.augment
    assert (augment.scale_jitter, augment.crop) == ((0.1, 2.0), (1024, 1024))


def test_a_recipe_scales_to_a_small_batch():
    train = scaled_to_batch(apply_recipe(load_config("mask_rcnn_r50_fpn"), "1x").train, 2)
    assert (train.lr, train.schedule.max_steps, train.schedule.decay.steps) == (0.0025, 720000, (480000, 640000))


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match="no recipe '100e'; there are 1x, 2x, 3x, 20e, lsj_100e"):
        apply_recipe(load_config("mask_rcnn_r50_fpn"), "100e")
