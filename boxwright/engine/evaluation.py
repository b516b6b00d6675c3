"""Evaluates a detector on a data set: streamed, in batches of equal size, on one process or on many."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from boxwright.config import testing
from boxwright.data.annotations import Annotations
from boxwright.data.formats.reading import align_classes, read_dataset
from boxwright.data.skipping import Skip
from boxwright.engine.detection_stream import Share, Watch, detect_share, in_eval_mode, together
from boxwright.engine.detector import Detector
from boxwright.engine.distributed import present_world
from boxwright.engine.given_proposals import check_proposals, read_proposals
from boxwright.engine.ground_truth import category_ids_of, ground_truth_of
from boxwright.engine.saved_results import join_parts, saving
from boxwright.errors import ConfigError, DatasetError
from boxwright.evaluation.coco import Evaluator
from boxwright.evaluation.ground_truth import GroundTruth, read_ground_truth
from boxwright.evaluation.result import Scores, Timing
from boxwright.evaluation.similarity import COCO_SIGMAS
from boxwright.types import Detections

Progress = Callable[[int, int], None]  # images done, images of this process

PLAIN_SIGMA = 0.05  # for each keypoint of a skeleton that has no published sigmas


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
    progress: Progress | None = None,
) -> Scores:
    """Figures of a detector: `scores.box.ap`, `.ap50`, `.per_class`; the same for `scores.mask` and `scores.keypoint`.

    `data` is Annotations, or a folder, file or known name of which `split` is taken. Classes are found by their names,
    or by their order where the model has none. Under torch.distributed every process calls this with the same
    arguments: each takes its share of the images, each image counts once, and all get the figures. `save` writes the
    detections as COCO results while they come; `keep` leaves them in `scores.detections`. Without `kinds` everything is
    evaluated that the model finds and the data annotates. `sigmas` of keypoints replace those of the settings
    (`test.keypoint_sigmas`). `proposals` is a COCO results file of boxes to look at, for models that take them from
    outside. `ground_truth` spares turning the annotations into it again at each call.

    Images run together only where their padded sizes agree, so no figure depends on `batch`. The model is put back
    into training mode if it was in it. Images that cannot be read count as images in which nothing was found, and
    `scores.notes` says how many there were.
    """
    check_proposals(detector.config.model, proposals)
    annotations = read_for(detector, data, split=split, root=root)
    truth = ground_truth_of(annotations) if ground_truth is None else ground_truth
    wanted = kinds_of(detector, annotations) if kinds is None else tuple(kinds)
    given = None if proposals is None else read_proposals(proposals, truth)
    sigmas = keypoint_sigmas(detector.config.test, truth) if sigmas is None else sigmas
    category_ids = category_ids_of(annotations)
    evaluator = Evaluator(truth, kinds=wanted, category_ids=category_ids, sigmas=sigmas, keep=keep)
    shift = -detector.config.model.conventions.keypoint_offset
    share = Share(annotations, present_world())
    watch = Watch(detector.device)
    with in_eval_mode(detector), saving(save, share.world) as writer:
        stream = detect_share(detector, share, batch, workers, watch, given)
        for done, (image_id, found) in enumerate(stream, start=1):
            found = _in_pixel_numbers(found, shift)
            evaluator.add_detections(image_id, found)
            if writer is not None:
                writer.write(found.to_coco(image_id, category_ids))
            if progress is not None:
                progress(done, len(share))
    timing, skipped = _gather(evaluator, watch.timing(), share, save)
    scores = evaluator.result(timing)
    notes = (*scores.notes, *_note_on_sigmas(wanted, sigmas), *_notes_on(skipped))
    return replace(scores, notes=notes, detections=evaluator.table() if keep else None)


def read_annotated(
    data: str | Path, *, split: str = "val", root: str | Path | None = None, keypoints: bool = False
) -> GroundTruth:
    """What results are compared with: a COCO file as it is, any other source as `read_dataset` reads it."""
    if str(data).endswith(".json"):
        return read_ground_truth(data)
    return ground_truth_of(read_dataset(data, split=split, root=root, keypoints=keypoints))


def kinds_of(detector: Detector, annotations: Annotations) -> tuple[str, ...]:
    """What the model finds and the data annotates."""
    known = {"box": True, "mask": annotations.has_masks, "keypoint": annotations.has_keypoints}
    return tuple(kind for kind in detector.config.model.finds if known[kind])


def read_for(
    detector: Detector, data: str | Path | Annotations, *, split: str = "val", root: str | Path | None = None
) -> Annotations:
    """A data set with the model's classes in the model's order."""
    names, model = detector.class_names, detector.config.model
    if not model.finds:
        raise ConfigError("the model finds proposals only; boxwright.engine.proposal_recall measures them")
    if isinstance(data, Annotations):
        annotations = align_classes(data, names) if names else data
    else:
        annotations = read_dataset(
            data, split=split, root=root, keypoints="keypoint" in model.finds, class_names=names or None
        )
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


def _note_on_sigmas(kinds: Sequence[str], sigmas: Sequence[float] | None) -> tuple[str, ...]:
    if "keypoint" not in kinds or set(sigmas or ()) != {PLAIN_SIGMA}:
        return ()
    return (f"the keypoints have no sigmas of their own (test.keypoint_sigmas): {PLAIN_SIGMA} is taken for each",)


# --- many processes -----------------------------------------------------------------------------------------------


def _in_pixel_numbers(found: Detections, shift: float) -> Detections:
    """Keypoints where the annotations have them: the model's may be places half a pixel from the pixel's number."""
    if found.keypoints is None or not shift:
        return found
    return replace(found, keypoints=found.keypoints + torch.tensor([shift, shift, 0.0]))


def _gather(evaluator: Evaluator, timing: Timing, share: Share, save: str | Path | None) -> tuple[Timing, list[Skip]]:
    """What every process found -> the evaluator of each; the time of all; the images nobody could read."""
    world = share.world
    if world.size == 1:
        return timing, share.skipped
    states = world.gather((evaluator.state(), timing, share.skipped))
    join_parts(save, world)
    for rank, (state, _, _) in enumerate(states):
        if rank != world.rank:
            evaluator.absorb(state)
    return together([one for _, one, _ in states]), [skip for _, _, skipped in states for skip in skipped]


def _notes_on(skipped: Sequence[Skip]) -> tuple[str, ...]:
    if not skipped:
        return ()
    first = skipped[0]
    return (
        f"{len(skipped)} of the images could not be read and count as images in which nothing was found; "
        f"first: {first.place}: {first.reason}",
    )
