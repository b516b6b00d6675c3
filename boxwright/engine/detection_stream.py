"""The images of one process, what a detector finds in each of them, and how long it takes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from boxwright.config import testing
from boxwright.data.annotations import Annotations
from boxwright.data.dataset import EvaluationDataset, TargetRule, load_sample
from boxwright.data.loader import Collate, Packed, data_loader, on_device
from boxwright.data.network_input import InputRule, batches_of_equal_size
from boxwright.data.sampler import EvaluationSampler, SampleKey
from boxwright.data.skipping import Skip
from boxwright.engine.augmented import detect_augmented
from boxwright.engine.detector import Detector
from boxwright.engine.distributed import World
from boxwright.engine.given_proposals import Given
from boxwright.engine.input_rule import evaluation_rule
from boxwright.errors import BoxwrightError
from boxwright.evaluation.result import Timing
from boxwright.types import Batch, Detections


@dataclass(frozen=True)
class ImageShare:
    """A run of neighbouring images, and which of them could not be read."""

    annotations: Annotations
    world: World
    skipped: list[Skip] = field(default_factory=list)

    @property
    def positions(self) -> range:
        """Of this process's images in `annotations`: a range; those of all processes together have every image once."""
        return EvaluationSampler(len(self.annotations), rank=self.world.rank, world_size=self.world.size).positions

    def __len__(self) -> int:
        return len(self.positions)

    def batches(self, rule: InputRule, batch: int) -> list[list[SampleKey]]:
        """Images of equal padded size together, so that none is padded for another's sake."""
        positions = self.positions
        sizes = [rule.size_at(self.annotations.size(position), rule.short[0]) for position in positions]
        batches = batches_of_equal_size(sizes, divisibility=rule.pad_to, batch=batch)
        return [[(positions[i], positions[i]) for i in part] for part in batches]

    def readable(self, packed: Iterator[Packed]) -> Iterator[Packed]:
        """What holds at least one image; images that could not be read go to `skipped`."""
        for item in packed:
            self.skipped.extend(item.skips)
            if item.sizes:
                yield item


def detect_share(
    detector: Detector, share: ImageShare, batch: int, workers: int, watch: "Watch", given: Given | None = None
) -> Iterator[tuple[int | str, Detections]]:
    """Id of each image that can be read, and what is found in it, or among the proposals `given` for it."""
    if detector.config.test.augment is not None:
        yield from _detect_augmented(detector, share, detector.config.test.augment, watch, given)
        return
    rule = evaluation_rule(detector.config.model.input)
    everything = np.arange(len(share.annotations))
    dataset = EvaluationDataset(annotations=share.annotations, images=everything, rule=rule, targets=TargetRule())
    batches = share.batches(rule, batch)
    packed = data_loader(dataset, batches, Collate(rule.pad_to), workers, detector.device, seed=0)
    for prepared in on_device(share.readable(packed), detector.device, rule):
        images = prepared.images.contiguous(memory_format=detector.memory_format)
        with watch.computing(len(prepared)):
            results = detector.detect(replace(prepared, images=images), proposals=_proposals_of(prepared, given))
        assert prepared.targets is not None
        for target, found in zip(prepared.targets, results, strict=True):
            assert target.image_id is not None
            yield target.image_id, found


def _detect_augmented(
    detector: Detector, share: ImageShare, settings: testing.AugmentedTest, watch: "Watch", given: Given | None
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
        image_id = annotations.image_id(position)
        proposals = None if given is None else given[image_id]
        with watch.computing(1):
            found = detect_augmented(detector, picture, settings, flip_pairs=pairs, proposals=proposals)
        yield image_id, found


def _proposals_of(batch: Batch, given: Given | None) -> list[Tensor] | None:
    if given is None:
        return None
    assert batch.targets is not None
    return [given[target.image_id] for target in batch.targets if target.image_id is not None]


@contextmanager
def in_eval_mode(detector: Detector) -> Iterator[None]:
    """Inside the block the model is in evaluation mode, after it in its former one, also if the block raises."""
    was_training = detector.model.training
    detector.model.eval()
    try:
        yield
    finally:
        detector.model.train(was_training)


class Watch:
    """Seconds of this process: all of them, and those of the detector. The first batch, in which kernels are compiled
    and memory is found, is left out where there are more."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.compute, self.num_images, self._num_batches = 0.0, 0, 0
        self._start = time.perf_counter()

    @contextmanager
    def computing(self, num_images: int) -> Iterator[None]:
        """Around the work on one batch of `num_images`; a GPU is waited for before and after it."""
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
        """Up to now; `total` goes on with the time, `compute` with `computing` alone."""
        return Timing(num_images=self.num_images, total=time.perf_counter() - self._start, compute=self.compute)


def together(timings: Sequence[Timing]) -> Timing:
    """Of processes that worked side by side."""
    return Timing(
        num_images=sum(one.num_images for one in timings),
        total=max(one.total for one in timings),
        compute=sum(one.compute for one in timings) / len(timings),
        devices=len(timings),
    )
