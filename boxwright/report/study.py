"""From a results file, or the folder of a run, to everything a report shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boxwright.data.annotations import Annotations
from boxwright.engine.evaluation import DataSource, evaluate, read_annotated, read_for
from boxwright.engine.loading import BEST, LAST, load
from boxwright.engine.measuring import ImagesDone
from boxwright.engine.training.loggers import read_metrics
from boxwright.engine.training.run_folder import SETTINGS, read_settings
from boxwright.errors import BoxwrightError, DatasetError
from boxwright.evaluation.analysis import analyse
from boxwright.evaluation.coco import kinds_to_evaluate
from boxwright.evaluation.detections import read_detections
from boxwright.evaluation.ground_truth import GroundTruth
from boxwright.evaluation.intervals import compare_runs
from boxwright.report.draw import COCO_LIMBS
from boxwright.report.page import Report
from boxwright.report.payload import Plain, training_payload
from boxwright.report.thumbnails import FindPicture

DETECTIONS = "detections.json"  # in the folder of a run


@dataclass(frozen=True, kw_only=True)
class Results:
    """Detections in a COCO results file, and what is known of the run that found them."""

    path: Path
    title: str = ""  # without one the data set's name is the heading
    training: Plain | None = None  # series by name, as of `training_payload`
    timing: Plain | None = None  # as of `Timing.to_dict`


def study_results(
    results: Results,
    source: DataSource,
    *,
    kinds: Sequence[str] | None = None,
    compare: str | Path | None = None,
    num_resamples: int = 1000,
    pictures: Path | None = None,
) -> Report:
    """What a page shows of results, and of those in `compare` beside them.

    `pictures` is the folder of the images, where it is not the one in which the reader of the data looks.
    """
    truth = read_annotated(source, keypoints="keypoint" in (kinds or ()))
    table = read_detections(results.path, truth)
    other = None if compare is None else read_detections(compare, truth)
    chosen = kinds_to_evaluate(truth, table, kinds)
    annotations = _annotations(source)
    return Report(
        title=results.title or Path(source.data).resolve().name,
        source=f"{results.path.name} on {source.data}",
        ground_truth=truth,
        analyses={kind: analyse(truth, table, kind=kind, num_resamples=num_resamples) for kind in chosen},
        find=picture_finder(truth, annotations, pictures),
        comparisons=None
        if other is None
        else {kind: compare_runs(truth, other, table, kind=kind, num_resamples=num_resamples) for kind in chosen},
        compared_with="" if compare is None else Path(compare).name,
        training=results.training,
        timing=results.timing,
        notes=truth.notes + table.notes,
        limbs=_limbs(truth, annotations),
    )


def results_of_run(
    run: Path, source: DataSource, *, device: str = "auto", progress: ImagesDone | None = None
) -> Results:
    """What a run's best weights find, with its losses; found where no file of it is there, or an older one than they.

    Only then is there a timing.
    """
    weights = next((run / name for name in (BEST, LAST) if (run / name).is_file()), None)
    path = run / DETECTIONS
    if weights is None and not path.is_file():
        raise DatasetError(f"{run} holds neither {BEST}, {LAST} nor {DETECTIONS}; give the folder of a run, or a file")
    timing = None
    if weights is not None and not (path.is_file() and path.stat().st_mtime >= weights.stat().st_mtime):
        detector = load(weights, device=device)
        scores = evaluate(detector, read_for(detector, source), save=path, progress=progress)
        timing = None if scores.timing is None else scores.timing.to_dict()
    training = training_payload(read_metrics(run))
    return Results(path=path, title=run.resolve().name, training=training, timing=timing)


def data_of_run(run: Path) -> str:
    """What the run was validated on."""
    path = run / SETTINGS
    if not path.is_file():
        raise DatasetError(f"{run} has no {SETTINGS} to say what it was validated on; give --data")
    settings = read_settings(run).data
    found = settings.val or settings.train
    if found is None:
        raise DatasetError(f"{path} does not say on which data the run was validated; give --data")
    return found


def picture_finder(truth: GroundTruth, annotations: Annotations | None, folder: Path | None) -> FindPicture:
    """Positions of the ground truth -> files: those in `folder`, else where the data set has them."""
    if folder is not None and not folder.is_dir():
        raise DatasetError(f"{folder} is no folder of pictures")
    known = {} if annotations is None else {annotations.image_id(i): i for i in range(len(annotations))}

    def find(position: int) -> Path | None:
        if folder is not None:
            return folder / truth.image_files[position]
        index = known.get(truth.image_ids[position])
        return None if annotations is None or index is None else annotations.path(index)

    return find


def _annotations(source: DataSource) -> Annotations | None:
    """For the pictures alone: without them a report is a report still."""
    try:
        return source.read()
    except (BoxwrightError, OSError):
        return None


def _limbs(truth: GroundTruth, annotations: Annotations | None) -> tuple[tuple[int, int], ...]:
    """The skeleton of the data; COCO's where 17 points come without one."""
    if truth.keypoints is None:
        return ()
    named = () if annotations is None else next((c.skeleton for c in annotations.categories if c.skeleton), ())
    return named or (COCO_LIMBS if truth.keypoints.shape[1] == 17 else ())
