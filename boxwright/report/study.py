"""From a results file, or the folder of a run, to everything a report shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwright.config.load import parse_config
from boxwright.data.annotations import Annotations
from boxwright.data.formats.reading import read_dataset
from boxwright.engine.evaluation import evaluate, read_annotated, read_for
from boxwright.engine.loading import BEST, LAST, load
from boxwright.engine.training.loggers import read_metrics
from boxwright.engine.training.run_folder import SETTINGS
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
class Data:
    """What detections are compared with. `pictures`: where they lie, if not where the reader of the data looks."""

    source: str
    split: str = "val"
    root: Path | None = None
    pictures: Path | None = None


def study_results(
    results: str | Path,
    data: Data,
    *,
    kinds: Sequence[str] | None = None,
    sigmas: Sequence[float] | None = None,
    compare: str | Path | None = None,
    num_resamples: int = 1000,
    title: str | None = None,
    training: Plain | None = None,
    timing: Plain | None = None,
) -> Report:
    """COCO results -> Report."""
    truth = read_annotated(data.source, split=data.split, root=data.root, keypoints="keypoint" in (kinds or ()))
    table = read_detections(results, truth)
    other = None if compare is None else read_detections(compare, truth)
    options: dict[str, Any] = {"sigmas": sigmas, "num_resamples": num_resamples}
    chosen = kinds_to_evaluate(truth, table, kinds)
    annotations = _annotations(data)
    return Report(
        title=title or Path(data.source).resolve().name,
        source=f"{Path(results).name} on {data.source}",
        ground_truth=truth,
        analyses={kind: analyse(truth, table, kind=kind, **options) for kind in chosen},
        find=picture_finder(truth, annotations, data.pictures),
        comparisons=None
        if other is None
        else {kind: compare_runs(truth, other, table, kind=kind, **options) for kind in chosen},
        compared_with="" if compare is None else Path(compare).name,
        training=training,
        timing=timing,
        notes=truth.notes + table.notes,
        limbs=_limbs(truth, annotations),
    )


def detections_of_run(
    run: Path, data: Data, *, device: str = "auto", progress: Callable[[int, int], None] | None = None
) -> tuple[Path, Plain | None]:
    """The file of what a run's best weights find, and the time it took; made where it is missing or older than them."""
    weights = next((run / name for name in (BEST, LAST) if (run / name).is_file()), None)
    path = run / DETECTIONS
    if weights is None and not path.is_file():
        raise DatasetError(f"{run} holds neither {BEST}, {LAST} nor {DETECTIONS}; give the folder of a run, or a file")
    if weights is None or (path.is_file() and path.stat().st_mtime >= weights.stat().st_mtime):
        return path, None
    detector = load(weights, device=device)
    annotations = read_for(detector, data.source, split=data.split, root=data.root)
    scores = evaluate(detector, annotations, save=path, progress=progress)
    return path, None if scores.timing is None else scores.timing.to_dict()


def data_of_run(run: Path) -> str:
    """What the run was validated on."""
    path = run / SETTINGS
    if not path.is_file():
        raise DatasetError(f"{run} has no {SETTINGS} to say what it was validated on; give --data")
    settings = parse_config(path.read_text(encoding="utf-8"), where=str(path)).data
    found = settings.val or settings.train
    if found is None:
        raise DatasetError(f"{path} does not say on which data the run was validated; give --data")
    return found


def training_of_run(run: Path) -> Plain | None:
    return training_payload(read_metrics(run))


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


def _annotations(data: Data) -> Annotations | None:
    """For the pictures alone: without them a report is a report still."""
    try:
        return read_dataset(data.source, split=data.split, root=data.root)
    except (BoxwrightError, OSError):
        return None


def _limbs(truth: GroundTruth, annotations: Annotations | None) -> tuple[tuple[int, int], ...]:
    """The skeleton of the data; COCO's where 17 points come without one."""
    if truth.keypoints is None:
        return ()
    named = () if annotations is None else next((c.skeleton for c in annotations.categories if c.skeleton), ())
    return named or (COCO_LIMBS if truth.keypoints.shape[1] == 17 else ())
