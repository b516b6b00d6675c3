"""The pieces that every backbone, neck and convolutional head is made of.

A convolution owns the normalisation and the activation that follow it, so names are regular in the whole family:
a convolution called X has X.weight, X.bias where it has one, and X.norm.* where it is normalised. The four numbers
of a batch norm are X.norm.weight, X.norm.bias, X.norm.running_mean and X.norm.running_var in every form of it.

Shapes: N images or regions, C channels, H x W cells; tensors are (N, C, H, W) in either memory format.
"""

from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from boxwright.models.fast.layers import FastConv, FastLinear
from boxwright.models.norms import FrozenBatchNorm, Norm, RunningBatchNorm

Activation = Literal["relu", "silu", "hardswish"]
FrozenNorm = Literal["frozen_bn", "unchanged"]


def activate(x: Tensor, activation: Activation | None) -> Tensor:
    """Apply an activation, in place where no gradient needs the values that it overwrites."""
    match activation:
        case None:
            return x
        case "relu":  # its gradient follows from its result
            return F.relu_(x)
        case "silu":
            return F.silu(x, inplace=not x.requires_grad)
        case "hardswish":
            return F.hardswish(x, inplace=not x.requires_grad)


class ConvNorm(nn.Conv2d):
    """Convolution, then norm, then a residual if one is handed over, then activation.

    Keys: weight, bias (only without a norm), norm.*.
    """

    norm: nn.Module | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool | None = None,
        norm: Norm | None = None,
        activation: Activation | None = None,
    ) -> None:
        """Pads so that stride 1 keeps the size. `bias=None`: a bias where there is no norm."""
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=groups,
            bias=norm is None if bias is None else bias,
        )
        self.norm = None if norm is None else norm(out_channels)
        self.activation = activation
        self.fast = FastConv()

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H / stride, W / stride); `residual` has the shape of the result."""
        sooner = self.fast(self, x, residual)
        if sooner is not None:
            return sooner
        out = self.convolve(x, self.weight, self.bias)
        return self.finish(out if self.norm is None else self.norm(out), residual)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution alone, with the weights given; what a special convolution replaces."""
        return F.conv2d(x, weight, bias, self.stride, cast(tuple[int, int], self.padding), self.dilation, self.groups)

    def finish(self, out: Tensor, residual: Tensor | None) -> Tensor:
        """Residual and activation; `out` was made for this call alone, and is written over."""
        if residual is not None:
            out += residual
        return activate(out, self.activation)

    @property
    def is_plain(self) -> bool:
        """Whether it convolves as torch does."""
        return type(self).convolve is ConvNorm.convolve

    def extra_repr(self) -> str:
        """As torch's, with the activation."""
        described = str(super().extra_repr())  # type: ignore[no-untyped-call]
        return described + (f", activation={self.activation}" if self.activation else "")


class Dense(nn.Linear):
    """A fully connected layer, then its activation. Keys: weight, bias."""

    def __init__(self, in_features: int, out_features: int, *, activation: Activation | None = None) -> None:
        super().__init__(in_features, out_features)
        self.activation = activation
        self.fast = FastLinear()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_features) -> (N, out_features)."""
        sooner = self.fast(self, x)
        return activate(super().forward(x), self.activation) if sooner is None else sooner


def fitting_layout(model: nn.Module, device: torch.device, *, training: bool) -> torch.memory_format:
    """Channels-last, the layout that our kernels use in place; but not for norms that look at their input on the CPU.

    There torch adds up the cells of a channels-last map one after the other: the statistics of a map of 200 x 272
    cells are off by 1e-5, in the first layers by 1e-4, which moves final boxes; group norm is slower, too.
    """
    looking: tuple[type[nn.Module], ...] = (nn.GroupNorm, nn.BatchNorm2d) if training else (nn.GroupNorm,)
    if device.type == "cpu" and any(
        isinstance(m, looking) and not isinstance(m, RunningBatchNorm) for m in model.modules()
    ):
        return torch.contiguous_format
    return torch.channels_last


def freeze(module: nn.Module, *, norm: FrozenNorm = "frozen_bn") -> None:
    """Stop a part from learning.

    norm="frozen_bn"  its batch norms become frozen ones, as in Detectron2; it computes what Detectron.pytorch's
                      affine layers and mmdetection's eval mode compute
    norm="unchanged"  its batch norms go on using and tracking batch statistics, as in torchvision
    """
    module.requires_grad_(False)
    if norm == "unchanged":
        return
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, name, FrozenBatchNorm.of(child))


def init_msra(conv: nn.Conv2d) -> None:
    """Normal weights by the fan out (He et al.), zero bias: for convolutions that a ReLU follows."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    _zero_bias(conv)


def init_msra_per_group(conv: nn.Conv2d) -> None:
    """As `init_msra`, with the fan out of one group: for depthwise convolutions, which it would leave far too small."""
    fan_out = conv.out_channels * conv.kernel_size[0] * conv.kernel_size[1] // conv.groups
    nn.init.normal_(conv.weight, std=(2.0 / fan_out) ** 0.5)
    _zero_bias(conv)


def init_xavier(conv: nn.Conv2d) -> None:
    """Uniform weights within sqrt(3 / fan in), zero bias: for convolutions without an activation."""
    nn.init.kaiming_uniform_(conv.weight, a=1)
    _zero_bias(conv)


def _zero_bias(conv: nn.Conv2d) -> None:
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def init_convolutions(module: nn.Module, init: Callable[[nn.Conv2d], None]) -> None:
    """Apply `init` to every convolution inside `module`."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            init(child)
