"""What the figures mean, as tables for a terminal."""

from collections.abc import Sequence

from boxwright.evaluation.analysis import Analysis
from boxwright.evaluation.intervals import Comparison, Interval
from boxwright.evaluation.text import format_table, percent

NUM_CONFUSED, NUM_IMAGES = 10, 10


def format_analysis(analysis: Analysis) -> str:
    """A table for each study of one kind, with a line above it that says what it shows."""
    parts = [
        _titled("95% intervals, from resampled images", _intervals(analysis)),
        _titled("the score to keep of each category: where F1 at IoU 0.5 is highest", _thresholds(analysis)),
        _titled("kinds of errors at IoU 0.5, and the AP50 that mending them gives back", _errors(analysis)),
        _titled("most confused", _confused(analysis)),
        _titled("by size in pixels, width to height, and objects of the image", _slices(analysis)),
        _calibration(analysis),
        _titled("images with the most errors", _images(analysis)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def format_comparison(comparison: Comparison, kind: str, *, first: str, second: str) -> str:
    """Second minus first; AP, AP50, AP75, then the categories whose interval leaves out 0."""
    header = ["", first, second, "difference", "95% interval", f"{second} is better in"]
    rows = []
    for name in comparison.difference:
        change = comparison.difference[name]
        values = [percent(comparison.first[name].value), percent(comparison.second[name].value)]
        share = f"{100 * comparison.share_better[name]:.1f}% of {comparison.num_resamples}"
        rows.append([name.upper(), *values, _signed(change.value), _range(change), share])
    sure = [(name, i) for name, i in comparison.per_class.items() if i.low > 0 or i.high < 0]
    sure.sort(key=lambda item: item[1].value)
    table = _titled(f"{kind}: {second} against {first}, on the same images", format_table(header, rows))
    changed = [[name, _signed(i.value), _range(i)] for name, i in sure]
    if not changed:
        return f"{table}\nno category's AP differs beyond chance\n"
    return f"{table}\n\n{_titled('categories whose AP differs', _table(['category', 'difference', '95%'], changed))}\n"


def _titled(title: str, table: str) -> str:
    return f"{title}\n{table}" if table else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return format_table(header, rows) if rows else ""


def _intervals(analysis: Analysis) -> str:
    figures = analysis.intervals.figures
    return _table(["", "value", "95% interval"], [[n.upper(), percent(i.value), _range(i)] for n, i in figures.items()])


def _range(interval: Interval) -> str:
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def _signed(value: float) -> str:
    return f"{100 * value:+.3f}"


def _thresholds(analysis: Analysis) -> str:
    rows = []
    for curve in analysis.curves:
        if curve.best is None:
            continue
        at = curve.best
        shares = (curve.best_f1, float(curve.precision[at]), float(curve.recall[at]))
        rows.append([curve.name, f"{curve.scores[at]:.3f}", *(f"{100 * share:.1f}" for share in shares)])
    return _table(["category", "score", "F1", "precision", "recall"], rows)


def _errors(analysis: Analysis) -> str:
    report = analysis.errors
    if report is None:
        return ""
    rows = [[name, str(report.counts[name]), _signed(gain)] for name, gain in report.gain.items()]
    rows.append(["all false detections", "", _signed(report.gain_without_false_positives)])
    rows.append(["all missed objects", "", _signed(report.gain_without_false_negatives)])
    return _table(["kind", "number", "AP50"], rows)


def _confused(analysis: Analysis) -> str:
    if analysis.confusion is None:
        return ""
    pairs = analysis.confusion.most_confused(NUM_CONFUSED)
    return _table(["is a", "found as", "times"], [[truth, found, str(number)] for truth, found, number in pairs])


def _slices(analysis: Analysis) -> str:
    rows = [
        [part.by, part.name, str(part.num_annotations), percent(part.ap), percent(part.ap50), percent(part.recall)]
        for part in analysis.slices
    ]
    return _table(["by", "", "objects", "AP", "AP50", "AR"], rows)


def _calibration(analysis: Analysis) -> str:
    found = analysis.calibration
    if found is None:
        return "calibration: the scores are not probabilities"
    place = "" if found.position_error is None else f"; by place and size of the box too {found.position_error:.3f}"
    return (
        f"calibration: a score is off by {found.error:.3f} on average from the share that is right, at most by "
        f"{found.highest:.3f}{place}"
    )


def _images(analysis: Analysis) -> str:
    rows = [
        [
            str(report.image_id),
            report.file_name,
            str(report.num_right),
            str(len(report.wrong)),
            str(len(report.missed)),
            f"{100 * report.f1:.1f}",
        ]
        for report in analysis.images[:NUM_IMAGES]
        if report.num_errors
    ]
    return _table(["image", "file", "right", "wrong", "missed", "F1"], rows)
