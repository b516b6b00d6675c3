"""What `boxwright evaluate` measures: a model, or a file of results, by the metric that is asked for."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from boxwright.cli import precision as precision_of
from boxwright.cli.console import progress

if TYPE_CHECKING:
    from boxwright.engine.detector import Detector
    from boxwright.engine.evaluation import DataSource
    from boxwright.evaluation import DetectionTable, GroundTruth, Scores
    from boxwright.evaluation.proposals import ProposalScores
    from boxwright.evaluation.voc import VocScores

Metric = Literal["auto", "coco", "lvis", "voc2007", "voc2012", "proposals"]


@dataclass(frozen=True)
class Request:
    """What is to be measured, and which studies of it are to be made."""

    metric: Metric
    kinds: list[str] | None
    sigmas: list[float] | None
    explain: bool
    compare: Path | None
    resamples: int

    @property
    def has_studies(self) -> bool:
        """They need the detections themselves; COCO's figures alone are streamed."""
        return self.explain or self.compare is not None

    def metric_for(self, truth: "GroundTruth") -> Metric:
        """Any but auto."""
        if self.metric != "auto":
            return self.metric
        return "coco" if truth.federated is None else "lvis"


@dataclass(frozen=True)
class ModelOptions:
    """Which model is measured, and how it is run."""

    model: str | None
    weights: str | None
    overrides: list[str]
    device: str
    precision: str
    batch: int
    workers: int
    proposals: Path | None
    save: Path | None


@dataclass(frozen=True)
class Measured:
    """Figures, what they compare, and the sigmas of keypoints for the studies; without detections there are none."""

    truth: "GroundTruth"
    scores: "Scores | VocScores | ProposalScores"
    detections: "DetectionTable | None"
    sigmas: list[float] | None = None


def measure_file(detections: Path, source: "DataSource", request: Request) -> Measured:
    """Figures of a COCO results file."""
    from boxwright.engine.evaluation import read_annotated
    from boxwright.evaluation import read_detections

    truth = read_annotated(source, keypoints="keypoint" in (request.kinds or ()))
    table = read_detections(detections, truth)
    return Measured(truth, _scores(truth, table, request), table, request.sigmas)


def measure_model(options: ModelOptions, source: "DataSource", request: Request) -> Measured:
    """Figures of what a model finds; the recall of its proposals, where it finds nothing else."""
    from boxwright.engine.loading import load

    detector = load(
        str(options.model),
        options.weights,
        device=options.device,
        precision=precision_of.to_load(options.precision),
        overrides=options.overrides,
    )
    measure = _measure_detections if detector.config.model.finds else _measure_proposals
    return measure(detector, options, source, request)


def _measure_proposals(detector: "Detector", options: ModelOptions, source: "DataSource", request: Request) -> Measured:
    from boxwright.engine.ground_truth import ground_truth_of
    from boxwright.engine.proposal_recall import evaluate_proposals

    annotations = source.read()
    with progress("finding proposals", len(annotations)) as advance:
        recall = evaluate_proposals(
            detector,
            annotations,
            batch=options.batch,
            workers=options.workers,
            save=options.save,
            progress=lambda done, total: advance(),
        )
    return Measured(ground_truth_of(annotations), recall, None)


def _measure_detections(
    detector: "Detector", options: ModelOptions, source: "DataSource", request: Request
) -> Measured:
    from boxwright.engine.evaluation import evaluate, keypoint_sigmas, read_for
    from boxwright.engine.ground_truth import ground_truth_of

    annotations = read_for(detector, source)
    first = range(min(len(annotations), precision_of.MOST_CALIBRATED_ON))
    precision_of.calibrate(detector, options.precision, [annotations.path(i) for i in first])
    truth = ground_truth_of(annotations)
    is_coco = request.metric_for(truth) == "coco"
    with progress("finding objects", len(annotations)) as advance:
        scores = evaluate(
            detector,
            annotations,
            ground_truth=truth,
            batch=options.batch,
            workers=options.workers,
            kinds=request.kinds,
            sigmas=request.sigmas,
            proposals=options.proposals,
            save=options.save,
            keep=request.has_studies or not is_coco,
            progress=lambda done, total: advance(),
        )
    table, sigmas = scores.detections, request.sigmas or keypoint_sigmas(detector.config.test, truth)
    if table is None or is_coco:
        return Measured(truth, scores, table, sigmas)
    return Measured(truth, replace(_scores(truth, table, request), timing=scores.timing), table, sigmas)


def _scores(truth: "GroundTruth", table: "DetectionTable", request: Request) -> "Scores | VocScores | ProposalScores":
    from boxwright.evaluation import evaluate_coco
    from boxwright.evaluation.lvis import evaluate_lvis
    from boxwright.evaluation.proposals import evaluate_proposals
    from boxwright.evaluation.voc import evaluate_voc

    match request.metric_for(truth):
        case "voc2007":
            return evaluate_voc(truth, table, year=2007)
        case "voc2012":
            return evaluate_voc(truth, table, year=2012)
        case "proposals":
            return evaluate_proposals(truth, table)
        case "lvis":
            return evaluate_lvis(truth, table, kinds=request.kinds or [k for k in table.kinds if k != "keypoint"])
        case _:
            return evaluate_coco(truth, table, kinds=request.kinds, sigmas=request.sigmas)
