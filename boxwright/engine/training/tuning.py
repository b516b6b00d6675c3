"""Settings found by measuring: a learning rate by a short sweep, anchors from the shapes of the boxes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from boxwright.config import Config, training
from boxwright.data.annotations import Annotations
from boxwright.data.stats import anchor_fit, anchor_shapes, box_table, network_scales
from boxwright.engine.distributed import World
from boxwright.engine.training.learner import Learner
from boxwright.engine.training.setup import make_detector, make_loader, read_sets, recipe_for, settings_for
from boxwright.engine.training.trouble import NonFiniteError
from boxwright.errors import ConfigError, DatasetError, TrainingError

SMOOTHING = 0.9
BURST = 4.0  # times the lowest loss, at which the sweep ends
ROUNDS = 100
NUM_RATIOS = 3


@dataclass(frozen=True)
class RateSweep:
    """Smoothed losses at rising rates."""

    rates: list[float]
    losses: list[float]

    @property
    def highest(self) -> float:
        """The rate with the lowest loss; above it the loss rises."""
        return self.rates[int(np.argmin(self.losses))]

    @property
    def suggested(self) -> float:
        """The rate at which the loss falls fastest, against the logarithm of the rate."""
        end = int(np.argmin(self.losses)) + 1
        if end < 3:
            return self.rates[0]
        slopes = np.gradient(np.array(self.losses[:end]), np.log(self.rates[:end]))
        return self.rates[int(np.argmin(slopes))]


@dataclass(frozen=True)
class RateRange:
    """`steps` rates from `low` to `high`, each the one before it times the same factor."""

    low: float
    high: float
    steps: int

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ConfigError(f"the sweep goes from {self.low:g} to {self.high:g}; it must rise from above 0")

    def at(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        factor: float = (self.high / self.low) ** (1 / max(self.steps - 1, 1))
        return self.low * factor**step


def sweep_rates(
    config: Config, data: str | Path | None, rates: RateRange, *, device: torch.device, say: Callable[[str], None]
) -> RateSweep:
    """Trains from the start at rising rates, until the loss bursts."""
    sets = read_sets(config, data)
    settings = _settings_of_sweep(settings_for(config, sets, data), rates, say)
    detector = make_detector(settings, device=device, is_resumed=False, say=say)
    learner = Learner(detector=detector, train=settings.train, world=World())
    batches = iter(make_loader(settings, sets.train, World(), device))
    sweep = RateSweep([], [])
    mean = 0.0
    for step in range(rates.steps):
        learner.train = settings.train.with_(lr=rates.at(step))
        try:
            result = learner.step([next(batches) for _ in range(settings.train.accumulate)], step)
        except NonFiniteError:
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * sum(result.losses.values())
        sweep.rates.append(rates.at(step))
        sweep.losses.append(mean / (1 - SMOOTHING ** (step + 1)))
        if sweep.losses[-1] > BURST * min(sweep.losses):
            break
    if not sweep.rates:
        raise TrainingError(f"the very first step was not finite; begin the sweep below {rates.low:g}")
    return sweep


def _settings_of_sweep(settings: Config, rates: RateRange, say: Callable[[str], None]) -> Config:
    """One part of as many steps as there are rates, each step at the base rate, which the sweep sets."""
    if not isinstance(settings.train.batch, int):
        raise ConfigError("train.batch=auto cannot be swept; give a number")
    flat = training.Schedule(max_steps=rates.steps, decay=training.Constant(), warm_up=training.WarmUp(steps=0))
    train = recipe_for(settings.train, World(), batch=settings.train.batch, say=say)
    return settings.with_(train=train.with_(schedule=flat, stages=(), non_finite="stop"))


@dataclass(frozen=True)
class AnchorFit:
    """Anchors for the data, and how well they and the present ones meet its boxes: shares with an IoU above 0.5 and 0.7
    at best, and the mean."""

    sizes: list[list[float]]
    aspect_ratios: list[list[float]]
    before: dict[str, float]
    after: dict[str, float]


def fit_anchors(config: Config, annotations: Annotations) -> AnchorFit:
    """As many levels, and sizes on each, as the settings have: centres of the boxes' sizes, and their shapes."""
    anchors, resize = config.model.anchors, config.model.input.resize
    table = box_table(annotations)
    if not len(table.width):
        raise DatasetError(f"{annotations.source}: no boxes to fit anchors to")
    present = anchor_shapes(anchors, resize)
    scale = network_scales(annotations, present)[table.image]
    counts = [len(level) for level in anchors.sizes]
    centres = _centres(np.log(table.size * scale), sum(counts))
    flat = [round(math.exp(value), 1) for value in centres]
    sizes = [flat[sum(counts[:i]) : sum(counts[: i + 1])] for i in range(len(counts))]
    ratios = [_ratios(table.height / table.width)]
    fitted = anchor_shapes(anchors.with_(sizes=sizes, aspect_ratios=ratios), resize)
    before, after = (_coverage(anchor_fit(annotations, table, one)) for one in (present, fitted))
    return AnchorFit(sizes, ratios, before, after)


def _centres(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(N,) -> (count,) rising: k-means in one dimension, from even quantiles."""
    centres = np.quantile(values, (np.arange(count) + 0.5) / count)
    for _ in range(ROUNDS):
        nearest = np.abs(values[:, None] - centres).argmin(axis=1)
        sums, numbers = np.bincount(nearest, values, count), np.bincount(nearest, minlength=count)
        moved = np.where(numbers > 0, sums / np.maximum(numbers, 1), centres)
        if np.allclose(moved, centres):
            break
        centres = moved
    return np.sort(centres)


def _ratios(ratios: NDArray[np.float64]) -> list[float]:
    """Height / width: the thirds of the boxes have one each."""
    shares = (np.arange(NUM_RATIOS) + 0.5) / NUM_RATIOS
    return [round(float(value), 2) for value in np.exp(np.quantile(np.log(ratios), shares))]


def _coverage(fit: NDArray[np.float64]) -> dict[str, float]:
    return {"mean_iou": float(fit.mean()), "above_50": float((fit > 0.5).mean()), "above_70": float((fit > 0.7).mean())}
