"""Training recipes of the field by their names: how long, at which rates, with which crops."""

from collections.abc import Callable
from difflib import get_close_matches

from boxwright.config import training
from boxwright.config.schema import Config
from boxwright.errors import ConfigError

STEPS_PER_EPOCH = 7330  # of COCO train2017's 117,266 images with objects in batches of 16
LSJ_STEPS = 184375  # 100 epochs of all 118,000 images in batches of 64
LSJ_CROP = (1024, 1024)


def apply_recipe(config: Config, name: str) -> Config:
    """The settings with the schedule of recipe `name`, and with large-scale jitter where that belongs to it.

    The model, the optimiser's kind and everything else stay. Steps and rate are those of the recipe's own batch;
    another `train.batch` scales them.
    """
    if name not in RECIPES:
        close = get_close_matches(name, RECIPES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"no recipe {name!r}; there are {', '.join(RECIPES)}{hint}")
    return RECIPES[name](config)


def _detectron(times: int) -> Callable[[Config], Config]:
    """Detectron's: 90,000 steps, the rate divided by ten at two thirds and eight ninths; the 3x later than that."""
    steps = (210000, 250000) if times == 3 else (60000 * times, 80000 * times)
    return lambda config: _with_schedule(config, batch=16, lr=0.02, max_steps=90000 * times, steps=steps)


def _twenty_epochs(config: Config) -> Config:
    """mmdetection's for cascades: the rate is divided after epochs 16 and 19."""
    steps = (16 * STEPS_PER_EPOCH, 19 * STEPS_PER_EPOCH)
    return _with_schedule(config, batch=16, lr=0.02, max_steps=20 * STEPS_PER_EPOCH, steps=steps)


def _large_scale_jitter(epochs: int) -> Callable[[Config], Config]:
    """Detectron2's new baselines: batches of 64, crops of 1024 x 1024 at 0.1 to 2 times the size."""
    max_steps = LSJ_STEPS * epochs // 100
    steps = (round(max_steps * 8 / 9), round(max_steps * 26 / 27))

    def apply(config: Config) -> Config:
        made = _with_schedule(config, batch=64, lr=0.1, max_steps=max_steps, steps=steps, warm_up=500, factor=0.067)
        augment = made.data.augment.with_(scale_jitter=(0.1, 2.0), crop=LSJ_CROP)
        return made.with_(data=made.data.with_(augment=augment))

    return apply


def _with_schedule(
    config: Config,
    *,
    batch: int,
    lr: float,
    max_steps: int,
    steps: tuple[int, ...],
    warm_up: int = 1000,
    factor: float = 0.001,
) -> Config:
    schedule = training.Schedule(
        max_steps=max_steps, decay=training.Steps(steps=steps), warm_up=training.WarmUp(steps=warm_up, factor=factor)
    )
    return config.with_(train=config.train.with_(batch=batch, reference_batch=batch, lr=lr, schedule=schedule))


RECIPES: dict[str, Callable[[Config], Config]] = {
    "1x": _detectron(1),
    "2x": _detectron(2),
    "3x": _detectron(3),
    "20e": _twenty_epochs,
    "lsj_100e": _large_scale_jitter(100),
    "lsj_200e": _large_scale_jitter(200),
    "lsj_400e": _large_scale_jitter(400),
}
