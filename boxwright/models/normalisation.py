"""Group norm and batch norm whose statistics are exact enough in channels-last memory on the CPU.

There torch adds up the cells of a map one after the other in float32: over 200 x 272 cells the result is off by 1e-5,
in the first layers by 1e-4, which moves final boxes. Here the sums are taken in blocks; the backward pass is torch's.
Everywhere else torch's own layers run.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

LARGE = 2048  # cells; below it torch's sums are exact enough


class GroupNorm(nn.GroupNorm):
    """Keys: weight, bias."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        if not _sums_badly(x, x[0, 0].numel() if len(x) else 0):
            return super().forward(x)
        return cast(Tensor, _GroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps))  # type: ignore[no-untyped-call]


class BatchNorm(nn.BatchNorm2d):
    """Keys: weight, bias, running_mean, running_var, num_batches_tracked."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        if not self.training or not _sums_badly(x, x[:, 0].numel()):
            return super().forward(x)
        out, mean, var = _BatchNorm.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        self._track(mean, var, x[:, 0].numel())
        return cast(Tensor, out)

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (count / (count - 1)), self.momentum)


def _sums_badly(x: Tensor, cells: int) -> bool:
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.compiler.is_compiling():
        return False
    return cells > LARGE and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _moments(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) -> mean and mean of squares over `dims`, float64."""
    return x.mean(dims).double(), (x * x).mean(dims).double()


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, num_groups: int, eps: float) -> Tensor:
        mean, square = (m.view(len(x), num_groups, -1).mean(dim=2) for m in _moments(x, (2, 3)))
        inverse = (square - mean**2 + eps).rsqrt()
        ctx.num_groups = num_groups
        ctx.save_for_backward(x, weight, mean.float(), inverse.float())
        per_group = x.shape[1] // num_groups
        scale = inverse.repeat_interleave(per_group, dim=1) * weight
        shift = bias - mean.repeat_interleave(per_group, dim=1) * scale
        return torch.addcmul(shift.float()[:, :, None, None], x, scale.float()[:, :, None, None])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        n, channels, height, width = x.shape
        shape = (n, channels, height * width, ctx.num_groups)
        grad = grad.contiguous(memory_format=torch.channels_last)
        wanted = list(ctx.needs_input_grad[:3])
        grads = torch.ops.aten.native_group_norm_backward(grad, x, mean, inverse, weight, *shape, wanted)
        return (*grads, None, None)


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean, square = _moments(x, (0, 2, 3))
        var = square - mean**2
        inverse = (var + eps).rsqrt()
        ctx.eps = eps
        ctx.save_for_backward(x, weight, mean.float(), inverse.float())
        scale = inverse * weight
        shift = bias - mean * scale
        out = torch.addcmul(shift.float()[:, None, None], x, scale.float()[:, None, None])
        statistics = mean.float(), var.float()
        ctx.mark_non_differentiable(*statistics)
        return out, *statistics

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        wanted = list(ctx.needs_input_grad[:3])
        grads = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, None, None, mean, inverse, True, ctx.eps, wanted
        )
        return (*grads, None)
