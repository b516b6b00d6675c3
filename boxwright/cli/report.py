"""`boxwright report`: one page of figures, charts and the worst images."""

from pathlib import Path
from typing import Annotated

import typer

from boxwright.cli.console import print_json, print_note
from boxwright.cli.writes import writes

app = typer.Typer(add_completion=False)


@app.command()
@writes("out", reads=["source", "data", "pictures", "compare"])
def report(
    source: Annotated[Path, typer.Argument(help="The folder of a run, or detections as COCO results.")],
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="A folder, a file or a known data set; else the run's own.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path("report.html"),
    split: Annotated[str, typer.Option(help="Which split of the data.")] = "val",
    root: Annotated[Path | None, typer.Option(help="Where known data sets lie.")] = None,
    pictures: Annotated[
        Path | None, typer.Option("--images", help="The folder of the pictures, where it is not found by itself.")
    ] = None,
    compare: Annotated[Path | None, typer.Option(help="COCO results of another run, to compare with.")] = None,
    kinds: Annotated[list[str] | None, typer.Option("--kind", help="box, mask or keypoint; else all there is.")] = None,
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
    from boxwright.report import study
    from boxwright.report.page import write_report

    training = timing = None
    if data is None and not source.is_dir():
        raise typer.BadParameter("say what the detections are compared with: --data val.json")
    compared = study.Data(source=data or study.data_of_run(source), split=split, root=root, pictures=pictures)
    results = source
    if source.is_dir():
        results, timing = study.detections_of_run(source, compared, device=device, progress=_tell)
        training = study.training_of_run(source)
    made = study.study_results(
        results,
        compared,
        kinds=kinds,
        compare=compare,
        num_resamples=resamples,
        title=title or (source.resolve().name if source.is_dir() else None),
        training=training,
        timing=timing,
    )
    size = write_report(made, out, num_images=worst)
    if as_json:
        figures = {kind: analysis.figures.values for kind, analysis in made.analyses.items()}
        print_json({"out": str(out), "bytes": size, "figures": figures})
    else:
        print(f"{out}: {', '.join(made.analyses)}, {size / 2**20:.1f} MiB")


def _tell(done: int, total: int) -> None:
    """Ten plain lines."""
    if done * 10 // total > (done - 1) * 10 // total:
        print_note(f"finding objects: {done} of {total}")
