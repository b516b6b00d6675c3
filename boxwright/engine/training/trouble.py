"""When a step fails: the message, the file of the step, and how it is repeated."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boxwright.config import Config, dump, parse_config, training
from boxwright.engine.detector import Detector, Precision
from boxwright.engine.training.checkpoint import read_checkpoint
from boxwright.errors import TrainingError
from boxwright.files import atomic_write
from boxwright.types import Batch, Masks, Target


class NonFiniteError(TrainingError):
    """Losses or gradients that are not finite, and the batch that gave them."""

    def __init__(self, what: str, values: dict[str, float], batch: Batch, seeds: Tensor) -> None:
        named = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        super().__init__(f"{what} is not finite ({named})" if what == "a loss" else f"{what} are not finite ({named})")
        self.values, self.batch, self.seeds = values, batch, seeds


@dataclass(frozen=True)
class Circumstances:
    """What was known before the step that failed."""

    step: int
    rate: float
    last_gradient_norm: float | None


def explain(error: NonFiniteError, detector: Detector, now: Circumstances, dump_path: Path) -> TrainingError:
    """Writes the step to `dump_path`, and says which images did it and what to do."""
    write_dump(dump_path, error, detector, now)
    alone = _images_that_fail_alone(error, detector)
    ids = [str(_image_id(target, i)) for i, target in enumerate(error.batch.targets or [])]
    images = ", ".join(alone) + " alone" if alone else ", ".join(ids) + " together, none of them alone"
    norm = "not known" if now.last_gradient_norm is None else f"{now.last_gradient_norm:.3g}"
    return TrainingError(
        f"step {now.step}: {error}. Images: {images}; learning rate {now.rate:.3g}; norm of the gradients in the step "
        f"before: {norm}. `boxwright train --replay {dump_path}` repeats the step. Usual causes are a learning rate "
        "that is too high (train.lr, train.schedule.warm_up), gradients without a limit (train.clip=norm) and fp16; "
        "train.non_finite=skip goes on without such steps"
    )


@torch.no_grad()
def _images_that_fail_alone(error: NonFiniteError, detector: Detector) -> list[str]:
    """Ids of images whose own losses are not finite."""
    found = []
    for i in range(len(error.batch)):
        alone = error.batch[i : i + 1]
        with detector.autocast():
            losses = detector.model.losses(alone, seeds=error.seeds[i : i + 1])
        if not all(torch.isfinite(loss) for loss in losses.values()):
            assert alone.targets is not None
            found.append(str(_image_id(alone.targets[0], i)))
    return found


def write_dump(path: Path, error: NonFiniteError, detector: Detector, now: Circumstances) -> None:
    """Everything the step depended on, as tensors and plain values."""
    content = {
        "config": dump(detector.config),
        "precision": detector.precision,
        "step": now.step,
        "rate": now.rate,
        "model": detector.model.state_dict(),
        "batch": _plain_batch(error.batch),
        "seeds": error.seeds,
    }
    with atomic_write(path) as file:
        torch.save(content, file)


def replay(path: str | Path, *, device: torch.device) -> str:
    """Repeats a dumped step; a text with each loss, and each parameter whose gradient is not finite."""
    content = read_checkpoint(path)
    if "batch" not in content or "seeds" not in content:
        raise TrainingError(f"{path}: not a dumped step; give the .pt file that the error message named")
    config: Config = parse_config(content["config"], where=f"the settings in {path}")
    precision: Precision = content["precision"]
    detector = Detector(config=config, device=device, precision=precision)
    detector.model.load_state_dict(content["model"])
    detector.model.train()
    batch = _batch_of(content["batch"]).to(device)
    with detector.autocast():
        losses: dict[str, Tensor] = detector.model.losses(batch, seeds=content["seeds"])
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    broken = [
        name
        for name, parameter in detector.model.named_parameters()
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all())
    ]
    lines = [f"step {content['step']}, learning rate {content['rate']:.3g}, {len(batch)} images"]
    lines += [f"{name}: {value.item():.6g}" for name, value in losses.items()]
    lines.append(f"gradients that are not finite: {', '.join(broken[:5]) or 'none'} ({len(broken)} parameters)")
    return "\n".join(lines)


def memory_error(error: BaseException, batches: Sequence[Batch], train: training.Train) -> TrainingError:
    """What did not fit, and what to change."""
    shape = tuple(batches[0].images.shape)
    reason = str(error).split(". ")[0]
    return TrainingError(
        f"out of memory with {shape[0]} images of {shape[2]} x {shape[3]} on this device ({reason}). Lower train.batch "
        f"({train.batch}) and raise train.accumulate, or try train.precision=bf16, train.checkpoint_activations=true, "
        "smaller model.input.resize.short_train; train.batch=auto finds the largest batch that fits"
    )


# --- batches as plain values


def _image_id(target: Target, position: int) -> int | str:
    return position if target.image_id is None else target.image_id


def _plain_batch(batch: Batch) -> dict[str, Any]:
    return {
        "images": batch.images,
        "sizes": [list(size) for size in batch.sizes],
        "original_sizes": [list(size) for size in batch.original_sizes],
        "scales": [list(scale) for scale in batch.scales],
        "targets": [_plain_target(target) for target in batch.targets or []],
    }


def _plain_target(target: Target) -> dict[str, Any]:
    return {
        "boxes": target.boxes,
        "labels": target.labels,
        "is_crowd": target.is_crowd,
        "keypoints": target.keypoints,
        "size": list(target.size),
        "image_id": target.image_id,
        "segments": None if target.masks is None else [_plain_segment(segment) for segment in target.masks.segments],
    }


def _plain_segment(segment: Any) -> Any:
    if isinstance(segment, dict):
        counts = segment["counts"]
        return {"size": [int(side) for side in segment["size"]], "counts": counts}
    return [torch.tensor(ring) for ring in segment]


def _batch_of(plain: dict[str, Any]) -> Batch:
    return Batch(
        images=plain["images"],
        sizes=[(h, w) for h, w in plain["sizes"]],
        original_sizes=[(h, w) for h, w in plain["original_sizes"]],
        scales=[(y, x) for y, x in plain["scales"]],
        targets=[_target_of(target) for target in plain["targets"]],
    )


def _target_of(plain: dict[str, Any]) -> Target:
    size = (plain["size"][0], plain["size"][1])
    segments = plain["segments"]
    masks = None
    if segments is not None:
        masks = Masks([s if isinstance(s, dict) else [ring.numpy() for ring in s] for s in segments], size)  # type: ignore[misc]
    return Target(
        boxes=plain["boxes"],
        labels=plain["labels"],
        size=size,
        masks=masks,
        keypoints=plain["keypoints"],
        is_crowd=plain["is_crowd"],
        image_id=plain["image_id"],
    )
