"""`boxwright evaluate`: the official figures of a model or of a results file, and what they mean."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from boxwright.cli.console import print_json
from boxwright.cli.evaluate_figures import Measured, Metric, ModelOptions, Request, measure_file, measure_model
from boxwright.cli.options import (
    BatchOption,
    DeviceOption,
    KindsOption,
    PrecisionOption,
    RootOption,
    SplitOption,
    WeightsOption,
)
from boxwright.cli.writes import writes

app = typer.Typer(add_completion=False)

ModelArgument = Annotated[
    str | None, typer.Argument(help="A preset, a published model, a config or a checkpoint.", show_default=False)
]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(help="Settings to change, as test.nms=gaussian.", show_default=False)
]
DetectionsOption = Annotated[Path | None, typer.Option(help="COCO results to evaluate, in place of a model.")]
ProposalsOption = Annotated[
    Path | None, typer.Option(help="COCO results with the boxes to look at, for a model without an RPN.")
]
CompareOption = Annotated[
    Path | None, typer.Option(help="COCO results of another run: is this one better beyond chance?")
]
ExplainOption = Annotated[
    bool, typer.Option(help="Intervals, best scores to keep, kinds of errors, worst images and more.")
]


@app.command()
@writes("save", reads=["model", "data", "weights", "proposals", "compare"])
def evaluate(
    model: ModelArgument = None,
    overrides: OverridesArgument = None,
    data: Annotated[str | None, typer.Option("--data", "-d", help="A folder, a file or a known data set.")] = None,
    detections: DetectionsOption = None,
    weights: WeightsOption = None,
    split: SplitOption = "val",
    root: RootOption = None,
    kinds: KindsOption = None,
    metric: Annotated[Metric, typer.Option(help="auto: LVIS where the annotations are LVIS's, else COCO.")] = "auto",
    sigmas: Annotated[str | None, typer.Option(help="For keypoints: one a point, as 0.026,0.025,...")] = None,
    proposals: ProposalsOption = None,
    save: Annotated[Path | None, typer.Option(help="A file for the detections, as COCO results.")] = None,
    compare: CompareOption = None,
    explain: ExplainOption = False,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of images for intervals and comparisons.")] = 1000,
    batch: BatchOption = 4,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read pictures.")] = 2,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "fp32",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, figures as fractions of 1.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: kind, category, figure, value.")] = False,
) -> None:
    """Measure a model on a data set, or detections that were saved.

    Example:

      boxwright evaluate --detections results.json --data val.json --explain
    """
    request = Request(metric, kinds, _numbers(sigmas), explain, compare, resamples)
    chosen = ModelOptions(model, weights, overrides or [], device, precision, batch, workers, proposals, save)
    _check_usage(chosen, data, detections, prints_twice=as_json and as_csv)
    from boxwright.engine.evaluation import DataSource

    source = DataSource(str(data), split, root)
    if detections is None:
        measured = measure_model(chosen, source, request)
    else:
        measured = measure_file(detections, source, request)
    _print(measured, request, as_json=as_json, as_csv=as_csv)


def _check_usage(options: ModelOptions, data: str | None, detections: Path | None, *, prints_twice: bool) -> None:
    if data is None:
        raise typer.BadParameter("say on which data: --data FOLDER or --data val.json")
    if (options.model is None) == (detections is None):
        raise typer.BadParameter("give a model, or --detections with saved results; one of the two")
    if prints_twice:
        raise typer.BadParameter("--json and --csv cannot both be printed")
    if detections is not None and options.save is not None:
        raise typer.BadParameter("--save writes what a model finds; with --detections there is nothing to save")
    if detections is not None and options.proposals is not None:
        raise typer.BadParameter("--proposals are for a model to look at; with --detections there is none")


def _print(measured: Measured, request: Request, *, as_json: bool, as_csv: bool) -> None:
    studies = list(_studies(measured, request))
    if as_json:
        content = measured.scores.to_dict()
        for name, kind, plain, _ in studies:
            content.setdefault(name, {})[kind] = plain
        print_json(content)
    elif as_csv:
        print(measured.scores.to_csv(), end="")
    else:
        print("\n\n".join([str(measured.scores), *(text.rstrip() for *_, text in studies)]))


def _numbers(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(word) for word in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"--sigmas is {text!r}; expected numbers with commas between them") from error


def _studies(measured: Measured, request: Request) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Name in the JSON, kind, content, text."""
    truth, table = measured.truth, measured.detections
    if table is None:
        return
    from boxwright.evaluation import read_detections
    from boxwright.evaluation.analysis import analyse
    from boxwright.evaluation.analysis_text import format_analysis, format_comparison
    from boxwright.evaluation.intervals import compare_runs

    options: dict[str, Any] = {"sigmas": measured.sigmas, "num_resamples": request.resamples}
    other = None if request.compare is None else read_detections(request.compare, truth)
    for kind in measured.scores.kinds:
        if request.explain:
            analysis = analyse(truth, table, kind=kind, **options)
            yield "analysis", kind, analysis.to_dict(), format_analysis(analysis)
        if other is not None:
            found = compare_runs(truth, other, table, kind=kind, **options)
            text = format_comparison(found, kind, first=str(request.compare), second="this run")
            yield "comparison", kind, found.to_dict(), text
