"""How sure a figure is: bootstrap intervals over images, and the paired comparison of two runs.

AP of a resample is a little too high: the copies of a drawn image agree with each other, and the raised precision keeps
every lucky streak. The interval therefore has the spread of the resamples, but lies around the measured value.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.errors import DatasetError
from boxwright.evaluation.coco import add_to_tally, coco_tally
from boxwright.evaluation.detections import DetectionTable
from boxwright.evaluation.ground_truth import GroundTruth
from boxwright.evaluation.matching import Tally
from boxwright.evaluation.protocol import coco_protocol
from boxwright.ops.dispatch import on_host

_THRESHOLDS = {"ap": slice(None), "ap50": slice(0, 1), "ap75": slice(5, 6)}


@dataclass(frozen=True)
class Interval:
    """A figure of the whole data set and how far `level` of its resamples stray, as fractions of 1."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def to_dict(self) -> dict[str, float]:
        """value, low, high, level."""
        return asdict(self)


@dataclass(frozen=True)
class Intervals:
    """Intervals of AP, AP50 and AP75, and of the AP of each category that has annotations."""

    figures: dict[str, Interval]
    per_class: dict[str, Interval]
    num_resamples: int

    def to_dict(self) -> dict[str, Any]:
        """{"ap": {"value": ..., "low": ..., "high": ..., "level": ...}, ..., "per_class": {...}, ...}."""
        return {
            **{name: interval.to_dict() for name, interval in self.figures.items()},
            "per_class": {name: interval.to_dict() for name, interval in self.per_class.items()},
            "num_resamples": self.num_resamples,
        }


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same images. `difference` is second minus first; `share_better` the part of the resamples in
    which the second has the higher figure.
    """

    first: dict[str, Interval]
    second: dict[str, Interval]
    difference: dict[str, Interval]
    share_better: dict[str, float]
    per_class: dict[str, Interval]  # of the difference in AP
    num_resamples: int

    def to_dict(self) -> dict[str, Any]:
        """The fields by their names, intervals as dicts."""
        named = {"first": self.first, "second": self.second, "difference": self.difference, "per_class": self.per_class}
        intervals = {key: {name: i.to_dict() for name, i in value.items()} for key, value in named.items()}
        return {**intervals, "share_better": self.share_better, "num_resamples": self.num_resamples}


def bootstrap_intervals(
    ground_truth: GroundTruth,
    table: DetectionTable,
    *,
    kind: str = "box",
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    sigmas: Sequence[float] | None = None,
) -> Intervals:
    """Draws as many images as there are, with replacement, `num_resamples` times, and measures AP on each draw."""
    tally = _full_tally(ground_truth, table, kind, sigmas)
    weights = _draw(ground_truth, num_resamples, seed)
    whole, draws = _class_precision(tally, _unit_weights(ground_truth)), _class_precision(tally, weights)
    figures = {name: _interval(_figure(whole, name)[0], _figure(draws, name), level) for name in _THRESHOLDS}
    return Intervals(figures, _per_class(ground_truth, _class_ap(whole)[0], _class_ap(draws), level), num_resamples)


def compare_runs(
    ground_truth: GroundTruth,
    first: DetectionTable,
    second: DetectionTable,
    *,
    kind: str = "box",
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    sigmas: Sequence[float] | None = None,
) -> Comparison:
    """Paired: both runs are measured on the same draws, so that what is hard for both does not blur the difference."""
    weights = _draw(ground_truth, num_resamples, seed)
    tallies = [_full_tally(ground_truth, table, kind, sigmas) for table in (first, second)]
    wholes = [_class_precision(tally, _unit_weights(ground_truth)) for tally in tallies]
    draws = [_class_precision(tally, weights) for tally in tallies]
    single: list[dict[str, Interval]] = [{}, {}]
    difference, share_better = {}, {}
    for name in _THRESHOLDS:
        values = [float(_figure(whole, name)[0]) for whole in wholes]
        drawn = [_figure(draw, name) for draw in draws]
        for run in range(2):
            single[run][name] = _interval(values[run], drawn[run], level)
        difference[name] = _interval(values[1] - values[0], drawn[1] - drawn[0], level)
        share_better[name] = float((drawn[1] > drawn[0]).mean())
    gained = _class_ap(wholes[1])[0] - _class_ap(wholes[0])[0], _class_ap(draws[1]) - _class_ap(draws[0])
    per_class = _per_class(ground_truth, *gained, level)
    return Comparison(single[0], single[1], difference, share_better, per_class, num_resamples)


def _full_tally(ground_truth: GroundTruth, table: DetectionTable, kind: str, sigmas: Sequence[float] | None) -> Tally:
    tally = coco_tally(ground_truth, kind, sigmas=sigmas)
    add_to_tally(tally, table, coco_protocol(kind))
    return tally


def _draw(ground_truth: GroundTruth, num_resamples: int, seed: int) -> NDArray[np.int32]:
    """(B, I): how often each image is drawn."""
    number = len(ground_truth.image_ids)
    if not number or num_resamples < 1:
        raise DatasetError(f"{num_resamples} resamples of {number} images cannot be drawn; both must be at least 1")
    drawn = np.random.default_rng(seed).integers(0, number, (num_resamples, number))
    cells = drawn + number * np.arange(num_resamples)[:, None]
    return np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape).astype(np.int32)


def _unit_weights(ground_truth: GroundTruth) -> NDArray[np.int32]:
    return np.ones((1, len(ground_truth.image_ids)), dtype=np.int32)


def _class_precision(tally: Tally, weights: NDArray[np.int32]) -> NDArray[np.float64]:
    """(B, I) -> (B, K, T) AP of each draw, category and threshold over all areas; NaN where nothing is annotated."""
    truth, outcomes = tally.ground_truth, tally.outcomes()
    counts = tally.ignored[:, 0] == 0
    category, image = truth.category[counts], truth.image[counts]
    number = len(truth.category_ids)
    wanted = np.stack([np.bincount(category, weights=row[image], minlength=number) for row in weights])
    true_positive = np.ascontiguousarray(outcomes.true_positive[:, 0])
    false_positive = np.ascontiguousarray(outcomes.false_positive[:, 0])
    recalls = np.linspace(0.0, 1.0, 101)
    backend = on_host("coco_resample")  # asked here: other threads do not see `ops.use_backend`

    def measure(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        detections = outcomes.first, outcomes.image, true_positive, false_positive
        drawn = weights[rows], wanted[rows].astype(np.int64)
        found: NDArray[np.float64] = backend.resampled_precision(*detections, *drawn, recalls, len(tally.thresholds))
        return found

    workers = min(os.cpu_count() or 1, len(weights))
    with ThreadPoolExecutor(workers) as pool:  # the kernel leaves Python alone while it runs
        parts = list(pool.map(measure, np.array_split(np.arange(len(weights)), workers)))
    precision = np.concatenate(parts)
    return np.where(precision < 0, np.nan, precision)


def _figure(precision: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """(B, K, T) -> (B,): the mean over the categories that have annotations in the draw."""
    values = precision[:, :, _THRESHOLDS[name]].mean(axis=2)
    known = ~np.isnan(values)
    means: NDArray[np.float64] = np.where(known, values, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return means


def _class_ap(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B, K, T) -> (B, K)."""
    means: NDArray[np.float64] = precision.mean(axis=2)
    return means


def _per_class(
    ground_truth: GroundTruth, values: NDArray[np.float64], draws: NDArray[np.float64], level: float
) -> dict[str, Interval]:
    """Draws in which a category has no annotation say nothing about it."""
    rows = enumerate(ground_truth.names)
    return {name: _interval(values[k], draws[:, k], level) for k, name in rows if not np.isnan(values[k])}


def _interval(value: float, draws: NDArray[np.float64], level: float) -> Interval:
    known = draws[~np.isnan(draws)]
    if not known.size:
        return Interval(float(value), float(value), float(value), level)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]) - known.mean() + value
    return Interval(float(value), float(low), float(high), level)
