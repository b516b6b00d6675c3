"""Figures as the field prints them: a table, per-category columns, lines to paste into a spreadsheet, CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, zip_longest

from boxwright.evaluation.result import Figures, Scores, Timing

_TASK = {"box": "bbox", "mask": "segm", "keypoint": "keypoints"}
_COLUMNS = 3


def format_scores(scores: Scores) -> str:
    """The tables of each kind, the time, lines to paste, notes."""
    parts = [format_figures(figures) for figures in scores]
    if scores.timing is not None:
        parts.append(format_timing(scores.timing))
    parts += [format_copypaste(figures) for figures in scores]
    parts += [f"note: {note}" for note in scores.notes]
    return "\n".join(parts)


def format_figures(figures: Figures) -> str:
    """The table of AP figures, that of the recalls, and the AP of each category in three columns."""
    title = f"{_TASK[figures.kind]}, in percent"
    precision = [(f.label, figures.values[f.name]) for f in figures.protocol.figures if not f.recall]
    recall = [(f.label, figures.values[f.name]) for f in figures.protocol.figures if f.recall]
    blocks = [title, _figure_table(precision), _figure_table(recall)]
    if len(figures.names) > 1:
        blocks.append(category_table(figures.per_class))
    return "\n\n".join(blocks) + "\n"


def percent(value: float) -> str:
    """0.40706 -> "40.706"; "-" where there was nothing to measure."""
    return f"{100 * value:.3f}" if value >= 0 else "-"


def _figure_table(figures: Sequence[tuple[str, float]]) -> str:
    return format_table([label for label, _ in figures], [[percent(value) for _, value in figures]])


def category_table(per_class: Mapping[str, float]) -> str:
    """The AP of each category, in three columns that are read downwards."""
    rows = [(name, percent(ap)) for name, ap in per_class.items()]
    height = -(-len(rows) // _COLUMNS)
    columns = [rows[start : start + height] for start in range(0, len(rows), height)]
    lines = [list(chain.from_iterable(line)) for line in zip_longest(*columns, fillvalue=("", ""))]
    return format_table(["category", "AP"] * len(columns), lines)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with | between the columns, readable as it is and as Markdown."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def format_copypaste(figures: Figures) -> str:
    """Three lines that a spreadsheet splits at the commas."""
    shown = [f for f in figures.protocol.figures if not f.recall]
    return "\n".join(
        (
            f"copypaste: Task: {_TASK[figures.kind]}",
            "copypaste: " + ",".join(f.label for f in shown),
            "copypaste: " + ",".join(f"{100 * figures.values[f.name]:.4f}" for f in shown),
        )
    )


def format_timing(timing: Timing) -> str:
    """One line: in all, of an image, and of the detector alone."""
    numbers = timing.to_dict()
    devices = "" if timing.devices == 1 else f", on {timing.devices} devices"
    return (
        f"time: {timing.total:.1f} s for {timing.num_images} images, {numbers['seconds_per_image']:.4f} s an image "
        f"(pure compute {numbers['compute_seconds_per_image']:.4f} s) per device{devices}"
    )


def scores_to_csv(scores: Scores) -> str:
    """The figures of each kind, then the AP of its categories."""
    return figures_to_csv(
        row
        for figures in scores
        for row in (
            *((figures.kind, "", name, value) for name, value in figures.values.items()),
            *((figures.kind, name, "ap", value) for name, value in figures.per_class.items()),
        )
    )


def figures_to_csv(rows: Iterable[tuple[str, str, str, float]]) -> str:
    """(kind, category, figure, value) -> CSV with a header; values with all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("kind", "category", "figure", "value"))
    writer.writerows((*names, repr(value)) for *names, value in rows)
    return text.getvalue()
