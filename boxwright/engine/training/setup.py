"""From settings and a data set to what a run starts with: classes of the data, loaders, a detector with weights."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from boxwright.config import Config, schema, training
from boxwright.data.annotations import Annotations
from boxwright.data.augment import Augmentation
from boxwright.data.dataset import SampleRule, TargetRule
from boxwright.data.formats.reading import find_dataset
from boxwright.data.loader import BatchRule, TrainingLoader, training_loader
from boxwright.data.selection import SelectionRule
from boxwright.engine.detector import Detector
from boxwright.engine.distributed import World
from boxwright.engine.input_rule import training_rule
from boxwright.engine.targets import RASTERISED_FIRST
from boxwright.engine.training.schedule import scaled_to_batch
from boxwright.errors import ConfigError, DatasetError
from boxwright.interop.download import fetch_model
from boxwright.interop.weights import load_state, read_weights
from boxwright.interop.zoo.models import find_model, is_model_name

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sets:
    """What is trained on, and what is measured on, if there is such a part."""

    train: Annotations
    val: Annotations | None


def read_sets(config: Config, data: str | Path | None) -> Sets:
    """The parts of one folder, or the two that the settings name. Class names and their order are those of training."""
    keypoints = "keypoint" in config.model.finds
    root = config.data.root
    if data is None and config.data.train is None:
        raise ConfigError("nothing to train on: give a data folder, or data.train (and data.val) in the settings")
    found = find_dataset(data or str(config.data.train), root=root, keypoints=keypoints)
    train = found.read("train")
    if not train.categories:
        raise DatasetError(f"{train.source}: no classes; every object needs one")
    if data is None and config.data.val:
        found = find_dataset(config.data.val, root=root, keypoints=keypoints)
    elif data is None or not found.has_val:
        return Sets(train, None)
    return Sets(train, found.read("val", class_names=train.class_names))


def settings_for(config: Config, sets: Sets, data: str | Path | None) -> Config:
    """The model gets the classes, and the keypoints, of the data; where that lies is kept."""
    model = config.model
    names = list(sets.train.class_names)
    changes: dict[str, object] = {"num_classes": len(names), "class_names": names}
    if isinstance(model, schema.RCNN):
        if model.mask_head is not None and not sets.train.has_masks:
            raise DatasetError(f"{sets.train.source} has no masks to train model.mask_head on; take a Faster R-CNN")
        if model.keypoint_head is not None:
            if not sets.train.has_keypoints:
                raise DatasetError(f"{sets.train.source} has no keypoints to train model.keypoint_head on")
            changes["keypoint_head"] = model.keypoint_head.with_(num_keypoints=sets.train.num_keypoints)
    place = None if data is None else str(Path(data).absolute() if Path(data).exists() else data)
    places = {} if place is None else {"train": place, "val": place if sets.val is not None else None}
    return config.with_(model=model.with_(**changes), data=config.data.with_(**places))


def recipe_for(train: training.Train, world: World, *, batch: int, say: Say) -> training.Train:
    """The recipe scaled to the batch, and the batch checked against the processes."""
    if batch % world.size:
        raise ConfigError(f"train.batch is {batch} images over all processes: not divisible by {world.size} processes")
    scaled = scaled_to_batch(train, batch)
    if (scaled.lr, scaled.schedule) != (train.lr, train.schedule):
        say(
            f"the recipe is written for batches of {train.reference_batch}; with {batch} x {train.accumulate}: "
            f"learning rate {train.lr:g} -> {scaled.lr:g}, steps {train.schedule.max_steps} -> "
            f"{scaled.schedule.max_steps}"
        )
    return scaled


def make_loader(config: Config, annotations: Annotations, world: World, device: torch.device) -> TrainingLoader:
    """Batches of this process."""
    data, train = config.data, config.train
    assert isinstance(train.batch, int)
    samples = SampleRule(
        input=training_rule(config.model.input),
        targets=target_rule(config),
        augmentation=Augmentation(**dict(data.augment)),
        reduced_decode=data.reduced_decode,
    )
    batches = BatchRule(
        size=train.batch // world.size, seed=train.seed, rank=world.rank, world_size=world.size, shapes=data.shapes
    )
    selection = SelectionRule(**{one.name: getattr(data, one.name) for one in fields(SelectionRule)})
    return training_loader(annotations, samples, batches, selection, workers=data.workers, device=device)


def target_rule(config: Config) -> TargetRule:
    """What the model's losses need of the annotations."""
    model = config.model
    form = "bitmaps" if model.conventions.mask_targets in RASTERISED_FIRST else "polygons"
    return TargetRule(
        masks=form if "mask" in model.finds else "none",  # type: ignore[arg-type]
        keypoints="keypoint" in model.finds,
        keep_crowds=True,
    )


def make_detector(config: Config, *, device: torch.device, is_resumed: bool, say: Say) -> Detector:
    """With the weights that the settings start from, unless those of a checkpoint will replace them.

    What does not fit stays as initialised, and is said.
    """
    torch.manual_seed(config.train.seed)
    detector = Detector(config=config, device=device, precision=config.train.precision)
    start = config.train.weights
    if is_resumed:
        return detector
    if start is None:
        frozen = sum(p.numel() for p in detector.model.parameters() if not p.requires_grad)
        if frozen:
            say(
                f"no weights to start from, while {frozen / 1e6:.2f} million weights stay as they were initialised: "
                "give --weights (train.weights), such as torchvision/resnet50 or a detector's checkpoint"
            )
        return detector
    path = fetch_model(find_model(start)) if is_model_name(start) and not Path(start).exists() else start
    report = load_state(detector.model, read_weights(path))
    if not report.loaded:
        raise ConfigError(f"train.weights: nothing of {start} fits the model; is it of another architecture?")
    say(str(report))
    return detector
