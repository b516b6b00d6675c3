"""Two models over the same parts."""

from copy import copy
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def shared(model: Module) -> Module:
    """A model that holds the very modules, parameters and buffers of this one, and may use them by other rules."""
    twin = copy(model)
    for held in ("_modules", "_parameters", "_buffers"):
        twin.__dict__[held] = dict(model.__dict__[held])
    return twin
