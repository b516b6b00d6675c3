"""The pictures of `boxwright data stats`. matplotlib comes with the extra [report]."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from boxwright.data.annotations import Annotations
from boxwright.data.stats import AnchorShapes, BoxTable, anchor_fit, box_table, network_scales
from boxwright.errors import MissingExtraError
from boxwright.files import atomic_write

NAMES = ("class_balance", "box_sizes", "aspect_ratios", "objects_per_image", "anchor_fit")  # of the files
MOST_CLASSES = 40  # bars; of more classes the most and the least frequent are shown
MOST_POINTS = 20_000


def plot_stats(splits: Mapping[str, Annotations], out: Path, *, anchors: AnchorShapes | None = None) -> list[Path]:
    """Writes a PNG each of class balance, box sizes, aspect ratios, objects per image and the fit of `anchors`."""
    figure_class = _figure_class()
    tables = {name: box_table(annotations) for name, annotations in splits.items()}
    drawings: dict[str, Any] = {
        "class_balance": lambda axes: _class_balance(axes, splits, tables),
        "box_sizes": lambda axes: _box_sizes(axes, splits, tables, anchors),
        "aspect_ratios": lambda axes: _aspect_ratios(axes, tables, anchors),
        "objects_per_image": lambda axes: _objects_per_image(axes, splits, tables),
    }
    if anchors is not None:
        drawings["anchor_fit"] = lambda axes: _anchor_fit(axes, splits, tables, anchors)
    written = []
    for name, draw in drawings.items():
        figure = figure_class(figsize=(8, 5), layout="constrained")
        draw(figure.add_subplot())
        written.append(out / f"{name}.png")
        with atomic_write(written[-1]) as file:
            figure.savefig(file, format="png", dpi=120)
    return written


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure  # without pyplot: no window system, no global state
    except ImportError as error:
        raise MissingExtraError(package="matplotlib", extra="report", purpose="drawing the plots") from error
    return Figure


def _class_balance(axes: Any, splits: Mapping[str, Annotations], tables: Mapping[str, BoxTable]) -> None:
    names = next(iter(splits.values())).class_names
    counts = {
        split: np.array([(tables[split].label == _label(annotations, name)).sum() for name in names])
        for split, annotations in splits.items()
    }
    order = np.argsort(-sum(counts.values()), kind="stable")
    if len(order) > MOST_CLASSES:
        order = np.concatenate((order[: MOST_CLASSES // 2], order[-MOST_CLASSES // 2 :]))
    bottom = np.zeros(len(order))
    for split, count in counts.items():
        axes.bar(np.arange(len(order)), count[order], bottom=bottom, label=split)
        bottom += count[order]
    axes.set_xticks(np.arange(len(order)), [names[i] for i in order], rotation=90 if len(order) > 6 else 0)
    axes.set(title="Objects of each class", ylabel="objects")
    if bottom.max(initial=0) > 100 * max(bottom.min(initial=np.inf), 1):
        axes.set_yscale("log")
    axes.legend()


def _label(annotations: Annotations, name: str) -> int:
    return annotations.class_names.index(name) if name in annotations.class_names else -1


def _box_sizes(
    axes: Any, splits: Mapping[str, Annotations], tables: Mapping[str, BoxTable], anchors: AnchorShapes | None
) -> None:
    """Width against height; with anchors both in the network frame, and the anchors drawn in."""
    for name, table in tables.items():
        scale = network_scales(splits[name], anchors)[table.image] if anchors else np.ones(len(table.width))
        step = max(len(scale) // MOST_POINTS, 1)
        axes.plot(
            (table.width * scale)[::step], (table.height * scale)[::step], ".", markersize=3, alpha=0.3, label=name
        )
    if anchors:
        shapes = anchors.shapes()
        axes.plot(shapes[:, 1], shapes[:, 0], "k+", markersize=10, label="anchors")
    frame = "the resized image" if anchors else "the image"
    axes.set(title="Boxes", xlabel=f"width in pixels of {frame}", ylabel="height")
    if anchors or any(len(table.width) for table in tables.values()):  # an empty axis has no logarithm
        axes.set(xscale="log", yscale="log")
    axes.legend()


def _aspect_ratios(axes: Any, tables: Mapping[str, BoxTable], anchors: AnchorShapes | None) -> None:
    bins = np.geomspace(1 / 8, 8, 61)
    for name, table in tables.items():
        axes.hist(np.clip(table.height / table.width, 1 / 8, 8), bins=bins, histtype="step", label=name)
    for ratio in anchors.aspect_ratios if anchors else ():
        axes.axvline(ratio, color="k", linestyle=":", linewidth=1)
    ticks = [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8]
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    dotted = " (dotted: anchors)" if anchors else ""
    axes.set(title=f"Aspect ratios of boxes{dotted}", xlabel="height / width", ylabel="objects")
    axes.legend()


def _objects_per_image(axes: Any, splits: Mapping[str, Annotations], tables: Mapping[str, BoxTable]) -> None:
    counts = {name: np.bincount(tables[name].image, minlength=len(splits[name])) for name in splits}
    most = max((int(count.max(initial=0)) for count in counts.values()), default=0)
    bins = np.arange(0, most + 2, max(most // 60, 1)) - 0.5
    for name, count in counts.items():
        axes.hist(count, bins=bins, histtype="step", label=name)
    axes.set(title="Objects per image", xlabel="objects", ylabel="images")
    axes.legend()


def _anchor_fit(
    axes: Any, splits: Mapping[str, Annotations], tables: Mapping[str, BoxTable], anchors: AnchorShapes
) -> None:
    for name, table in tables.items():
        fit = anchor_fit(splits[name], table, anchors)
        axes.hist(fit, bins=np.linspace(0, 1, 41), histtype="step", label=f"{name} (mean {fit.mean():.2f})")
    axes.set(title="Best IoU of each box with an anchor of its centre", xlabel="IoU", ylabel="objects")
    axes.legend(loc="upper left")
