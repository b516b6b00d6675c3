"""`boxwright report`: one page of figures, charts and the worst images."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from boxwright.cli.console import print_json, print_tenth
from boxwright.cli.options import KindsOption, RootOption, SplitOption
from boxwright.cli.writes import writes

app = typer.Typer(add_completion=False)

ResultsArgument = Annotated[Path, typer.Argument(help="The folder of a run, or detections as COCO results.")]
DataOption = Annotated[
    str | None, typer.Option("--data", "-d", help="A folder, a file or a known data set; else the run's own.")
]
PicturesOption = Annotated[
    Path | None, typer.Option("--images", help="The folder of the pictures, where it is not found by itself.")
]


@app.command()
@writes("out", reads=["source", "data", "pictures", "compare"])
def report(
    source: ResultsArgument,
    data: DataOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path("report.html"),
    split: SplitOption = "val",
    root: RootOption = None,
    pictures: PicturesOption = None,
    compare: Annotated[Path | None, typer.Option(help="COCO results of another run, to compare with.")] = None,
    kinds: KindsOption = None,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst images to show.")] = 40,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of images for the intervals.")] = 1000,
    title: Annotated[str | None, typer.Option(help="The heading.")] = None,
    device: Annotated[str, typer.Option(help="For a run: auto, cpu, cuda, cuda:1, ...")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write one HTML page that needs nothing else: figures, errors, scores, confusion and the worst images.

    Example:

      boxwright report results.json --data val.json --out report.html
    """
    from boxwright.engine.evaluation import DataSource
    from boxwright.report import study
    from boxwright.report.page import write_report

    if data is None and not source.is_dir():
        raise typer.BadParameter("say what the detections are compared with: --data val.json")
    place = DataSource(data or study.data_of_run(source), split, root)
    results = study.Results(path=source)
    if source.is_dir():
        results = study.results_of_run(source, place, device=device, progress=partial(print_tenth, "finding objects"))
    results = replace(results, title=title or results.title)
    made = study.study_results(results, place, kinds=kinds, compare=compare, num_resamples=resamples, pictures=pictures)
    size = write_report(made, out, num_images=worst)
    if as_json:
        figures = {kind: analysis.figures.values for kind, analysis in made.analyses.items()}
        print_json({"out": str(out), "bytes": size, "figures": figures})
    else:
        print(f"{out}: {', '.join(made.analyses)}, {size / 2**20:.1f} MiB")
