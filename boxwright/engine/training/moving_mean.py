"""A moving mean of the weights, which is often better than the last of them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingMean:
    """Follows all parameters of `model`; buffers are the model's own. In the first steps it follows faster."""

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.model, self.decay = model, decay
        self.steps = 0
        self.values = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, *, follows: Tensor) -> None:
        """`follows`, () bool beside the weights: whether the step has changed them."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        values = list(self.values.values())
        moves = torch._foreach_sub([value.detach() for _, value in self.model.named_parameters()], values)
        torch._foreach_mul_(moves, follows * (1 - decay))
        torch._foreach_add_(values, moves)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the mean weights; afterwards its own again, to the bit."""
        own = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.put()
        try:
            yield
        finally:
            self._copy(own)

    def put(self) -> None:
        """The model has the mean weights from now on."""
        self._copy(self.values)

    @torch.no_grad()
    def _copy(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.copy_(values[name])

    def state_dict(self) -> dict[str, object]:
        """The mean weights by name, and how many steps they have followed."""
        return {"steps": self.steps, "values": self.values}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """What `state_dict` gave, into the tensors that are there."""
        values = state["values"]
        assert isinstance(values, dict)
        assert isinstance(state["steps"], int)
        self.steps = state["steps"]
        for name, value in self.values.items():
            value.copy_(values[name])
