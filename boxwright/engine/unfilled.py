"""Models whose weights come from a file: their parameters get memory, but no random numbers that nobody will see."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from boxwright.errors import WeightsError

_DRAWS = (nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_, Tensor.uniform_, Tensor.normal_)
_MAKERS = (torch.empty, torch.zeros, torch.ones, torch.full)
_SMALL = 96 * 2**20  # bytes that a model may have beside those of its file
_WIDER = 4  # times the file: of one byte per weight in it, and four here
_MOST_TENSORS = 8_000  # the largest model has some 2,500


class UnfilledParameters(TorchFunctionMode):
    """Inside, nothing random is drawn, and parameters move to another device or layout without their numbers.

    Each parameter must be written to afterwards. Buffers, constants and the random numbers to come are as ever.
    `held` are the bytes of the weights in the file `where`: settings that ask for far more are refused before they get
    any memory.
    """

    def __init__(self, *, held: int, where: str) -> None:
        super().__init__()
        self.left = _SMALL + _WIDER * held
        self.tensors = 0
        self.held = held
        self.where = where

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else named["tensor"]
        if func is Tensor.to and isinstance(args[0], nn.Parameter):
            return _moved_unfilled(*args, **named)
        if func in _MAKERS:
            self._charge(args, named)
        return func(*args, **named)

    def _charge(self, args: Sequence[Any], named: Mapping[str, Any]) -> None:
        """For torch.empty(2, 3), torch.empty((2, 3)) and torch.full((2, 3), 1)."""
        first = named.get("size", args[0] if args else ())
        shape = [side for side in args if isinstance(side, int)] if isinstance(first, int) else first
        self.left -= math.prod(shape) * (named.get("dtype") or torch.get_default_dtype()).itemsize
        self.tensors += 1
        if self.left < 0 or self.tensors > _MOST_TENSORS:
            raise WeightsError(
                f"{self.where}: the settings describe a model far larger than its weights, which have "
                f"{self.held:,} bytes. Is this the model's config?"
            )


def _moved_unfilled(
    parameter: nn.Parameter,
    device: torch.device | None,
    dtype: torch.dtype | None,
    non_blocking: bool,
    memory_format: torch.memory_format = torch.preserve_format,
) -> Tensor:
    """The arguments are those of `nn.Module.to`; memory that is not written to costs nothing."""
    return torch.empty_like(parameter, device=device, dtype=dtype, memory_format=memory_format)
