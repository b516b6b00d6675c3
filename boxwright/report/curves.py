"""Curves of several runs as one page that needs nothing else."""

import html
from collections.abc import Sequence
from pathlib import Path

from boxwright.engine.training.runs import RunSummary
from boxwright.files import atomic_write

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 280, 56, 32, 12
COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#db2777", "#65a30d")
CHARTS = (
    ("train", "loss", "Training loss"),
    ("val", "loss", "Validation loss"),
    ("val", "box.ap", "Box AP"),
    ("val", "mask.ap", "Mask AP"),
    ("val", "keypoint.ap", "Keypoint AP"),
    ("train", "rate", "Learning rate"),
    ("train", "images_per_second", "Images per second"),
)
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1360px; padding: 24px 16px; color: #111827; }
h1 { font-size: 22px; } h2 { font-size: 15px; margin: 0 0 4px; }
main { display: grid; gap: 24px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
svg { width: 100%; height: auto; } text { font-size: 11px; fill: #6b7280; }
ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 4px 20px; }
i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; }
@media (prefers-color-scheme: dark) { body { background: #111827; color: #f3f4f6; } }
"""

Curve = list[tuple[int, float]]


def write_curves(runs: Sequence[RunSummary], path: str | Path) -> None:
    """One chart for each figure that some run has."""
    charts = [_chart(title, [run.curve(kind, name) for run in runs]) for kind, name, title in CHARTS]
    legend = "".join(
        f'<li><i style="background:{_colour(k)}"></i>{html.escape(str(run.folder))}</li>' for k, run in enumerate(runs)
    )
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Runs</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style>'
        f"<h1>Runs</h1><ul>{legend}</ul><main>{''.join(charts)}</main></html>\n"
    )
    with atomic_write(path, "w") as file:
        file.write(page)


def _chart(title: str, curves: Sequence[Curve]) -> str:
    points = [point for curve in curves for point in curve]
    if not points:
        return ""
    most_step = max(step for step, _ in points) or 1
    low, high = min(0.0, *(value for _, value in points)), max(value for _, value in points) or 1.0

    def place(step: float, value: float) -> str:
        x = LEFT + step / most_step * (WIDTH - LEFT - 8)
        y = HEIGHT - BOTTOM - (value - low) / ((high - low) or 1.0) * (HEIGHT - BOTTOM - TOP)
        return f"{x:.1f},{y:.1f}"

    lines = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = low + share * (high - low)
        x, y = place(0, value).split(",")
        lines.append(f'<line x1="{x}" x2="{WIDTH - 8}" y1="{y}" y2="{y}" stroke="#9ca3af" stroke-opacity=".3"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{float(y) + 4}" text-anchor="end">{value:.3g}</text>')
    for share in (0.0, 0.5, 1.0):
        x = place(share * most_step, low).split(",")[0]
        lines.append(f'<text x="{x}" y="{HEIGHT - 10}" text-anchor="middle">{round(share * most_step)}</text>')
    for number, curve in enumerate(curves):
        if len(curve) == 1:
            x, y = place(*curve[0]).split(",")
            lines.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{_colour(number)}"/>')
        elif curve:
            path = " ".join(place(*point) for point in curve)
            lines.append(f'<polyline points="{path}" fill="none" stroke="{_colour(number)}" stroke-width="2"/>')
    return f'<section><h2>{title}</h2><svg viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(lines)}</svg></section>'


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
