"""What is measured while a run goes on: the figures of the validation set, its loss, and whether they still improve."""

from dataclasses import dataclass
from typing import Any

import torch

from boxwright.config import schema
from boxwright.data.annotations import Annotations
from boxwright.data.loader import evaluation_loader
from boxwright.engine.detector import Detector
from boxwright.engine.distributed import World
from boxwright.engine.evaluation import evaluate
from boxwright.engine.input_rule import evaluation_rule
from boxwright.engine.training.setup import target_rule
from boxwright.evaluation.result import Scores

LEADING_KINDS = ("keypoint", "mask", "box")  # the first that is measured says which weights are best


@dataclass
class Best:
    """The best result so far, and how many results since did not reach it."""

    value: float = float("-inf")
    step: int = 0
    behind: int = 0

    def improves(self, value: float, step: int) -> bool:
        """Counts a result; -> whether it is the best so far."""
        if value > self.value:
            self.value, self.step, self.behind = value, step, 0
            return True
        self.behind += 1
        return False

    def state_dict(self) -> dict[str, Any]:
        """The fields by their names, for a checkpoint."""
        return {"value": self.value, "step": self.step, "behind": self.behind}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` gave."""
        self.value, self.step, self.behind = state["value"], state["step"], state["behind"]


def validate(
    detector: Detector, annotations: Annotations, world: World, *, batch: int
) -> tuple[Scores, dict[str, float]]:
    """All figures, and those that are logged: ap, ap50 and ap75 of each kind, the losses and their sum."""
    workers = detector.config.data.workers
    scores = evaluate(detector, annotations, batch=batch, workers=workers)
    values = {f"{part.kind}.{name}": part.values[name] for part in scores for name in ("ap", "ap50", "ap75")}
    return scores, values | validation_losses(detector, annotations, world, batch=batch)


@torch.no_grad()
def validation_losses(detector: Detector, annotations: Annotations, world: World, *, batch: int) -> dict[str, float]:
    """Means over the images that have objects, with the first examples drawn in the place of random ones."""
    loader = evaluation_loader(
        annotations,
        rule=evaluation_rule(detector.config.model.input),
        batch=batch,
        targets=target_rule(detector.config),
        rank=world.rank,
        world_size=world.size,
        workers=detector.config.data.workers,
        device=detector.device,
    )
    detector.model.eval()
    sums: dict[str, float] = {}
    num_images = 0
    for prepared in loader:
        with detector.autocast():
            losses = detector.model.losses(prepared, sampling="first")
        num_images += len(prepared)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.item() * len(prepared)
    total = world.mean(torch.tensor([*sums.values(), float(num_images)], dtype=torch.float64, device=detector.device))
    means = dict(zip(sums, (total[:-1] / total[-1]).tolist(), strict=True))
    return means | {"loss": sum(means.values())}


def leading_figure(scores: Scores) -> tuple[str, float]:
    """The AP that says which weights are best."""
    found = {part.kind: part for part in scores}
    kind = next(kind for kind in LEADING_KINDS if kind in found)
    return f"{kind} AP", found[kind].values["ap"]


def can_validate(detector: Detector) -> bool:
    """Proposals alone have no AP, and proposals from outside come with no data set."""
    model = detector.config.model
    return bool(model.finds) and not (isinstance(model, schema.RCNN) and model.proposals.kind == "precomputed")
