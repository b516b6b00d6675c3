"""`boxwright evaluate`: the official figures of a model or of a results file, and what they mean."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from boxwright.cli import precision as precision_of
from boxwright.cli.console import print_json, progress
from boxwright.cli.writes import writes

if TYPE_CHECKING:
    from boxwright.engine.detector import Detector
    from boxwright.evaluation import DetectionTable, GroundTruth, Scores
    from boxwright.evaluation.proposals import ProposalScores
    from boxwright.evaluation.voc import VocScores

app = typer.Typer(add_completion=False)

Metric = Literal["auto", "coco", "lvis", "voc2007", "voc2012", "proposals"]


@app.command()
@writes("save", reads=["model", "data", "weights", "proposals", "compare"])
def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="A preset, a published model, a config or a checkpoint.", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings to change, as test.nms=gaussian.", show_default=False)
    ] = None,
    data: Annotated[str | None, typer.Option("--data", "-d", help="A folder, a file or a known data set.")] = None,
    detections: Annotated[
        Path | None, typer.Option("--detections", help="COCO results to evaluate, in place of a model.")
    ] = None,
    weights: Annotated[str | None, typer.Option("--weights", "-w", help="A checkpoint of any known source.")] = None,
    split: Annotated[str, typer.Option(help="Which split of the data.")] = "val",
    root: Annotated[Path | None, typer.Option(help="Where known data sets lie.")] = None,
    kinds: Annotated[list[str] | None, typer.Option("--kind", help="box, mask or keypoint; else all there is.")] = None,
    metric: Annotated[Metric, typer.Option(help="auto: LVIS where the annotations are LVIS's, else COCO.")] = "auto",
    sigmas: Annotated[str | None, typer.Option(help="For keypoints: one a point, as 0.026,0.025,...")] = None,
    proposals: Annotated[
        Path | None, typer.Option(help="COCO results with the boxes to look at, for a model without an RPN.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="A file for the detections, as COCO results.")] = None,
    compare: Annotated[
        Path | None, typer.Option(help="COCO results of another run: is this one better beyond chance?")
    ] = None,
    explain: Annotated[
        bool, typer.Option(help="Intervals, best scores to keep, kinds of errors, worst images and more.")
    ] = False,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of images for intervals and comparisons.")] = 1000,
    batch: Annotated[int, typer.Option(min=1, help="Images of one padded size that run together.")] = 4,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read pictures.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    precision: Annotated[str, typer.Option(help=precision_of.HELP)] = "fp32",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, figures as fractions of 1.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: kind, category, figure, value.")] = False,
) -> None:
    """Measure a model on a data set, or detections that were saved.

    Example:

      boxwright evaluate --detections results.json --data val.json --explain
    """
    if data is None:
        raise typer.BadParameter("say on which data: --data FOLDER or --data val.json")
    if (model is None) == (detections is None):
        raise typer.BadParameter("give a model, or --detections with saved results; one of the two")
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv cannot both be printed")
    if detections is not None and save is not None:
        raise typer.BadParameter("--save writes what a model finds; with --detections there is nothing to save")
    if detections is not None and proposals is not None:
        raise typer.BadParameter("--proposals are for a model to look at; with --detections there is none")
    wanted = _Wanted(metric, kinds, _numbers(sigmas), explain, compare, resamples)
    source = _Source(data, split, root)
    if detections is not None:
        truth, scores, table = _measure_file(detections, source, wanted)
    else:
        from boxwright.engine.evaluation import keypoint_sigmas
        from boxwright.engine.loading import load

        exact = precision_of.to_load(precision)
        detector = load(str(model), weights, device=device, precision=exact, overrides=overrides or [])
        way = _Way(precision, batch, workers, save, proposals)
        truth, scores, table = _measure_model(detector, source, wanted, way)
        wanted = replace(wanted, sigmas=wanted.sigmas or keypoint_sigmas(detector.config.test, truth))
    studies = [] if table is None else list(_studies(truth, scores, table, wanted))
    if as_json:
        content = scores.to_dict()
        for name, kind, plain, _ in studies:
            content.setdefault(name, {})[kind] = plain
        print_json(content)
    elif as_csv:
        print(scores.to_csv(), end="")
    else:
        print("\n\n".join([str(scores), *(text.rstrip() for *_, text in studies)]))


@dataclass(frozen=True)
class _Source:
    data: str
    split: str
    root: Path | None


@dataclass(frozen=True)
class _Way:
    """How the model is run."""

    precision: str
    batch: int
    workers: int
    save: Path | None
    proposals: Path | None


@dataclass(frozen=True)
class _Wanted:
    metric: Metric
    kinds: list[str] | None
    sigmas: list[float] | None
    explain: bool
    compare: Path | None
    resamples: int

    @property
    def needs_detections(self) -> bool:
        """Beyond the streamed COCO figures."""
        return self.explain or self.compare is not None or self.metric not in ("auto", "coco")


def _numbers(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(word) for word in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"--sigmas is {text!r}; expected numbers with commas between them") from error


Measured = tuple["GroundTruth", "Scores | VocScores | ProposalScores", "DetectionTable | None"]


def _measure_file(detections: Path, source: _Source, wanted: _Wanted) -> Measured:
    from boxwright.engine.evaluation import read_annotated
    from boxwright.evaluation import read_detections

    truth = read_annotated(
        source.data, split=source.split, root=source.root, keypoints="keypoint" in (wanted.kinds or ())
    )
    table = read_detections(detections, truth)
    return truth, _measure(truth, table, wanted), table


def _measure_model(detector: "Detector", source: _Source, wanted: _Wanted, way: _Way) -> Measured:
    from boxwright.data.formats.reading import read_dataset
    from boxwright.engine.evaluation import evaluate as evaluate_detector
    from boxwright.engine.evaluation import read_for
    from boxwright.engine.ground_truth import ground_truth_of
    from boxwright.engine.proposal_recall import evaluate_proposals

    if not detector.config.model.finds:
        annotations = read_dataset(source.data, split=source.split, root=source.root)
        with progress("finding proposals", len(annotations)) as advance:
            recall = evaluate_proposals(
                detector,
                annotations,
                batch=way.batch,
                workers=way.workers,
                save=way.save,
                progress=lambda done, total: advance(),
            )
        return ground_truth_of(annotations), recall, None
    annotations = read_for(detector, source.data, split=source.split, root=source.root)
    first = range(min(len(annotations), precision_of.MOST_CALIBRATED_ON))
    precision_of.calibrate(detector, way.precision, [annotations.path(i) for i in first])
    truth = ground_truth_of(annotations)
    is_lvis = wanted.metric == "auto" and truth.federated is not None
    with progress("finding objects", len(annotations)) as advance:
        scores = evaluate_detector(
            detector,
            annotations,
            ground_truth=truth,
            batch=way.batch,
            workers=way.workers,
            kinds=wanted.kinds,
            sigmas=wanted.sigmas,
            proposals=way.proposals,
            save=way.save,
            keep=wanted.needs_detections or is_lvis,
            progress=lambda done, total: advance(),
        )
    table = scores.detections
    if table is None or (wanted.metric in ("auto", "coco") and not is_lvis):
        return truth, scores, table
    return truth, replace(_measure(truth, table, wanted), timing=scores.timing), table


def _measure(truth: "GroundTruth", table: "DetectionTable", wanted: _Wanted) -> "Scores | VocScores | ProposalScores":
    from boxwright.evaluation import evaluate_coco
    from boxwright.evaluation.lvis import evaluate_lvis
    from boxwright.evaluation.proposals import evaluate_proposals
    from boxwright.evaluation.voc import evaluate_voc

    match wanted.metric:
        case "voc2007":
            return evaluate_voc(truth, table, year=2007)
        case "voc2012":
            return evaluate_voc(truth, table, year=2012)
        case "proposals":
            return evaluate_proposals(truth, table)
        case "lvis":
            return evaluate_lvis(truth, table, kinds=_lvis_kinds(table, wanted))
        case "auto" if truth.federated is not None:
            return evaluate_lvis(truth, table, kinds=_lvis_kinds(table, wanted))
        case _:
            return evaluate_coco(truth, table, kinds=wanted.kinds, sigmas=wanted.sigmas)


def _lvis_kinds(table: "DetectionTable", wanted: _Wanted) -> list[str]:
    return wanted.kinds or [kind for kind in table.kinds if kind != "keypoint"]


def _studies(
    truth: "GroundTruth", scores: "Scores | VocScores | ProposalScores", table: "DetectionTable", wanted: _Wanted
) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Name in the JSON, kind, content, text."""
    from boxwright.evaluation import read_detections
    from boxwright.evaluation.analysis import analyse
    from boxwright.evaluation.analysis_text import format_analysis, format_comparison
    from boxwright.evaluation.intervals import compare_runs

    options: dict[str, Any] = {"sigmas": wanted.sigmas, "num_resamples": wanted.resamples}
    other = None if wanted.compare is None else read_detections(wanted.compare, truth)
    for kind in scores.kinds:
        if wanted.explain:
            analysis = analyse(truth, table, kind=kind, **options)
            yield "analysis", kind, analysis.to_dict(), format_analysis(analysis)
        if other is not None:
            found = compare_runs(truth, other, table, kind=kind, **options)
            yield (
                "comparison",
                kind,
                found.to_dict(),
                format_comparison(found, kind, first=str(wanted.compare), second="this run"),
            )
