"""The learning rate as a function of the step alone, so that a resumed run has the rate of an uninterrupted one."""

import math
from bisect import bisect_right

from boxwright.config import training


def rate_factor(step: int, schedule: training.Schedule) -> float:
    """What the base rate is multiplied by at `step`, counted from 0."""
    return _warm_up_factor(step, schedule.warm_up) * _decay_factor(step, schedule.decay, schedule.max_steps)


def scaled_to_batch(train: training.Train, batch: int) -> training.Train:
    """The recipe for another batch, as Detectron.pytorch does it; unchanged without a `reference_batch`.

    The rate grows with the images of one forward pass, the steps shrink with the images between two updates
    (batch x accumulate). Warm-up keeps its length.
    """
    if train.reference_batch is None:
        return train.with_(batch=batch)
    rate = batch / train.reference_batch
    steps = train.reference_batch / (batch * train.accumulate)
    schedule = train.schedule.with_(
        max_steps=_rounded(train.schedule.max_steps * steps), decay=_scaled_decay(train.schedule.decay, steps)
    )
    return train.with_(batch=batch, lr=train.lr * rate, schedule=schedule, reference_batch=None)


def _warm_up_factor(step: int, warm_up: training.WarmUp) -> float:
    if step >= warm_up.steps:
        return 1.0
    if warm_up.kind == "constant":
        return warm_up.factor
    share = step / warm_up.steps
    return warm_up.factor * (1 - share) + share


def _decay_factor(step: int, decay: training.Decay, max_steps: int) -> float:
    match decay:
        case training.Constant():
            return 1.0
        case training.Steps():
            return decay.gamma ** bisect_right(decay.steps, step)
        case training.Cosine():
            return decay.final + (1 - decay.final) * _falling_cosine(step / max_steps)
        case training.OneCycle():
            rise = decay.warm_share * max_steps
            if step < rise:
                return 1 - _falling_cosine(step / rise)
            return _falling_cosine((step - rise) / max(max_steps - rise, 1))


def _falling_cosine(share: float) -> float:
    """1 at share 0, 0 at share 1."""
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def _scaled_decay(decay: training.Decay, factor: float) -> training.Decay:
    if not isinstance(decay, training.Steps):
        return decay
    return decay.with_(steps=[_rounded(step * factor) for step in decay.steps])


def _rounded(steps: float) -> int:
    return max(int(steps + 0.5), 1)
