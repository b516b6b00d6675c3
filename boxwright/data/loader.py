"""Batches for training and evaluation: workers, transport, the way to the device, and the state to resume from."""

import gc
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from boxwright.data.annotations import Annotations
from boxwright.data.dataset import Drawn, EvaluationDataset, SampleRule, TargetRule, TrainingDataset
from boxwright.data.network_input import InputRule, bucket_of, normalise_levels, pad_batch
from boxwright.data.sampler import EvaluationSampler, TrainingSampler
from boxwright.data.selection import SelectionRule, aspect_groups, repeat_factors, select_images
from boxwright.data.skipping import Skip, SkipCount, logger
from boxwright.errors import DatasetError
from boxwright.types import Batch, Masks, Size, Target

EVERYTHING_BOXED, WITH_OBJECTS = TargetRule(keep_crowds=True), SelectionRule()


class _PlainTarget(NamedTuple):
    """A Target as arrays: these travel through the workers' pipe by value, tensors would each open a shared file."""

    boxes: Any
    labels: Any
    is_crowd: Any
    keypoints: Any
    masks: Masks | None
    size: Size
    image_id: int | str | None


class Packed(NamedTuple):
    """What a worker sends: levels as uint8 where normalising can wait for the device."""

    images: Tensor
    sizes: list[Size]
    original_sizes: list[Size]
    scales: list[tuple[float, float]]
    targets: list[_PlainTarget]
    skips: list[Skip]


@dataclass(frozen=True, kw_only=True)
class BatchRule:
    """How samples become batches: `size` images for this rank of `world_size`, in the order that the seed gives.

    `shapes` are the padded sizes a batch may have, for paths that are fast on shapes they know; a batch that fits none
    is padded to the input's `pad_to`.
    """

    size: int
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    shapes: Sequence[Size] = ()


def training_loader(
    annotations: Annotations,
    samples: SampleRule,
    batches: BatchRule,
    selection: SelectionRule = WITH_OBJECTS,
    *,
    workers: int = 2,
    device: torch.device | str = "cpu",
) -> "TrainingLoader":
    """An endless loader of Batches on `device`. The order and every augmentation depend on the seed, not on workers."""
    _check_problems(annotations, selection.max_bad_share)
    images = select_images(
        annotations,
        only_with_objects=selection.only_with_objects,
        min_keypoints=selection.min_keypoints,
        classes=selection.classes,
    )
    if not len(images):
        raise DatasetError(f"{annotations.source}: none of {len(annotations)} images is left to train on")
    share, augmentation = selection.repeat_factor, samples.augmentation
    sampler = TrainingSampler(
        len(images),
        batch=batches.size,
        seed=batches.seed,
        rank=batches.rank,
        world_size=batches.world_size,
        groups=aspect_groups(annotations, images) if selection.aspect_grouping else None,
        repeats=None if share is None else repeat_factors(annotations, images, share=share),
    )
    fixed = (augmentation.crop,) if augmentation.fixes_size and augmentation.crop else ()
    return TrainingLoader(
        TrainingDataset(annotations=annotations, images=images, samples=samples, seed=batches.seed),
        sampler,
        SkipCount(num_images=len(images), max_share=selection.max_bad_share),
        workers=workers,
        device=torch.device(device),
        collate=Collate(samples.input.pad_to, batches.shapes or fixed),
    )


class TrainingLoader:
    """Iterate it for Batches; `state_dict` is that of the next batch, however far workers have read ahead."""

    def __init__(
        self,
        dataset: TrainingDataset,
        sampler: TrainingSampler,
        skipped: SkipCount,
        *,
        workers: int,
        device: torch.device,
        collate: "Collate",
    ) -> None:
        self.dataset, self.sampler, self.skipped, self.device = dataset, sampler, skipped, device
        self._workers, self._collate = workers, collate
        self._ahead: deque[dict[str, Any]] = deque()
        self._next_state = sampler.state_dict()

    @property
    def annotations(self) -> Annotations:
        """Of all images of the source, also of those that are not trained on."""
        return self.dataset.annotations

    @property
    def epoch(self) -> int:
        """Of the next batch."""
        return int(self._next_state["epoch"])

    def __iter__(self) -> Iterator[Batch]:
        self.sampler.load_state_dict(self._next_state)
        self._ahead.clear()
        packed = data_loader(
            self.dataset, self._drawn_batches(), self._collate, self._workers, self.device, self.dataset.seed
        )
        for batch in on_device(self._counted(packed), self.device, self.dataset.samples.input):
            self._next_state = self._ahead.popleft()
            yield batch

    def _drawn_batches(self) -> Iterator[list[tuple[int, int]]]:
        for keys in self.sampler:
            self._ahead.append(self.sampler.state_dict())
            yield keys

    def _counted(self, packed: Iterator[Packed]) -> Iterator[Packed]:
        for item in packed:
            self.skipped.add(item.skips)
            yield item

    def state_dict(self) -> dict[str, Any]:
        """Of the next batch to be handed out: plain numbers and lists, the same for every rank."""
        return dict(self._next_state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Before iterating; a running iteration is not changed."""
        self.sampler.load_state_dict(state)
        self._next_state = dict(state)

    def summary(self) -> dict[str, Any]:
        """Images, how many of them could not be read, and the first of those."""
        return self.skipped.summary()


def evaluation_loader(
    annotations: Annotations,
    *,
    rule: InputRule,
    batch: int = 1,
    targets: TargetRule = EVERYTHING_BOXED,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 2,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Each image of this rank once, in order. Pictures that cannot be read are named in the log and left out.

    `batch.targets[i].image_id` says which image it is; targets are in the network frame.
    """
    images = np.arange(len(annotations))
    dataset = EvaluationDataset(annotations=annotations, images=images, rule=rule, targets=targets)
    sampler = EvaluationSampler(len(images), batch=batch, rank=rank, world_size=world_size)
    device = torch.device(device)
    packed = data_loader(dataset, sampler, Collate(rule.pad_to), workers, device, seed=0)
    return on_device(_named(packed), device, rule)


def _named(packed: Iterator[Packed]) -> Iterator[Packed]:
    for item in packed:
        for skip in item.skips:
            logger.warning("left out of the evaluation: %s: %s", skip.place, skip.reason)
        if item.sizes:
            yield item


class Collate:
    """Samples -> one padded batch in the form that travels best."""

    def __init__(self, pad_to: int, shapes: Sequence[Size] = ()) -> None:
        self.pad_to, self.shapes = pad_to, tuple(shapes)

    def __call__(self, drawn: Sequence[Drawn | Skip]) -> Packed:
        skips = [item for item in drawn if isinstance(item, Skip)]
        good = [item for item in drawn if isinstance(item, Drawn)]
        skips += [skip for item in good for skip in item.skips]
        if not good:
            return Packed(torch.zeros(0), [], [], [], [], skips)
        prepared = [item.prepared for item in good]
        shape = bucket_of([item.size for item in prepared], self.shapes)
        padded = pad_batch(prepared, divisibility=self.pad_to, shape=shape)
        plain = [_to_plain(item.target) for item in good]
        return Packed(padded.images, padded.sizes, padded.original_sizes, padded.scales, plain, skips)


def data_loader(
    dataset: TrainingDataset | EvaluationDataset,
    batches: Any,
    collate: Callable[[Sequence[Drawn | Skip]], Packed],
    workers: int,
    device: torch.device,
    seed: int,
) -> Iterator[Packed]:
    """Batches of sampler keys -> packed batches in their order, by `workers` processes or, with 0, by this one."""
    loader: Any = DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=start_worker if workers else None,
        generator=torch.Generator().manual_seed(seed),  # else each new iteration draws from the model's generator
        prefetch_factor=2 if workers else None,
    )
    return iter(loader)


def start_worker(worker: int) -> None:
    """One thread a worker; the global generators seeded, for steps of users that draw from them.

    Python's collector is told to leave alone what was there before: by looking at an object it writes to it, and so
    copies the memory that the worker shares with its parent.
    """
    gc.freeze()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    info = get_worker_info()
    seed = (worker if info is None else info.seed) % 2**32
    random.seed(seed)
    np.random.seed(seed)


def on_device(packed: Iterator[Packed], device: torch.device, rule: InputRule) -> Iterator[Batch]:
    """On a GPU the next batch is copied and normalised on a stream of its own while the present one is worked on."""
    if device.type != "cuda":
        for item in packed:
            yield _to_batch(item, device, rule)
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: Batch | None = None
    for item in packed:
        with torch.cuda.stream(stream):
            following = _to_batch(item, device, rule)
        if waiting is not None:
            yield _handed_over(waiting, stream)
        waiting = following
    if waiting is not None:
        yield _handed_over(waiting, stream)


def _handed_over(batch: Batch, stream: torch.cuda.Stream) -> Batch:
    current = torch.cuda.current_stream(batch.images.device)
    current.wait_stream(stream)
    batch.images.record_stream(current)
    return batch


def _to_batch(packed: Packed, device: torch.device, rule: InputRule) -> Batch:
    """Onto the device and normalised, where the workers left that; the padding is zero after normalising."""
    images = packed.images.to(device, non_blocking=True)
    if images.dtype == torch.uint8:
        images = normalise_levels(images, rule)
        for image, (height, width) in zip(images, packed.sizes, strict=True):
            image[:, height:] = 0
            image[:, :, width:] = 0
    return Batch(
        images=images,
        sizes=packed.sizes,
        original_sizes=packed.original_sizes,
        scales=packed.scales,
        targets=[_to_target(plain) for plain in packed.targets],
    )


def _to_plain(target: Target) -> _PlainTarget:
    return _PlainTarget(
        boxes=target.boxes.numpy(),
        labels=target.labels.numpy(),
        is_crowd=None if target.is_crowd is None else target.is_crowd.numpy(),
        keypoints=None if target.keypoints is None else target.keypoints.numpy(),
        masks=target.masks,
        size=target.size,
        image_id=target.image_id,
    )


def _to_target(plain: _PlainTarget) -> Target:
    return Target(
        boxes=torch.from_numpy(plain.boxes),
        labels=torch.from_numpy(plain.labels),
        is_crowd=torch.from_numpy(plain.is_crowd),
        keypoints=None if plain.keypoints is None else torch.from_numpy(plain.keypoints),
        masks=plain.masks,
        size=plain.size,
        image_id=plain.image_id,
    )


def _check_problems(annotations: Annotations, max_share: float) -> None:
    """Annotations that the reader left out: named once, and above the share a reason to stop before training."""
    found = annotations.problems
    if not found:
        return
    first = f"{found[0]['place']}: {found[0]['detail']}"
    if len(found) > max(1.0, max_share * (annotations.num_objects + len(found))):
        raise DatasetError(
            f"{annotations.source}: {len(found)} annotations cannot be used, more than the share of {max_share:g} "
            f"that is allowed (data.max_bad_share); first: {first}. `boxwright data check` lists them all"
        )
    logger.warning(
        "%s: %d annotations cannot be used and are left out; first: %s", annotations.source, len(found), first
    )
