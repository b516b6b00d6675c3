"""From the settings `model.input` to what the data package is told of them."""

from typing import Any

from boxwright.config import parts
from boxwright.data.augment import InputRule


def training_rule(settings: parts.Input) -> InputRule:
    """How pictures become the network's input in training."""
    resize = settings.resize
    return InputRule(
        short=tuple(resize.short_train),
        short_mode=resize.short_train_mode,
        long=resize.long_train,
        pad_to=settings.pad_to,
        **pixel_rule(settings),
    )


def evaluation_rule(settings: parts.Input) -> InputRule:
    """How they do at test."""
    resize = settings.resize
    return InputRule(short=(resize.short_test,), long=resize.long_test, pad_to=settings.pad_to, **pixel_rule(settings))


def pixel_rule(settings: parts.Input) -> dict[str, Any]:
    """What holds whatever the size, as keywords of `InputRule` and `prepare`."""
    return {
        "method": settings.resize.method,
        "channels": settings.channels,
        "value_range": settings.value_range,
        "mean": settings.mean,
        "std": settings.std,
    }
