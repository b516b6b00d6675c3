"""`boxwright data`: verbs about data sets. Another one is one more function with `@app.command()`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from boxwright.cli.console import print_json, progress
from boxwright.cli.data_check import check
from boxwright.cli.data_convert import convert
from boxwright.cli.data_stats import stats
from boxwright.cli.data_view import view

app = typer.Typer(add_completion=False)
for verb in (check, convert, stats, view):
    app.command()(verb)

Scenes = Literal["shapes", "cells", "figures"]


@app.callback()
def data() -> None:
    """Make, check, convert, count and view data sets.

    Example:

      boxwright data synth shapes-set --kind shapes --images 20
    """


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="The folder to write: images/, train.json, val.json.")],
    kind: Annotated[Scenes, typer.Option(help="What the pictures show.")] = "shapes",
    images: Annotated[int, typer.Option(help="How many pictures.")] = 500,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    size: Annotated[int, typer.Option(help="Height and width in pixels.")] = 320,
    val_fraction: Annotated[float, typer.Option(help="The part of the pictures that goes to val.json.")] = 0.2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a synthetic set in OUT.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Make a data set in COCO form from a seed: boxes, exact masks, crowds, and keypoints for `figures`.

    shapes are circles, squares, triangles, stars, rings and crosses;
    cells are what a microscope shows: round, spindle, dividing;
    figures are people with COCO's 17 keypoints.
    Things are 8 to 300 pixels large and hide one another.

    Example:

      boxwright data synth shapes-set --kind shapes --images 20
    """
    from boxwright.data.synth import generate

    with progress(f"drawing {kind}", images) as advance:
        summary = generate(
            out,
            kind=kind,
            images=images,
            seed=seed,
            size=size,
            val_fraction=val_fraction,
            overwrite=overwrite,
            on_image=advance,
        )
    if as_json:
        print_json({**asdict(summary), "folder": str(summary.folder)})
    else:
        print(f"{summary.folder}: {summary.num_train} train and {summary.num_val} val images")
        print(f"{summary.num_annotations} annotations, {summary.num_crowds} of them crowds")
        print(f"classes: {', '.join(summary.categories)}")
