"""From the settings `model.input` to the InputRule that the data package works by."""

from dataclasses import replace

from boxwright.config import parts
from boxwright.data.network_input import InputRule


def training_rule(settings: parts.Input) -> InputRule:
    """How pictures become the network's input in training."""
    resize = settings.resize
    return replace(
        evaluation_rule(settings),
        short=tuple(resize.short_train),
        short_mode=resize.short_train_mode,
        long=resize.long_train,
    )


def evaluation_rule(settings: parts.Input) -> InputRule:
    """How they do at test."""
    return InputRule(
        short=(settings.resize.short_test,),
        long=settings.resize.long_test,
        method=settings.resize.method,
        channels=settings.channels,
        value_range=settings.value_range,
        mean=settings.mean,
        std=settings.std,
        pad_to=settings.pad_to,
    )
