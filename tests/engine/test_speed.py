"""What a measurement counts, and what it measures on."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from boxwright.engine.detector import Detector
from boxwright.engine.memory import keep_freed_memory
from boxwright.engine.speed import (
    count_operations,
    make_pictures,
    make_targets,
    measure_detection,
    training_step,
)
from boxwright.models.fast.quantised import Range
from boxwright.models.layers import ConvNorm, Dense
from tests.models.small import small

SIZE = (64, 96)


def test_a_convolution_counts_a_multiplication_and_an_addition_for_every_weight_and_cell():
    conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    assert count_operations(lambda: conv(torch.zeros(2, 3, 5, 7))) == 2 * (3 * 8 * 9) * (2 * 5 * 7)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("has_residual", [False, True])
def test_layers_packed_for_speed_count_as_others_do(groups, has_residual):
    conv, layer = ConvNorm(4, 8, kernel_size=3, stride=2, groups=groups), Dense(6, 5)
    x, vectors = torch.zeros(2, 4, 8, 6), torch.zeros(3, 6)
    residual = torch.zeros(2, 8, 4, 3) if has_residual else None
    with torch.no_grad():
        counted = count_operations(lambda: (conv(x, residual), layer(vectors)))
    assert counted == count_operations(lambda: (conv(x, residual), layer(vectors)))
    assert counted == 2 * (8 * 4 // groups * 9) * (2 * 4 * 3) + 2 * 6 * 5 * 3


@pytest.mark.parametrize("has_residual", [False, True])
def test_layers_on_bytes_count_as_others_do(has_residual):
    conv, layer = ConvNorm(16, 32, kernel_size=3, stride=2), Dense(24, 20, activation="relu")
    conv.fast.within = layer.fast.within = Range(-1.0, 1.0)
    x, vectors = torch.zeros(2, 16, 8, 6), torch.zeros(3, 24)
    residual = torch.zeros(2, 32, 4, 3) if has_residual else None
    with torch.no_grad():
        counted = count_operations(lambda: (conv(x, residual), layer(vectors)))
    assert counted == 2 * (32 * 16 * 9) * (2 * 4 * 3) + 2 * 24 * 20 * 3


def test_the_floor_is_what_was_counted_at_the_best_rate():
    found = measure_detection(Detector(config=small("faster")), size=SIZE, batch=2, rounds=1)
    assert found.images == 2
    assert 0 < found.floor_seconds < found.seconds
    assert found.times_floor == found.seconds / found.floor_seconds


@pytest.mark.parametrize("kind", ["mask", "keypoint"])
def test_a_step_of_training_learns_from_every_head(kind):
    torch.manual_seed(0)
    detector = Detector(config=small(kind))
    targets = make_targets(detector, SIZE, 2)
    losses = detector.losses(make_pictures(SIZE, 2), targets)
    assert losses[f"loss_{kind}"] > 0
    before = detector.model.box_head.score.weight.clone()
    assert training_step(detector, make_pictures(SIZE, 2), targets)() > 0
    assert not torch.equal(detector.model.box_head.score.weight, before)


def test_pictures_are_the_same_every_time():
    first, second = make_pictures(SIZE, 2), make_pictures(SIZE, 2)
    assert all((a == b).all() and a.shape == (*SIZE, 3) for a, b in zip(first, second, strict=True))
    assert (first[0] != first[1]).any()


# --- memory


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is meant")
def test_freed_memory_is_used_again_without_faults():
    script = """
import resource, sys
import numpy as np
from boxwright.engine.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_freed_memory()
faults()
print(int(kept), faults())
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env={}).stdout
    kept, faults = map(int, out.split())
    assert not kept or faults < 16


def test_malloc_stays_as_the_user_set_it_up(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_freed_memory()
