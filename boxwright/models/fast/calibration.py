"""Layers on bytes: in which range the inputs of each lie is seen while the model looks at some typical images."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from boxwright.errors import BackendError
from boxwright.models.backbones.resnet import BasicBlock, Bottleneck
from boxwright.models.fast.quantised import Range
from boxwright.models.layers import ConvNorm, Dense

_MOST_SAMPLED = 1 << 16
_SHARE_INSIDE = 0.9999  # of the values of an input; the few beyond are clamped


def quantise_layers(model: nn.Module, device: torch.device, look: Callable[[], object]) -> int:
    """Has the layers that `look` calls compute on bytes from now on; returns how many.

    Inside a residual block only bytes are passed on. Group norms, and layers that were not called, stay as they were.
    """
    if device.type != "cpu" or not torch.backends.mkldnn.enabled:
        raise BackendError(f"int8 needs a CPU and a PyTorch with oneDNN; the model is on {device}: take bf16 there")
    layers = [m for m in model.modules() if isinstance(m, ConvNorm | Dense) and m.fast.quantises(m)]  # type: ignore[arg-type]
    with ranges_seen(layers) as finders:
        look()
    for layer, finder in zip(layers, finders, strict=True):
        layer.fast.within = finder.range()
    for block in model.modules():
        pass_bytes(block)
    return sum(layer.fast.within is not None for layer in layers)


def pass_bytes(block: nn.Module) -> None:
    """Between two quantised convolutions of a residual block no floats are made."""
    match block:
        case BasicBlock():
            block.conv1.fast.result_within = block.conv2.fast.within
        case Bottleneck():
            block.conv1.fast.result_within = block.conv2.fast.within
            block.conv2.fast.result_within = block.conv3.fast.within


class RangeFinder:
    """Sees the inputs of a layer and remembers how far they reach."""

    def __init__(self) -> None:
        self.low = self.high = 0.0

    def see(self, x: Tensor) -> None:
        """Widens the range by that of an input: without the outermost 0.01 % at either end; of a large one a sample."""
        values = x.detach().float().flatten()
        values = values[:: max(len(values) // _MOST_SAMPLED, 1)]
        if len(values):
            low, high = torch.quantile(values, torch.tensor([1 - _SHARE_INSIDE, _SHARE_INSIDE])).tolist()
            self.low, self.high = min(self.low, low), max(self.high, high)

    def range(self) -> Range | None:
        """None where nothing was seen."""
        return Range(self.low, self.high) if self.high > self.low else None


@contextmanager
def ranges_seen(layers: Sequence[nn.Module]) -> Iterator[list[RangeFinder]]:
    """Within the block every call of a layer shows its input to the finder of the same place."""
    finders = [RangeFinder() for _ in layers]
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs, finder=finder: finder.see(inputs[0]))
        for layer, finder in zip(layers, finders, strict=True)
    ]
    try:
        yield finders
    finally:
        for handle in handles:
            handle.remove()
