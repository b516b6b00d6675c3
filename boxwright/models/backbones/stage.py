"""Blocks of a backbone in a row, whose inner results can be computed twice in the place of being kept."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class Stage(nn.Sequential):
    """Residual blocks that follow each other, named by the keys of `blocks`.

    `checkpoint=True` keeps only the input of each block for the backward pass and computes the rest again.
    """

    def __init__(
        self, blocks: Mapping[str, nn.Module], *, out_channels: int, stride: int, checkpoint: bool = False
    ) -> None:
        super().__init__()
        for name, block in blocks.items():
            self.add_module(name, block)
        self.out_channels = out_channels
        self.stride = stride
        self.checkpoint = checkpoint

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H / stride, W / stride)."""
        for block in self:
            x = run_block(block, x, checkpointed=self.checkpoint)
        return x


def run_block(block: nn.Module, x: Tensor, *, checkpointed: bool) -> Tensor:
    """block(x), computed a second time in the backward pass instead of kept, if `checkpointed`."""
    if not (checkpointed and torch.is_grad_enabled()):
        return cast(Tensor, block(x))
    contexts = partial(_recompute_contexts, block)
    return cast(Tensor, checkpoint(block, x, use_reentrant=False, context_fn=contexts))


def _recompute_contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Without it, the second computation would count the same batch again in the running statistics."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
