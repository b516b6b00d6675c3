"""`boxwright tune`: a learning rate from a short sweep, anchors from the boxes of the data."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from boxwright.cli.console import print_json, print_note, print_table
from boxwright.cli.options import JsonOption, TrainingDataOption, TrainingDeviceOption

if TYPE_CHECKING:
    from boxwright.engine.training.tuning import AnchorFit, RateSweep

app = typer.Typer(add_completion=False)

BAR = 40


@app.command()
def tune(
    config: Annotated[str, typer.Argument(help="A preset, a published model's name, or a config file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings to change: train.batch=8 ...")] = None,
    data: TrainingDataOption = None,
    anchors: Annotated[bool, typer.Option("--anchors", help="Fit anchors in the place of a learning rate.")] = False,
    low: Annotated[float, typer.Option(help="The first rate of the sweep.")] = 1e-6,
    high: Annotated[float, typer.Option(help="The last rate of the sweep.")] = 1.0,
    steps: Annotated[int, typer.Option(min=3, help="Steps of the sweep.")] = 100,
    device: TrainingDeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find settings by measuring; prints them in the form that `boxwright train` takes.

    Example:

      boxwright tune mask_rcnn_r18_fpn_gn --data photos --anchors
    """
    from boxwright.engine.loading import load_config, pick_device
    from boxwright.engine.training.setup import read_sets
    from boxwright.engine.training.tuning import RateRange, fit_anchors, sweep_rates

    settings = load_config(config, overrides or [])
    if anchors:
        _print_anchors(fit_anchors(settings, read_sets(settings, data).train), as_json=as_json)
    else:
        rates = RateRange(low, high, steps)
        _print_rates(sweep_rates(settings, data, rates, device=pick_device(device), say=print_note), as_json=as_json)


def _print_anchors(fit: "AnchorFit", *, as_json: bool) -> None:
    if as_json:
        print_json(vars(fit))
        return
    header = ("", "mean best IoU", "share above 0.5", "above 0.7")
    names = ("mean_iou", "above_50", "above_70")
    rows = [(name, *(f"{part[n]:.3f}" for n in names)) for name, part in (("now", fit.before), ("fitted", fit.after))]
    print_table("Anchors against the boxes of the data", [header, *rows])
    print(f"model.anchors.sizes={fit.sizes} model.anchors.aspect_ratios={fit.aspect_ratios}".replace(", ", ","))


def _print_rates(sweep: "RateSweep", *, as_json: bool) -> None:
    if as_json:
        print_json({**vars(sweep), "suggested": sweep.suggested, "highest": sweep.highest})
        return
    top = max(loss for loss in sweep.losses if math.isfinite(loss))
    every = max(len(sweep.rates) // 20, 1)
    rows = [
        (f"{rate:.2e}", f"{loss:.3f}", "#" * round(BAR * loss / top))
        for rate, loss in list(zip(sweep.rates, sweep.losses, strict=True))[::every]
    ]
    print_table("Loss at rising rates", [("rate", "loss", ""), *rows])
    print(f"train.lr={sweep.suggested:.2g}")
    print_note(
        f"the loss falls fastest at {sweep.suggested:.2g} and is lowest at {sweep.highest:.2g}; take no more than that"
    )
