"""Evaluates a detector on a data set: streamed, in batches of equal size, on one process or on many."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from boxwright.config.parts import AugmentedTest
from boxwright.config.schema import RCNN
from boxwright.data.annotations import Annotations
from boxwright.data.augment import InputRule
from boxwright.data.dataset import EvaluationDataset, TargetRule, load_sample
from boxwright.data.loader import Collate, Packed, data_loader, on_device
from boxwright.data.network_input import padded_size
from boxwright.data.reading import align_classes, read_dataset
from boxwright.data.resize import shortest_edge_size
from boxwright.data.sampler import Draw, EvaluationSampler
from boxwright.data.skipping import Skip
from boxwright.errors import BoxwrightError, ConfigError, DatasetError
from boxwright.evaluation.coco import Evaluator
from boxwright.evaluation.ground_truth import GroundTruth, read_ground_truth
from boxwright.evaluation.result import Scores, Timing
from boxwright.evaluation.results_file import ResultsWriter, join_results, results_file
from boxwright.evaluation.similarity import COCO_SIGMAS
from boxwright.types import Detections, Size

from .augmented import detect_augmented
from .ground_truth import category_ids_of, ground_truth_of
from .inference import Detector

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
    evaluated that the model finds and the data annotates. `ground_truth` spares turning the annotations into it again
    at each call.

    Images run together only where their padded sizes agree, so no figure depends on `batch`. The model is put back
    into training mode if it was in it. Images that cannot be read count as images in which nothing was found, and
    `scores.notes` says how many there were.
    """
    annotations = read_for(detector, data, split=split, root=root)
    truth = ground_truth_of(annotations) if ground_truth is None else ground_truth
    wanted = kinds_of(detector, annotations) if kinds is None else tuple(kinds)
    sigmas, notes = _sigmas(wanted, truth, sigmas)
    category_ids = category_ids_of(annotations)
    evaluator = Evaluator(truth, kinds=wanted, category_ids=category_ids, sigmas=sigmas, keep=keep)
    shift = -detector.config.model.conventions.keypoint_offset
    share = _Share(annotations, *_rank())
    watch = _Watch(detector.device)
    with _in_eval_mode(detector), _saved(save, share) as writer:
        for done, (image_id, found) in enumerate(_detect(detector, share, batch, workers, watch), start=1):
            found = _in_pixel_numbers(found, shift)
            evaluator.add_detections(image_id, found)
            if writer is not None:
                writer.write(found.to_coco(image_id, category_ids))
            if progress is not None:
                progress(done, len(share))
    timing, skipped = _gather(evaluator, watch.timing(), share, save)
    scores = evaluator.result(timing)
    notes = scores.notes + notes + _notes_on(skipped)
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
    model = detector.config.model
    heads = {
        "mask": isinstance(model, RCNN) and model.mask_head,
        "keypoint": isinstance(model, RCNN) and model.keypoint_head,
    }
    known = {"mask": annotations.has_masks, "keypoint": annotations.has_keypoints}
    return ("box", *(kind for kind in ("mask", "keypoint") if heads[kind] and known[kind]))


def input_rule(detector: Detector) -> InputRule:
    """How pictures become the network's input at test."""
    settings = detector.config.model.input
    return InputRule(
        short=(settings.resize.short_test,),
        long=settings.resize.long_test,
        method=settings.resize.method,
        channels=settings.channels,
        value_range=settings.value_range,
        mean=settings.mean,
        std=settings.std,
        pad_to=settings.pad_to,
    )


def read_for(
    detector: Detector, data: str | Path | Annotations, *, split: str = "val", root: str | Path | None = None
) -> Annotations:
    """A data set with the model's classes in the model's order."""
    names, model = detector.class_names, detector.config.model
    if isinstance(model, RCNN) and model.box_head is None:
        raise ConfigError("the model finds proposals only; boxwright.evaluation.proposals measures their recall")
    if isinstance(data, Annotations):
        annotations = align_classes(data, names) if names else data
    else:
        annotations = read_dataset(
            data, split=split, root=root, keypoints=_finds_keypoints(detector), class_names=names or None
        )
    if len(annotations.categories) != model.num_classes:
        raise DatasetError(
            f"{annotations.source} has {len(annotations.categories)} classes and the model {model.num_classes}, "
            "without names to tell which is which; set model.class_names"
        )
    return annotations


def _finds_keypoints(detector: Detector) -> bool:
    model = detector.config.model
    return isinstance(model, RCNN) and model.keypoint_head is not None


def _sigmas(
    kinds: Sequence[str], truth: GroundTruth, sigmas: Sequence[float] | None
) -> tuple[Sequence[float] | None, tuple[str, ...]]:
    """Those given, or COCO's for 17 keypoints; another skeleton gets the same for each point, and a note says so."""
    if sigmas is not None or "keypoint" not in kinds or truth.keypoints is None:
        return sigmas, ()
    count = truth.keypoints.shape[1]
    if count == len(COCO_SIGMAS):
        return None, ()
    return [PLAIN_SIGMA] * count, (f"the {count} keypoints have no published sigmas: {PLAIN_SIGMA} is taken for each",)


# --- the images of this process -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Share:
    """A run of neighbouring images, and which of them could not be read."""

    annotations: Annotations
    rank: int
    world_size: int
    skipped: list[Skip] = field(default_factory=list)

    @property
    def positions(self) -> range:
        return EvaluationSampler(len(self.annotations), rank=self.rank, world_size=self.world_size).positions

    def __len__(self) -> int:
        return len(self.positions)

    def batches(self, rule: InputRule, batch: int) -> list[list[Draw]]:
        """Images of equal padded size together, so that none is padded for another's sake."""
        groups: dict[Size, list[list[Draw]]] = {}
        for position in self.positions:
            size = shortest_edge_size(
                self.annotations.size(position), short=rule.short[0], long=rule.long, method=rule.method
            )
            batches = groups.setdefault(padded_size([size], divisibility=rule.pad_to), [[]])
            if len(batches[-1]) == batch:
                batches.append([])
            batches[-1].append((position, position))
        return sorted((part for batches in groups.values() for part in batches), key=lambda part: part[0])

    def readable(self, packed: Iterator[Packed]) -> Iterator[Packed]:
        for item in packed:
            self.skipped.extend(item.skips)
            if item.sizes:
                yield item


def _detect(
    detector: Detector, share: _Share, batch: int, workers: int, watch: "_Watch"
) -> Iterator[tuple[int | str, Detections]]:
    """Id of each image that can be read, and what is found in it."""
    if detector.config.test.augment is not None:
        yield from _detect_augmented(detector, share, detector.config.test.augment, watch)
        return
    rule = input_rule(detector)
    everything = np.arange(len(share.annotations))
    dataset = EvaluationDataset(annotations=share.annotations, images=everything, rule=rule, targets=TargetRule())
    batches = share.batches(rule, batch)
    packed = data_loader(dataset, batches, Collate(rule.pad_to), workers, detector.device, seed=0)
    for prepared in on_device(share.readable(packed), detector.device, rule):
        images = prepared.images.contiguous(memory_format=detector.memory_format)
        with watch.computing(len(prepared)):
            results = detector.detect(replace(prepared, images=images))
        assert prepared.targets is not None
        for target, found in zip(prepared.targets, results, strict=True):
            assert target.image_id is not None
            yield target.image_id, found


def _detect_augmented(
    detector: Detector, share: _Share, settings: AugmentedTest, watch: "_Watch"
) -> Iterator[tuple[int | str, Detections]]:
    """One picture after the other: each is seen many times, so reading it costs nothing beside that."""
    annotations = share.annotations
    pairs = annotations.flip_pairs if annotations.keypoint_names else None
    for position in share.positions:
        path = annotations.path(position)
        try:
            picture = load_sample(annotations, position, TargetRule()).image
        except (BoxwrightError, OSError) as error:
            share.skipped.append(Skip(position, str(path), str(error)))
            continue
        with watch.computing(1):
            found = detect_augmented(detector, picture, settings, flip_pairs=pairs)
        yield annotations.image_id(position), found


def _in_pixel_numbers(found: Detections, shift: float) -> Detections:
    """Keypoints where the annotations have them: the model's may be places half a pixel from the pixel's number."""
    if found.keypoints is None or not shift:
        return found
    return replace(found, keypoints=found.keypoints + torch.tensor([shift, shift, 0.0]))


@contextmanager
def _in_eval_mode(detector: Detector) -> Iterator[None]:
    was_training = detector.model.training
    detector.model.eval()
    try:
        yield
    finally:
        detector.model.train(was_training)


class _Watch:
    """Seconds of this process: all of them, and those of the detector. The first batch, in which kernels are compiled
    and memory is found, is left out where there are more."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.compute, self.num_images, self._num_batches = 0.0, 0, 0
        self._start = time.perf_counter()

    @contextmanager
    def computing(self, num_images: int) -> Iterator[None]:
        self._wait()
        begin = time.perf_counter()
        yield
        self._wait()
        if self._num_batches == 1:
            self.compute, self.num_images, self._start = 0.0, 0, begin
        self.compute += time.perf_counter() - begin
        self.num_images += num_images
        self._num_batches += 1

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def timing(self) -> Timing:
        return Timing(num_images=self.num_images, total=time.perf_counter() - self._start, compute=self.compute)


# --- many processes -----------------------------------------------------------------------------------------------


def _rank() -> tuple[int, int]:
    is_distributed = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if is_distributed else (0, 1)


@contextmanager
def _saved(path: str | Path | None, share: _Share) -> Iterator[ResultsWriter | None]:
    if path is None:
        yield None
        return
    with results_file(path if share.world_size == 1 else _part(path, share.rank)) as writer:
        yield writer


def _part(path: str | Path, rank: int) -> Path:
    return Path(path).with_name(f".{Path(path).name}.rank{rank}")


def _gather(evaluator: Evaluator, timing: Timing, share: _Share, save: str | Path | None) -> tuple[Timing, list[Skip]]:
    """What every process found -> the evaluator of each; the time of all; the images nobody could read."""
    if share.world_size == 1:
        return timing, share.skipped
    states: list[Any] = [None] * share.world_size
    dist.all_gather_object(states, (evaluator.state(), timing, share.skipped))
    if save is not None and share.rank == 0:  # every part was finished before its process came here
        join_results(save, [_part(save, rank) for rank in range(share.world_size)])
    for rank, (state, _, _) in enumerate(states):
        if rank != share.rank:
            evaluator.absorb(state)
    timings = [one for _, one, _ in states]
    together = Timing(
        num_images=sum(one.num_images for one in timings),
        total=max(one.total for one in timings),
        compute=sum(one.compute for one in timings) / len(timings),
        devices=len(timings),
    )
    return together, [skip for _, _, skipped in states for skip in skipped]


def _notes_on(skipped: Sequence[Skip]) -> tuple[str, ...]:
    if not skipped:
        return ()
    first = skipped[0]
    return (
        f"{len(skipped)} images could not be read and count as images in which nothing was found; "
        f"first: {first.place}: {first.reason}",
    )
