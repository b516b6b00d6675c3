"""A detector goes through a data set and an evaluator sees what it finds: on one process or on many."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from boxwright.data.annotations import Annotations
from boxwright.data.skipping import Skip
from boxwright.engine.detection_stream import ImageShare, Watch, detect_share, in_eval_mode, together
from boxwright.engine.detector import Detector
from boxwright.engine.distributed import World, present_world
from boxwright.engine.given_proposals import Given
from boxwright.engine.ground_truth import category_ids_of
from boxwright.engine.saved_results import join_parts, saving
from boxwright.evaluation.result import Timing
from boxwright.types import Detections

ImagesDone = Callable[[int, int], None]  # images done, images of this process


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """How a detector goes through a data set: images together, processes that read, a file for what it finds."""

    batch: int = 4
    workers: int = 2
    save: str | Path | None = None
    progress: ImagesDone | None = None


class ImageEvaluator(Protocol):
    """Takes what is found in one image after the other; what others have seen is absorbed as their state."""

    def add_detections(self, image_id: int | str, detections: Detections, /) -> None:
        """What is found in one image, in its own frame."""

    def state(self) -> Any:
        """What was seen, for another process."""

    def absorb(self, state: Any, /) -> None:
        """Adds what an evaluator of other images has seen."""


def show_detections(
    evaluator: ImageEvaluator,
    detector: Detector,
    annotations: Annotations,
    options: StreamOptions,
    given: Given | None = None,
) -> tuple[Timing, list[Skip]]:
    """Shows the evaluator of each process what all of them find; -> the time of all, the images that could not be read.

    The model looks at the proposals `given` for each image, if there are some.
    """
    category_ids = category_ids_of(annotations)
    shift = -detector.config.model.conventions.keypoint_offset
    share = ImageShare(annotations, present_world())
    watch = Watch(detector.device)
    with in_eval_mode(detector), saving(options.save, share.world) as writer:
        stream = detect_share(detector, share, options.batch, options.workers, watch, given)
        for done, (image_id, found) in enumerate(stream, start=1):
            found = _in_pixel_numbers(found, shift)
            evaluator.add_detections(image_id, found)
            if writer is not None:
                writer.write(found.to_coco(image_id, category_ids))
            if options.progress is not None:
                options.progress(done, len(share))
    return _exchanged(evaluator, share.world, watch.timing(), share.skipped, options.save)


def _in_pixel_numbers(found: Detections, shift: float) -> Detections:
    """Keypoints where the annotations have them: the model's may be places half a pixel from the pixel's number."""
    if found.keypoints is None or not shift:
        return found
    return replace(found, keypoints=found.keypoints + torch.tensor([shift, shift, 0.0]))


def _exchanged(
    evaluator: ImageEvaluator, world: World, timing: Timing, skipped: list[Skip], save: str | Path | None
) -> tuple[Timing, list[Skip]]:
    """What every process has seen -> the evaluator of each, and one file of all results."""
    if world.size == 1:
        return timing, skipped
    states = world.gather((evaluator.state(), timing, skipped))
    join_parts(save, world)
    for rank, (state, _, _) in enumerate(states):
        if rank != world.rank:
            evaluator.absorb(state)
    return together([one for _, one, _ in states]), [skip for _, _, part in states for skip in part]
