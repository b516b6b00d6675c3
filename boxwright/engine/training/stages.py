"""The parts of a run: which steps each takes, what learns in it, and its learning rate."""

from dataclasses import dataclass

from boxwright.config.training import Schedule, Stage, Steps, Train
from boxwright.engine.training.schedule import rate_factor


@dataclass(frozen=True)
class Part:
    """Steps `begin` to `end` - 1 of a run. Patterns and names as in `Stage`."""

    number: int
    begin: int
    end: int
    freeze: tuple[str, ...]
    losses: tuple[str, ...]
    schedule: Schedule

    def rate(self, step: int, base: float) -> float:
        """The learning rate at a step of the run, for the base rate of the settings."""
        return base * rate_factor(step - self.begin, self.schedule)


def parts_of(train: Train) -> list[Part]:
    """One part, or one for each of `train.stages`: each goes through the whole schedule, shrunk to its steps."""
    if not train.stages:
        return [Part(0, 0, train.schedule.max_steps, (), (), train.schedule)]
    parts: list[Part] = []
    for number, stage in enumerate(train.stages):
        begin = parts[-1].end if parts else 0
        schedule = _shrunk(train.schedule, stage)
        parts.append(Part(number, begin, begin + stage.steps, tuple(stage.freeze), tuple(stage.losses), schedule))
    return parts


def _shrunk(schedule: Schedule, stage: Stage) -> Schedule:
    """Warm-up keeps its length, as far as it fits."""
    decay, share = schedule.decay, stage.steps / schedule.max_steps
    if isinstance(decay, Steps):
        decay = decay.model_copy(update={"steps": [max(round(step * share), 1) for step in decay.steps]})
    warm_up = schedule.warm_up.model_copy(update={"steps": min(schedule.warm_up.steps, stage.steps // 2)})
    return schedule.model_copy(update={"max_steps": stage.steps, "decay": decay, "warm_up": warm_up})
