"""Evaluates a detector on a data set: streamed, in batches of equal size, on one process or on many."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from boxwright.config import testing
from boxwright.data.annotations import Annotations
from boxwright.data.formats.reading import align_classes, read_dataset
from boxwright.data.skipping import Skip
from boxwright.engine.detector import Detector
from boxwright.engine.given_proposals import check_proposals, read_proposals
from boxwright.engine.ground_truth import category_ids_of, ground_truth_of
from boxwright.engine.measuring import ImagesDone, StreamOptions, show_detections
from boxwright.errors import ConfigError, DatasetError
from boxwright.evaluation.coco import Evaluator
from boxwright.evaluation.ground_truth import GroundTruth, read_ground_truth
from boxwright.evaluation.result import Scores, Timing
from boxwright.evaluation.similarity import COCO_SIGMAS

PLAIN_SIGMA = 0.05  # for each keypoint of a skeleton that has no published sigmas


@dataclass(frozen=True)
class DataSource:
    """A folder, a file or a known name, of which `split` is taken; known data sets lie in `root`."""

    data: str | Path
    split: str = "val"
    root: str | Path | None = None

    def read(self, *, keypoints: bool = False, class_names: Sequence[str] | None = None) -> Annotations:
        """As `read_dataset` does."""
        return read_dataset(self.data, split=self.split, root=self.root, keypoints=keypoints, class_names=class_names)


def evaluate(
    detector: Detector,
    data: str | Path | Annotations,
    *,
    split: str = "val",
    root: str | Path | None = None,
    batch: int = 4,
    workers: int = 2,
    kinds: Sequence[str] | None = None,
    sigmas: Sequence[float] | None = None,
    proposals: str | Path | None = None,
    save: str | Path | None = None,
    keep: bool = False,
    ground_truth: GroundTruth | None = None,
    progress: ImagesDone | None = None,
) -> Scores:
    """Figures of a detector: `scores.box.ap`, `.ap50`, `.per_class`; the same for `scores.mask` and `scores.keypoint`.

    `data` is Annotations, or a folder, file or known name of which `split` is taken. Classes are found by their names,
    or by their order where the model has none. Images run together only where their padded sizes agree, so no figure
    depends on `batch`. Those that cannot be read count as images in which nothing was found; `scores.notes` says how
    many there were. `kinds` are by default all that the model finds and the data annotates. `sigmas` of keypoints
    replace `test.keypoint_sigmas`. `proposals` is a COCO results file of boxes to look at, for models that take them
    from outside. `save` writes the detections as COCO results while they come, `keep` leaves them in
    `scores.detections`. `ground_truth` spares turning the annotations into it at each call. Under torch.distributed
    every process calls this alike: each takes its share of the images, and all get the figures.

        scores = bw.evaluate(bw.load("runs/photos"), "photos", save="results.json")
        print(scores.box.ap50, scores.box.per_class)
    """
    check_proposals(detector.config.model, proposals)
    annotations = read_for(detector, data if isinstance(data, Annotations) else DataSource(data, split, root))
    evaluator = _evaluator(detector, annotations, kinds=kinds, sigmas=sigmas, keep=keep, ground_truth=ground_truth)
    given = None if proposals is None else read_proposals(proposals, evaluator.ground_truth)
    options = StreamOptions(batch=batch, workers=workers, save=save, progress=progress)
    timing, skipped = show_detections(evaluator, detector, annotations, options, given)
    return _scores(evaluator, timing, skipped, keep=keep)


def _evaluator(
    detector: Detector,
    annotations: Annotations,
    *,
    kinds: Sequence[str] | None,
    sigmas: Sequence[float] | None,
    keep: bool,
    ground_truth: GroundTruth | None,
) -> Evaluator:
    truth = ground_truth_of(annotations) if ground_truth is None else ground_truth
    return Evaluator(
        truth,
        kinds=_kinds_of(detector, annotations) if kinds is None else kinds,
        category_ids=category_ids_of(annotations),
        sigmas=keypoint_sigmas(detector.config.test, truth) if sigmas is None else sigmas,
        keep=keep,
    )


def _scores(evaluator: Evaluator, timing: Timing, skipped: Sequence[Skip], *, keep: bool) -> Scores:
    """The figures, with notes on what a reader of them should know."""
    scores = evaluator.result(timing)
    notes = list(scores.notes)
    keypoints = evaluator.tallies.get("keypoint")
    if keypoints is not None and set(keypoints.similarity.sigmas) == {PLAIN_SIGMA}:
        notes.append(
            f"the keypoints have no sigmas of their own (test.keypoint_sigmas): {PLAIN_SIGMA} is taken for each"
        )
    if skipped:
        notes.append(
            f"{len(skipped)} of the images could not be read and count as images in which nothing was found; "
            f"first: {skipped[0].place}: {skipped[0].reason}"
        )
    return replace(scores, notes=tuple(notes), detections=evaluator.table() if keep else None)


def read_annotated(source: DataSource, *, keypoints: bool = False) -> GroundTruth:
    """What results are compared with: a COCO file as it is, any other source as `read_dataset` reads it."""
    if str(source.data).endswith(".json"):
        return read_ground_truth(source.data)
    return ground_truth_of(source.read(keypoints=keypoints))


def _kinds_of(detector: Detector, annotations: Annotations) -> tuple[str, ...]:
    """What the model finds and the data annotates."""
    known = {"box": True, "mask": annotations.has_masks, "keypoint": annotations.has_keypoints}
    return tuple(kind for kind in detector.config.model.finds if known[kind])


def read_for(detector: Detector, data: DataSource | Annotations) -> Annotations:
    """A data set with the model's classes in the model's order."""
    names, model = detector.class_names, detector.config.model
    if not model.finds:
        raise ConfigError("the model finds proposals only; boxwright.engine.proposal_recall measures them")
    if isinstance(data, Annotations):
        annotations = align_classes(data, names) if names else data
    else:
        annotations = data.read(keypoints="keypoint" in model.finds, class_names=names or None)
    if len(annotations.categories) != model.num_classes:
        raise DatasetError(
            f"{annotations.source} has {len(annotations.categories)} classes and the model {model.num_classes}, "
            "without names to tell which is which; set model.class_names"
        )
    return annotations


def keypoint_sigmas(settings: testing.Selection, truth: GroundTruth) -> list[float] | None:
    """Those of the settings; for 17 keypoints, or none, None, which is COCO's; others get the same for each point."""
    own = settings.keypoint_sigmas
    count = 0 if truth.keypoints is None else truth.keypoints.shape[1]
    if own or count in (0, len(COCO_SIGMAS)):
        return list(own) or None
    return [PLAIN_SIGMA] * count
