"""One step of training: losses, gradients, the optimiser, and all that a resumed run needs of them."""

import math
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from boxwright.config import training
from boxwright.engine.detector import Detector
from boxwright.engine.distributed import World
from boxwright.engine.training.moving_mean import MovingMean
from boxwright.engine.training.optimizer import make_optimizer, set_rate
from boxwright.engine.training.stages import Part, parts_of
from boxwright.engine.training.trouble import NonFiniteError, memory_error
from boxwright.errors import TrainingError
from boxwright.models.losses import averages_over_all_ranks
from boxwright.models.sampling import SEEDS
from boxwright.transfer import Fetched
from boxwright.types import Batch

MOST_SKIPPED = 20  # steps in a row without finite numbers, after which skipping is pointless


@dataclass(frozen=True)
class StepResult:
    """Means over the batches of a step and over all processes. Losses of a skipped step are as they were found."""

    losses: dict[str, float]
    rate: float
    gradient_norm: float
    is_skipped: bool
    stops: bool  # some process was asked to stop


@dataclass(frozen=True)
class Launched:
    """A step whose figures nobody has read yet: a GPU may still be at work on it."""

    step: int
    rate: float
    batches: Sequence[Batch]
    seeds: Sequence[Tensor]
    names: tuple[str, ...]  # of the losses
    figures: Fetched  # for each batch the losses and whether a stop was requested; then the norm of the gradients


class Learner:
    """Everything random in a step is drawn from the run's seed and the step's number, so no state of it is kept."""

    def __init__(self, *, detector: Detector, train: training.Train, world: World) -> None:
        detector.lay_out(training=True)
        self.detector, self.train, self.world = detector, train, world
        self.parts = parts_of(train)
        self.mean = None if train.ema is None else MovingMean(detector.model, decay=train.ema)
        self.scaler = torch.amp.GradScaler(detector.device.type, enabled=train.precision == "fp16")
        self._learning = [name for name, p in detector.model.named_parameters() if p.requires_grad]
        self._skipped_in_a_row = 0
        self._was_broken = torch.zeros((), dtype=torch.bool, device=detector.device)
        if train.compile:
            # The shapes of the backbone are few; the rest depends on what is found in the images.
            detector.model.get_submodule("backbone").compile(dynamic=True)
        self._enter(self.parts[0])

    @property
    def num_steps(self) -> int:
        """Of the whole run."""
        return self.parts[-1].end

    # --- a step

    def step(self, batches: Sequence[Batch], step: int, *, stop_requested: bool = False) -> StepResult:
        """One update from `batches`, whose gradients are added up; `step` counts from 0."""
        return self.result(self.launch(batches, step, stop_requested=stop_requested))

    def launch(self, batches: Sequence[Batch], step: int, *, stop_requested: bool = False) -> Launched:
        """As `step`, but nothing waits for a GPU; `result` then says what came of it."""
        part = self._part_of(step)
        if part is not self.part:
            self._enter(part)
        rate = part.rate(step, self.train.lr)
        set_rate(self.optimizer, rate)
        torch.manual_seed(self._serial(step, 0) % 2**63)  # for dropout
        self._train_mode()
        self.optimizer.zero_grad(set_to_none=True)
        seeds = [self._seeds(step, number, batch) for number, batch in enumerate(batches)]
        try:
            names, rows = self._add_gradients(batches, seeds, stop_requested)
            norm = self._gradient_norm()
        except torch.OutOfMemoryError as error:
            raise memory_error(error, batches, self.train) from error
        figures = torch.cat((rows.flatten(), norm.float()[None]))
        self._update(norm, is_broken=self._is_broken(rows, norm))
        return Launched(step, rate, batches, seeds, names, Fetched(figures))

    def result(self, launched: Launched) -> StepResult:
        """Steps are asked for in their order. A step that was not finite has changed no weights."""
        figures = launched.figures.wait()
        table, norm = figures[:-1].view(len(launched.batches), -1), figures[-1].item()
        rows = [dict(zip(launched.names, row, strict=False)) for row in table.tolist()]
        stops = table[-1, -1].item() > 0
        found = self._trouble(launched, rows, norm)
        if found is None:
            self._skipped_in_a_row = 0
            means = {name: sum(row[name] for row in rows) / len(rows) for name in launched.names}
            return StepResult(means, launched.rate, norm, is_skipped=False, stops=stops)
        self._skipped_in_a_row += 1
        if self.train.non_finite == "stop" or self._skipped_in_a_row > MOST_SKIPPED:
            raise found
        return StepResult(found.values, launched.rate, float("nan"), is_skipped=True, stops=stops)

    def _trouble(self, launched: Launched, rows: Sequence[dict[str, float]], norm: float) -> NonFiniteError | None:
        for row, batch, seeds in zip(rows, launched.batches, launched.seeds, strict=True):
            if not all(map(math.isfinite, row.values())):
                return NonFiniteError("a loss", row, batch, seeds)
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            return NonFiniteError("the gradients", rows[-1], launched.batches[-1], launched.seeds[-1])
        return None

    def _add_gradients(
        self, batches: Sequence[Batch], seeds: Sequence[Tensor], stop_requested: bool
    ) -> tuple[tuple[str, ...], Tensor]:
        """-> names of the losses, and for each batch a row: their means over all processes, and the share of these that
        was asked to stop."""
        rows = []
        for number, batch in enumerate(batches):
            is_last = number == len(batches) - 1
            with nullcontext() if is_last or not isinstance(self.net, DistributedDataParallel) else self.net.no_sync():
                losses = self._losses(batch, seeds[number])
                row = torch.stack([loss.detach().float() for loss in losses.values()])
                rows.append(self.world.mean(torch.cat((row, row.new_full((1,), float(stop_requested))))))
                self.scaler.scale(self._total(losses) / len(batches)).backward()  # type: ignore[no-untyped-call]
        return tuple(losses), torch.stack(rows)

    def _losses(self, batch: Batch, seeds: Tensor) -> dict[str, Tensor]:
        images = batch.images.contiguous(memory_format=self.detector.memory_format)
        with self.detector.autocast():
            losses: dict[str, Tensor] = self.net(replace(batch, images=images), seeds)
        return losses

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        """The sum of the losses that count; the others with weight 0, since every process waits for all gradients."""
        chosen = self.part.losses or tuple(losses)
        unknown = set(chosen) - losses.keys()
        if unknown:
            raise TrainingError(f"train.stages: no loss {min(unknown)!r}; the model has {', '.join(losses)}")
        return torch.stack([loss if name in chosen else loss * 0 for name, loss in losses.items()]).sum()

    def _gradient_norm(self) -> Tensor:
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    def _is_broken(self, rows: Tensor, norm: Tensor) -> Tensor:
        """() bool. Where a run ends at such a step, those that were launched before anybody looked change nothing."""
        broken = ~rows.isfinite().all()
        if not self.scaler.is_enabled():
            broken |= ~norm.isfinite()
        if self.train.non_finite == "stop":
            broken |= self._was_broken
            self._was_broken = broken
        return broken

    def _update(self, norm: Tensor, *, is_broken: Tensor) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        match self.train.clip:
            case "norm":
                nn.utils.clip_grads_with_norm_(parameters, self.train.clip_limit, norm)
            case "value":
                nn.utils.clip_grad_value_(parameters, self.train.clip_limit)
        if not self.scaler.is_enabled():
            # Fused optimisers look at it on the device, as they do for a scaler; with one, the gradients tell it.
            self.optimizer.found_inf = is_broken.float()  # type: ignore[attr-defined]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.mean is not None:
            self.mean.update(follows=~is_broken)

    # --- random numbers

    def _seeds(self, step: int, number: int, batch: Batch) -> Tensor:
        """(B,) int64: one for each image, the same however the images are spread over the processes."""
        count = len(batch)
        first = self._serial(step, number) * count * self.world.size + self.world.rank * count
        return torch.tensor([(first + i) % SEEDS for i in range(count)])

    def _serial(self, step: int, number: int) -> int:
        return (self.train.seed * 1_000_003 + step) * self.train.accumulate + number

    # --- parts of a run

    def _part_of(self, step: int) -> Part:
        return next((part for part in self.parts if step < part.end), self.parts[-1])

    def _enter(self, part: Part) -> None:
        """What learns in `part` gets a new optimiser: the moments of the part before mean nothing to it."""
        self.part = part
        model = self.detector.model
        matched = dict.fromkeys(part.freeze, False)
        for name, parameter in model.named_parameters():
            fitting = [pattern for pattern in part.freeze if re.search(pattern, name)]
            matched |= dict.fromkeys(fitting, True)
            parameter.requires_grad_(name in self._learning and not fitting)
        missing = [pattern for pattern, found in matched.items() if not found]
        if missing:
            raise TrainingError(f"train.stages.{part.number}.freeze: no parameter fits {missing[0]!r}")
        if not any(p.requires_grad for p in model.parameters()):
            raise TrainingError(f"train.stages.{part.number}.freeze leaves nothing to learn")
        self.optimizer = make_optimizer(model, self.train)
        self.net = self._wrapped(_Losses(model, shares_averages=self.world.size > 1))

    def _wrapped(self, net: nn.Module) -> nn.Module:
        if self.world.size == 1:
            return net
        ids = [self.detector.device.index] if self.detector.device.type == "cuda" else None
        return DistributedDataParallel(net, device_ids=ids)

    def _train_mode(self) -> None:
        """Batch norms that a part of the run freezes keep their statistics."""
        model = self.detector.model
        model.train()
        for name, module in model.named_modules() if self.part.freeze else ():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and any(
                re.search(pattern, f"{name}.weight") for pattern in self.part.freeze
            ):
                module.eval()

    # --- state

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, the scale of fp16 and the moving mean: all that a resumed run needs."""
        return {
            "model": self.detector.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "mean": None if self.mean is None else self.mean.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], *, step: int) -> None:
        """`step` is the number of steps done."""
        self._enter(self._part_of(max(step - 1, 0)))
        self.detector.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        if self.mean is not None and state["mean"] is not None:
            self.mean.load_state_dict(state["mean"])


class _Losses(nn.Module):
    """The model's losses as a forward, which is what gradients are exchanged around."""

    def __init__(self, model: nn.Module, *, shares_averages: bool) -> None:
        super().__init__()
        self.model, self.shares_averages = model, shares_averages

    def forward(self, batch: Batch, seeds: Tensor) -> dict[str, Tensor]:
        with averages_over_all_ranks() if self.shares_averages else nullcontext():
            losses: dict[str, Tensor] = self.model.losses(batch, seeds=seeds)  # type: ignore[operator]
        return losses
