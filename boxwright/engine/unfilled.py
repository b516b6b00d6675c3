"""Models whose weights come from a file: their parameters get memory, but no random numbers that nobody will see."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_DRAWS = (nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_, Tensor.uniform_, Tensor.normal_)


class UnfilledParameters(TorchFunctionMode):
    """Inside, nothing random is drawn, and parameters move to another device or layout without their numbers.

    Each parameter must be written to afterwards. Buffers, constants and the random numbers to come are as ever.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else named["tensor"]
        if func is Tensor.to and isinstance(args[0], nn.Parameter):
            return _moved_unfilled(*args, **named)
        return func(*args, **named)


def _moved_unfilled(
    parameter: nn.Parameter,
    device: torch.device | None,
    dtype: torch.dtype | None,
    non_blocking: bool,
    memory_format: torch.memory_format = torch.preserve_format,
) -> Tensor:
    """The arguments are those of `nn.Module.to`; memory that is not written to costs nothing."""
    return torch.empty_like(parameter, device=device, dtype=dtype, memory_format=memory_format)
