"""The detector a user holds: pictures of any kind in, detections in their own frames out."""

import re
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import Tensor

from boxwright.config import Config
from boxwright.data.image import ImageSource, RgbImage, load_image
from boxwright.data.network_input import Prepared, batches_of_equal_size, pad_batch, prepare
from boxwright.engine.augmented import detect_augmented
from boxwright.engine.input_rule import evaluation_rule
from boxwright.engine.memory import keep_freed_memory
from boxwright.engine.targets import to_network_frame
from boxwright.errors import ConfigError, ShapeError
from boxwright.models.build import build_model, build_selector
from boxwright.models.fast.calibration import quantise_layers
from boxwright.models.fast.layers import fold_in_training
from boxwright.models.fast.quantised import result_dtype
from boxwright.models.fast.recorded import Recorder
from boxwright.models.frames import make_frames
from boxwright.models.layers import fitting_layout
from boxwright.models.sampling import SEEDS
from boxwright.models.sharing import shared
from boxwright.postprocess import postprocess
from boxwright.types import Batch, Detections, RawDetections, Target

Precision = Literal["fp32", "bf16", "fp16"]
Sampling = Literal["random", "first"]

_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Detector:
    """A model with its settings: calling it finds objects, `losses` trains it, `trace` shows every stage.

    All three go through the same modules in the same order. The settings stay as they are: `with_settings` gives a
    detector with others. On Linux one that is made on the CPU has the process keep the memory that it frees
    (`engine.memory`).
    """

    def __init__(self, *, config: Config, device: str | torch.device = "cpu", precision: Precision = "fp32") -> None:
        if precision not in _DTYPES:
            raise ConfigError(f"precision is {precision!r}; expected {', '.join(_DTYPES)}")
        self._config = config
        self.precision: Precision = precision
        self._dtype = _DTYPES[precision]
        self._recorder: Recorder | None = None
        if torch.device(device).type == "cpu":
            keep_freed_memory()
        self.model = build_model(
            config.model, config.test, checkpoint_activations=config.train.checkpoint_activations
        ).eval()
        self.to(device)

    @property
    def config(self) -> Config:
        """What the model was built from, and how it detects."""
        return self._config

    def with_settings(self, *changes: str) -> "Detector":
        """A detector over the same weights that detects by other settings, such as "test.score_threshold=0.3".

        Only settings under `test` can differ: the others are what the model is built from.
        """
        wrong = [change for change in changes if not change.startswith("test.")]
        if wrong:
            raise ConfigError(
                f"{wrong[0]!r}: with_settings changes settings under test; load the model with it instead"
            )
        twin = copy(self)
        twin._config = self.config.with_(*changes)
        twin._recorder = None
        twin.model = shared(self.model)
        twin.model.select = build_selector(twin.config.model, twin.config.test)
        return twin

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label; empty where the settings name no classes."""
        return tuple(self.config.model.class_names)

    def to(self, device: str | torch.device) -> "Detector":
        """Moves the model, in the memory layout that suits it there."""
        self.device = torch.device(device)
        self.model.to(self.device)
        self.lay_out(training=False)
        return self

    def lay_out(self, *, training: bool) -> None:
        """Brings the weights, and the images from now on, into the memory layout that suits the model."""
        self.memory_format = fitting_layout(self.model, self.device, training=training)
        self.model.to(memory_format=self.memory_format)  # type: ignore[call-overload]

    # --- finding

    @overload
    def __call__(
        self, images: list[Any] | tuple[Any, ...], *, batch_size: int = 8, proposals: Sequence[Tensor] | None = None
    ) -> list[Detections]: ...
    @overload
    def __call__(
        self, images: ImageSource, *, batch_size: int = 8, proposals: Sequence[Tensor] | None = None
    ) -> Detections: ...
    def __call__(
        self,
        images: ImageSource | list[Any] | tuple[Any, ...],
        *,
        batch_size: int = 8,
        proposals: Sequence[Tensor] | None = None,
    ) -> Detections | list[Detections]:
        """Detections of an image, best first; for a list or tuple of images, a list of them.

        Images of a list run together only where their padded sizes agree, so that no result depends on its
        neighbours. `proposals` are (P, 4) boxes in each original image, for models that take them from outside.
        """
        if isinstance(images, list | tuple):
            return self._detect(images, batch_size, proposals)
        return self._detect([images], batch_size, proposals)[0]

    def _detect(
        self, images: Sequence[ImageSource], batch_size: int, proposals: Sequence[Tensor] | None
    ) -> list[Detections]:
        if proposals is not None and len(proposals) != len(images):
            raise ShapeError(f"{len(proposals)} sets of proposals for {len(images)} images")
        pictures = [load_image(image) for image in images]
        if self.config.test.augment is not None:
            return self._detect_augmented(images, pictures, proposals)
        prepared = [self.prepare(picture) for picture in pictures]
        results: dict[int, Detections] = {}
        sizes, pad_to = [item.size for item in prepared], self.config.model.input.pad_to
        for indices in batches_of_equal_size(sizes, divisibility=pad_to, batch=batch_size):
            given = None if proposals is None else [proposals[i] for i in indices]
            for i, found in zip(indices, self._run([prepared[i] for i in indices], given), strict=True):
                results[i] = replace(found, image=pictures[i], path=_path_of(images[i]))
        return [results[i] for i in range(len(images))]

    def _detect_augmented(
        self, images: Sequence[ImageSource], pictures: Sequence[RgbImage], proposals: Sequence[Tensor] | None
    ) -> list[Detections]:
        assert self.config.test.augment is not None
        given: Sequence[Tensor | None] = [None] * len(images) if proposals is None else proposals
        rows = zip(images, pictures, given, strict=True)
        return [
            replace(
                detect_augmented(self, picture, self.config.test.augment, proposals=boxes),
                image=picture,
                path=_path_of(source),
            )
            for source, picture, boxes in rows
        ]

    def _run(self, prepared: Sequence[Prepared], proposals: Sequence[Tensor] | None) -> list[Detections]:
        return self.detect(self.batch(prepared), proposals=proposals)

    @torch.no_grad()
    def detect(self, batch: Batch, *, proposals: Sequence[Tensor] | None = None) -> list[Detections]:
        """What is found in each image of a prepared batch, in the frame of the original image."""
        self.model.eval()
        with self.autocast():
            if self._recorder is not None and batch.images.is_cuda and proposals is None:
                frames = make_frames(batch, pad_to=self.model.pad_to)
                raw = self.model.results(self._recorder(batch.images, frames), frames)
            else:
                raw = self.model(batch, **self._given(batch, proposals))
        return self.to_original(raw, batch)

    def record(self) -> None:
        """From now on detections on a GPU are played from recordings (CUDA graphs): one launch in place of thousands.

        One is made for each shape of batch that comes a second time. The results are those of the model without.
        """
        if not self.model.proposes:
            raise ConfigError("recordings need a model with proposals of its own; this one takes them from the caller")
        if self.device.type != "cuda":
            raise ConfigError(f"the model is on {self.device}; recordings are played on GPUs: take the device cuda")
        self._recorder = Recorder(self.model)

    def quantise(self, images: Sequence[ImageSource]) -> int:
        """Has layers compute on bytes from now on when it detects, on CPUs; returns how many.

        Some typical images tell in which range the input of each layer lies. Group norms, and layers that no image
        reached, stay as they were. Nothing of it is saved with the weights.
        """
        count = quantise_layers(self.model, self.device, lambda: self(list(images)))
        self._dtype = result_dtype()  # what is not done in bytes
        return count

    # --- looking inside

    @torch.no_grad()
    def trace(self, image: ImageSource, *, proposals: Tensor | None = None) -> dict[str, Any]:
        """Every stage of one image by name, in order.

        image, features (by level), rpn logits, rpn deltas, anchors, proposals, pooled, box scores, box deltas,
        detections, mask logits, keypoint heatmaps; what a model lacks is absent. "detections" are in the original
        image, all else is in the network frame.
        """
        picture = load_image(image)
        batch = self.batch([self.prepare(picture)])
        self.model.eval()
        with self.autocast():
            stages = self.model.trace(batch, **self._given(batch, None if proposals is None else [proposals]))
        found = self.to_original(stages["detections"], batch)[0]
        return stages | {"detections": replace(found, image=picture)}

    # --- training

    def losses(
        self,
        images: Sequence[ImageSource],
        targets: Sequence[Target],
        *,
        sampling: Sampling = "random",
        generator: torch.Generator | None = None,
        proposals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Scalars by name whose sum is to be made small, with gradients.

        `targets` are in the frames of the images as given; both are resized to the settings' size for tests. The
        images are padded together, as the originals train. `sampling` "first" makes two programs comparable: the
        first examples are drawn in the place of random ones, and norms follow their convolutions unfolded.
        """
        batch = self.training_batch(images, targets)
        fold_in_training(self.model, folds=sampling != "first")
        seeds = torch.randint(SEEDS, (len(images),), generator=generator)
        self.model.train()
        with self.autocast():
            return self.model.losses(batch, sampling=sampling, seeds=seeds, **self._given(batch, proposals))

    def training_batch(self, images: Sequence[ImageSource], targets: Sequence[Target]) -> Batch:
        """What `losses` looks at; the model is laid out for training."""
        if len(images) != len(targets):
            raise ShapeError(f"{len(targets)} targets for {len(images)} images")
        prepared = [self.prepare(load_image(image)) for image in images]
        settings = self.config.model
        resized = [
            to_network_frame(target, item, resize=settings.input.resize, conventions=settings.conventions)
            for target, item in zip(targets, prepared, strict=True)
        ]
        self.lay_out(training=True)
        return self.batch(prepared, targets=resized)

    def freeze(self, pattern: str) -> list[str]:
        """Stops every parameter whose name the regular expression fits from learning; returns their names."""
        return self._set_learning(pattern, learns=False)

    def unfreeze(self, pattern: str) -> list[str]:
        """Lets every parameter whose name the regular expression fits learn; returns their names."""
        return self._set_learning(pattern, learns=True)

    def _set_learning(self, pattern: str, *, learns: bool) -> list[str]:
        try:
            names = [name for name, _ in self.model.named_parameters() if re.search(pattern, name)]
        except re.error as error:
            raise ConfigError(f"{pattern!r} is no regular expression: {error}") from error
        if not names:
            parts = ", ".join(sorted({name.split(".")[0] for name, _ in self.model.named_parameters()}))
            raise ConfigError(f"no parameter fits {pattern!r}; the model's parts are {parts}")
        parameters = dict(self.model.named_parameters())
        for name in names:
            parameters[name].requires_grad_(learns)
        return names

    # --- the way in and back

    def prepare(self, picture: RgbImage, *, short: int | None = None, long: int | None = None) -> Prepared:
        """(H, W, 3) uint8 RGB -> the image as the network sees it; `short` and `long` replace the sizes for tests."""
        rule = evaluation_rule(self.config.model.input)
        return prepare(picture, replace(rule, long=long or rule.long), short=short or rule.short[0])

    def batch(self, prepared: Sequence[Prepared], *, targets: Sequence[Target] | None = None) -> Batch:
        """Padded to one size, on the detector's device and in its memory layout. `targets` are in the network frame."""
        batch = pad_batch(prepared, divisibility=self.config.model.input.pad_to, targets=targets).to(self.device)
        return replace(batch, images=batch.images.contiguous(memory_format=self.memory_format))

    def _given(self, batch: Batch, proposals: Sequence[Tensor] | None) -> dict[str, Any]:
        """Proposals of the original images in the network frame, as the model's keyword."""
        if proposals is None:
            return {}
        scales = [torch.tensor([x, y, x, y], dtype=torch.float32) for y, x in batch.scales]
        return {"proposals": [boxes * scale for boxes, scale in zip(proposals, scales, strict=True)]}

    def to_original(self, raw: Sequence[RawDetections], batch: Batch) -> list[Detections]:
        """What the model found in `batch` -> Detections of each original image, on the CPU."""
        return postprocess(
            raw,
            batch,
            conventions=self.config.model.conventions,
            mask_threshold=self.config.test.mask_threshold,
            class_names=self.class_names,
        )

    @property
    def dtype(self) -> torch.dtype:
        """What convolutions and matrix products compute in."""
        return self._dtype

    def autocast(self) -> torch.autocast:
        """Within the context the model computes in `dtype`; for float32 it changes nothing."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def _path_of(source: ImageSource) -> str | None:
    return str(source) if isinstance(source, str | Path) else None
