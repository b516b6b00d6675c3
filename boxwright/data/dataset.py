"""From a key of the sampler to a sample in the network frame: what a worker does."""

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import Generator

from boxwright.data.annotations import Annotations
from boxwright.data.augment import Augmentation, mixing_steps, needed_side, plain_steps, to_network
from boxwright.data.image import load_image
from boxwright.data.network_input import InputRule, Prepared
from boxwright.data.sample import Sample, Step
from boxwright.data.sampler import SampleKey
from boxwright.data.selection import Positions
from boxwright.data.skipping import Skip
from boxwright.data.transforms.geometry import scale_target
from boxwright.errors import BoxwrightError, DatasetError
from boxwright.geometry.keypoints import shift_keypoints
from boxwright.geometry.masks import to_run_lengths
from boxwright.types import Target

MaskForm = Literal["none", "polygons", "bitmaps"]
PIXEL_CENTRE = 0.5  # pixel number 3 is the place 3.5: a flip has to know
FLIP_ONLY = Augmentation()
MAX_TRIES = 50  # replacements in a row; with so many bad samples the share stops the run anyway


class Drawn(NamedTuple):
    """One sample in the network frame, and what could not be read before it was found."""

    prepared: Prepared
    target: Target
    skips: list[Skip]


@dataclass(frozen=True, kw_only=True)
class TargetRule:
    """What the targets carry. `bitmaps` are rasterised in the original image and resized, as mmdetection and
    torchvision do; `polygons` keep their points."""

    masks: MaskForm = "none"
    keypoints: bool = False
    keep_crowds: bool = False


@dataclass(frozen=True, kw_only=True)
class SampleRule:
    """What becomes of a picture and its objects: what is changed first, what the network sees, what the target carries.

    `reduced_decode` reads a JPEG far larger than the input at a half, quarter or eighth.
    """

    input: InputRule
    targets: TargetRule = TargetRule()
    augmentation: Augmentation = FLIP_ONLY
    reduced_decode: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainingDataset:
    """`dataset[serial, position]` -> Drawn. Everything random in it is seeded by the serial number.

    A sample that cannot be read is reported and replaced by another, drawn by the same generator, so batches stay full.
    """

    annotations: Annotations
    images: Positions
    samples: SampleRule
    seed: int
    plain: tuple[Step, ...] = field(init=False)
    mixing: tuple[Step, ...] = field(init=False)

    def __post_init__(self) -> None:
        chosen, method = self.samples.augmentation, self.samples.input.method
        steps = plain_steps(chosen, method=method, flip_pairs=self.annotations.flip_pairs)
        object.__setattr__(self, "plain", tuple(steps))
        object.__setattr__(self, "mixing", tuple(mixing_steps(chosen, self._draw_other)))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: SampleKey) -> Drawn:
        serial, position = key
        rng = np.random.default_rng((self.seed, serial))
        skips: list[Skip] = []
        for _ in range(MAX_TRIES):
            try:
                return Drawn(*self._make(position, rng), skips)
            except Exception as error:  # whatever a step trips over, a sample must not end a run; too many of them do
                path = self.annotations.path(int(self.images[position]))
                skips.append(Skip(position, str(path), _reason(error)))
                position = int(rng.integers(len(self)))
        raise DatasetError(
            f"{MAX_TRIES} samples in a row could not be read, last: {skips[-1].place}: {skips[-1].reason}"
        )

    def _make(self, position: int, rng: Generator) -> tuple[Prepared, Target]:
        sample = self._loaded(position, rng)
        for step in self.mixing:
            sample = step(sample, rng)
        prepared, target = to_network(sample, rng, self.samples.input, self.samples.augmentation, as_levels=True)
        size = self.annotations.size(int(self.images[position]))
        if size != prepared.original_size and not self._changes_size():
            scale = (prepared.size[0] / size[0], prepared.size[1] / size[1])
            prepared = replace(prepared, original_size=size, scale=scale)
        return prepared, _in_pixel_numbers(target, prepared.scale)

    def _changes_size(self) -> bool:
        chosen = self.samples.augmentation
        return bool(self.mixing or chosen.crop or chosen.crop_relative or chosen.albumentations or chosen.steps)

    def _loaded(self, position: int, rng: Generator) -> Sample:
        """With the steps that need no other sample. Keypoints are places from here on, the pixels' centres."""
        rule, image = self.samples, int(self.images[position])
        reduce_to = needed_side(rule.input, rule.augmentation) if rule.reduced_decode else None
        sample = load_sample(self.annotations, image, rule.targets, reduce_to=reduce_to, keypoint_offset=PIXEL_CENTRE)
        for step in self.plain:
            sample = step(sample, rng)
        return sample

    def _draw_other(self, rng: Generator) -> Sample:
        """For mosaic and copy-paste; one that cannot be read is passed over, since its own turn will name it."""
        for _ in range(MAX_TRIES):
            try:
                return self._loaded(int(rng.integers(len(self))), rng)
            except Exception:
                continue
        raise DatasetError(f"{MAX_TRIES} samples in a row could not be read")


@dataclass(frozen=True, kw_only=True)
class EvaluationDataset:
    """`dataset[serial, position]` -> Drawn without changes; the target is the annotations' own, in the network frame.

    A picture that cannot be read gives its Skip alone, so that it can be reported.
    """

    annotations: Annotations
    images: Positions
    rule: InputRule
    targets: TargetRule

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: SampleKey) -> Drawn | Skip:
        image = int(self.images[key[1]])
        try:
            sample = load_sample(self.annotations, image, self.targets)
            rng = np.random.default_rng(0)  # never drawn from: one short side, no steps
            return Drawn(*to_network(sample, rng, self.rule, Augmentation(flip=0.0), as_levels=True), [])
        except (BoxwrightError, OSError) as error:
            return Skip(key[1], str(self.annotations.path(image)), str(error))


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, BoxwrightError | OSError) else f"{type(error).__name__}: {error}"


def load_sample(
    annotations: Annotations,
    image: int,
    rule: TargetRule,
    *,
    reduce_to: int | None = None,
    keypoint_offset: float = 0.0,
) -> Sample:
    """Picture and target of one image in its own frame, or with `reduce_to` a JPEG decoded at a half, quarter or eighth
    where its short side stays at least that long."""
    path, size = annotations.path(image), annotations.size(image)
    reduce = 1 if reduce_to is None else _reduction(size, reduce_to)
    picture = load_image(path, reduce=reduce)
    target = annotations.target(
        image,
        with_masks=rule.masks != "none",
        with_keypoints=rule.keypoints,
        keypoint_offset=keypoint_offset,
    )
    if not rule.keep_crowds and target.is_crowd is not None and bool(target.is_crowd.any()):
        target = target[~target.is_crowd]
    if rule.masks == "bitmaps" and target.masks is not None:
        target = replace(target, masks=to_run_lengths(target.masks))
    if picture.shape[:2] == size:
        return Sample(picture, target)
    reduced = (-(-size[0] // reduce), -(-size[1] // reduce))
    if reduce == 1 or picture.shape[:2] != reduced:
        raise DatasetError(
            f"the picture is {picture.shape[0]} x {picture.shape[1]}, its annotations say {size[0]} x {size[1]}"
            " (height x width; turned by EXIF?)"
        )
    scale = (reduced[0] / size[0], reduced[1] / size[1])
    return Sample(picture, scale_target(target, reduced, scale=scale, method="opencv"))


def _in_pixel_numbers(target: Target, scale: tuple[float, float]) -> Target:
    """Keypoints as they were annotated, in pixels of the original image; what a model makes of them is its own rule."""
    if target.keypoints is None:
        return target
    moved = shift_keypoints(target.keypoints, x=-PIXEL_CENTRE * scale[1], y=-PIXEL_CENTRE * scale[0])
    return replace(target, keypoints=moved)


def _reduction(size: tuple[int, int], short: int) -> int:
    return next((factor for factor in (8, 4, 2) if min(size) >= factor * short), 1)
