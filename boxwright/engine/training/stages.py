"""The parts of a run: which steps each takes, what learns in it, and its learning rate."""

from dataclasses import dataclass

from boxwright.config import training
from boxwright.engine.training.schedule import rate_factor


@dataclass(frozen=True)
class Part:
    """Steps `begin` to `end` - 1 of a run. Patterns and names as in `Stage`."""

    number: int
    begin: int
    end: int
    freeze: tuple[str, ...]
    losses: tuple[str, ...]
    schedule: training.Schedule

    def rate(self, step: int, base: float) -> float:
        """The learning rate at a step of the run, for the base rate of the settings."""
        return base * rate_factor(step - self.begin, self.schedule)


def parts_of(train: training.Train) -> list[Part]:
    """One part, or one for each of `train.stages`: each goes through the whole schedule, shrunk to its steps."""
    if not train.stages:
        return [Part(0, 0, train.schedule.max_steps, (), (), train.schedule)]
    parts: list[Part] = []
    for number, stage in enumerate(train.stages):
        begin = parts[-1].end if parts else 0
        schedule = _shrunk(train.schedule, stage)
        parts.append(Part(number, begin, begin + stage.steps, stage.freeze, stage.losses, schedule))
    return parts


def _shrunk(schedule: training.Schedule, stage: training.Stage) -> training.Schedule:
    """Warm-up keeps its length, as far as it fits."""
    decay, share = schedule.decay, stage.steps / schedule.max_steps
    if isinstance(decay, training.Steps):
        decay = decay.with_(steps=[max(round(step * share), 1) for step in decay.steps])
    warm_up = schedule.warm_up.with_(steps=min(schedule.warm_up.steps, stage.steps // 2))
    return schedule.with_(max_steps=stage.steps, decay=decay, warm_up=warm_up)
