"""The normalisations that follow convolutions, and what the constant ones among them amount to."""

from dataclasses import dataclass
from typing import Literal, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from boxwright.errors import ConfigError

NormKind = Literal["frozen_bn", "bn", "sync_bn", "gn"]


@dataclass(frozen=True, kw_only=True)
class Norm:
    """Which normalisation follows a convolution; called with a number of channels, it makes the layer.

    frozen_bn  batch norm whose four numbers are constants (buffers)
    bn         batch norm; `batch_statistics=False` keeps the running ones while training, the affine part still learns
    sync_bn    batch norm with statistics over all processes
    gn         group norm with `groups` groups

    `eps` matters when weights are taken over: 1e-5 nearly everywhere, 0.0 in torchvision's first ResNet detectors,
    1e-3 in the EfficientNets that came from TensorFlow. `momentum` is PyTorch's: the share of the new batch.
    """

    kind: NormKind
    eps: float = 1e-5
    momentum: float = 0.1
    groups: int = 32
    batch_statistics: bool = True

    def __call__(self, channels: int) -> nn.Module:
        match self.kind:
            case "frozen_bn":
                return FrozenBatchNorm(channels, eps=self.eps)
            case "gn":
                return self._group_norm(channels)
            case "bn" if self.batch_statistics:
                return nn.BatchNorm2d(channels, eps=self.eps, momentum=self.momentum)
            case "sync_bn" if self.batch_statistics:
                return nn.SyncBatchNorm(channels, eps=self.eps, momentum=self.momentum)
            case "bn" | "sync_bn":  # running statistics are the same in all processes: nothing to exchange
                return RunningBatchNorm(channels, eps=self.eps, momentum=self.momentum)
        raise ConfigError(f"norm is {self.kind!r}; expected frozen_bn, bn, sync_bn or gn")

    def _group_norm(self, channels: int) -> nn.Module:
        if channels % self.groups:
            raise ConfigError(
                f"group norm with {self.groups} groups does not fit {channels} channels; "
                f"choose a number of groups that divides {channels}"
            )
        return nn.GroupNorm(self.groups, channels, eps=self.eps)


class FrozenBatchNorm(nn.Module):
    """y = (x - running_mean) / sqrt(running_var + eps) * weight + bias with four constant vectors of C numbers.

    Starts as the identity. For a source that keeps only a scale and a shift, set running_mean to 0 and
    running_var to 1 - eps.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels) - eps)

    @classmethod
    def of(cls, norm: _BatchNorm) -> "FrozenBatchNorm":
        """The frozen twin of a batch norm; shares its running statistics, not its parameters."""
        frozen = cls(norm.num_features, eps=norm.eps)
        frozen.weight, frozen.bias = norm.weight.detach().clone(), norm.bias.detach().clone()
        frozen.running_mean, frozen.running_var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        return frozen

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        scale, shift = self.affine()
        return x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]

    def affine(self) -> tuple[Tensor, Tensor]:
        """The scale and shift, both (C,)."""
        return _constant_affine(*norm_tensors(self), self.eps)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        # A training batch norm also counts its batches; a frozen one has no use for the number.
        state_dict.pop(prefix + "num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Channels and eps."""
        return f"{len(self.weight)}, eps={self.eps}"


class RunningBatchNorm(nn.BatchNorm2d):
    """Batch norm that uses its running statistics in training too, and leaves them as they are."""

    def __init__(self, channels: int, *, eps: float, momentum: float) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.training = False  # a new module is in training mode until told otherwise

    def train(self, mode: bool = True) -> "RunningBatchNorm":
        """Stays in evaluation mode, whatever `mode` is."""
        super().train(False)
        return self


def _constant_affine(weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The scale and shift, both (C,), that a batch norm with these constants amounts to."""
    scale = weight * (var + eps).rsqrt()
    return scale, bias - mean * scale


ConstantNorm = FrozenBatchNorm | _BatchNorm


def is_constant(norm: nn.Module | None) -> TypeGuard[ConstantNorm]:
    """Whether a norm does not look at its batch."""
    return isinstance(norm, FrozenBatchNorm) or (isinstance(norm, _BatchNorm) and not norm.training)


def norm_tensors(norm: ConstantNorm) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """weight, bias, mean and variance, all (C,)."""
    return norm.weight, norm.bias, cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)


def running_affine(norm: nn.Module | None) -> tuple[Tensor, Tensor] | None:
    """Scale and shift of a norm that does not look at its batch; None for every other norm."""
    if isinstance(norm, FrozenBatchNorm):
        return norm.affine()
    return _constant_affine(*norm_tensors(norm), norm.eps) if is_constant(norm) else None
