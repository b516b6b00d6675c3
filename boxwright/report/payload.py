"""What the page of a report shows, as plain values: short names, whole numbers where they say the same."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from boxwright.evaluation.analysis import Analysis
from boxwright.evaluation.errors import KINDS_OF_ERROR
from boxwright.evaluation.intervals import Comparison, Interval
from boxwright.evaluation.thresholds import ThresholdCurve

NUM_POINTS = 120  # of a curve: more cannot be told apart on a screen
Plain = dict[str, Any]


def kind_payload(analysis: Analysis, comparison: Comparison | None = None) -> Plain:
    """All of one kind but the pictures. Values are fractions of 1; -1 says there was nothing to measure."""
    figures, names = analysis.figures, analysis.figures.names
    return {
        "figures": [[f.label, short(figures.values[f.name]), f.recall] for f in figures.protocol.figures],
        "ap": [short(value) for value in figures.per_class.values()],
        "ap50": [short(value) for value in figures.class_values("ap50").tolist()],
        "intervals": {name.upper(): _ends(interval) for name, interval in analysis.intervals.figures.items()},
        "classIntervals": [_ends(analysis.intervals.per_class.get(name)) for name in names],
        "resamples": analysis.intervals.num_resamples,
        "curves": [_curve(curve) for curve in analysis.curves],
        "errors": _errors(analysis),
        "confusion": _confusion(analysis),
        "calibration": _calibration(analysis),
        "slices": [
            [p.by, p.name, p.num_annotations, short(p.ap), short(p.ap50), short(p.recall)] for p in analysis.slices
        ],
        "comparison": None if comparison is None else _comparison(comparison),
    }


def short(value: float, digits: int = 4) -> float:
    """Rounded: further digits cannot be seen on the page."""
    return round(float(value), digits)


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [short(interval.low), short(interval.high)]


def _curve(curve: ThresholdCurve) -> Plain:
    """Scores fall; at score i, n[i] detections are kept, of which tp[i] are right."""
    last = len(curve.scores) - 1
    points = np.unique(np.linspace(0, last, NUM_POINTS).round().astype(int)) if last >= 0 else np.zeros(0, dtype=int)
    if curve.best is not None:
        points = np.union1d(points, [curve.best])
    right = np.rint(curve.recall * curve.num_annotations)
    precision = curve.precision[points]
    kept = np.where(precision > 0, np.rint(right[points] / np.where(precision > 0, precision, 1)), 0)
    return {
        "objects": curve.num_annotations,
        "best": None if curve.best_threshold is None else short(curve.best_threshold, 6),
        "f1": short(curve.best_f1),
        "s": [short(score, 6) for score in curve.scores[points].tolist()],
        "tp": right[points].astype(int).tolist(),
        # Before the first right one the precision is 0 and does not say how many are kept; the position does, nearly.
        "n": np.where(kept > 0, kept, points + 1).astype(int).tolist(),
    }


def _errors(analysis: Analysis) -> Plain | None:
    report = analysis.errors
    if report is None:
        return None
    return {
        "names": list(KINDS_OF_ERROR),
        "ap50": short(report.ap50),
        "gain": [short(report.gain[name]) for name in KINDS_OF_ERROR],
        "counts": [report.counts[name] for name in KINDS_OF_ERROR],
        "falsePositives": short(report.gain_without_false_positives),
        "falseNegatives": short(report.gain_without_false_negatives),
        "perClass": [[report.per_class[name][e] for e in KINDS_OF_ERROR] for name in analysis.figures.names],
    }


def _confusion(analysis: Analysis) -> Plain | None:
    found = analysis.confusion
    if found is None:
        return None
    rows, columns = np.nonzero(found.counts)
    cells = np.stack([rows, columns, found.counts[rows, columns]], axis=1)
    return {"cells": cells.tolist(), "score": short(found.score_threshold), "iou": found.threshold}


def _calibration(analysis: Analysis) -> Plain | None:
    found = analysis.calibration
    if found is None:
        return None
    plain = found.to_dict()
    return {
        "counts": plain["counts"],
        "scores": [None if v is None else short(v) for v in plain["scores"]],
        "precision": [None if v is None else short(v) for v in plain["precision"]],
        "error": short(found.error),
        "highest": short(found.highest),
        "position": None if found.position_error is None else short(found.position_error),
    }


def _comparison(comparison: Comparison) -> Plain:
    return {
        "figures": [
            [
                name.upper(),
                short(comparison.first[name].value),
                short(comparison.second[name].value),
                short(change.value),
                *(_ends(change) or ()),
                short(comparison.share_better[name]),
            ]
            for name, change in comparison.difference.items()
        ],
        "classes": {name: [short(i.value), *(_ends(i) or ())] for name, i in comparison.per_class.items()},
    }


def training_payload(rows: Sequence[Plain]) -> Plain | None:
    """Rows of a run's metrics -> series by name: losses while training, figures and losses of the validation."""
    series: Plain = {}
    for row in rows:
        for name, value in row.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
            if name not in ("step", "kind") and is_number:
                steps, values = series.setdefault(f"{row.get('kind', 'train')}: {name}", ([], []))
                steps.append(row["step"])
                values.append(float(f"{value:.5g}"))
    return {name: _at_most(*columns) for name, columns in series.items()} or None


def _at_most(steps: list[int], values: list[float], most: int = 400) -> list[list[float]]:
    chosen = np.unique(np.linspace(0, len(steps) - 1, most).astype(int)).tolist()
    return [[steps[i] for i in chosen], [values[i] for i in chosen]]
