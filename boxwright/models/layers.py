"""The pieces that every backbone, neck and convolutional head is made of.

A convolution owns the normalisation and the activation that follow it, so names are regular in the whole family:
a convolution called X has X.weight, X.bias where it has one, and X.norm.* where it is normalised. The four numbers
of a batch norm are X.norm.weight, X.norm.bias, X.norm.running_mean and X.norm.running_var in every form of it.

Shapes: N images or regions, C channels, H x W cells; tensors are (N, C, H, W) in either memory format.
"""

from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from boxwright.models.fast.packed import (
    PackedConv,
    PackedLinear,
    PackedWinograd,
    packing_dtype,
    state_of,
    suits_winograd,
    trains_winograd,
)
from boxwright.models.fast.quantised import QuantisedConv, QuantisedLinear, Range
from boxwright.models.fast.winograd_training import TrainedWinograd
from boxwright.models.norms import FrozenBatchNorm, Norm, RunningBatchNorm, is_constant, norm_tensors, running_affine

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

    Keys: weight, bias (only without a norm, or after folding), norm.*.

    A norm that does not look at its batch is multiplied into the weights on every call: the result is the same,
    and no pass over the (much larger) activations is made or kept for the backward pass. Gradients reach the
    weights and, where they are parameters, the scale and shift of the norm. Only the rounding differs, which
    `folds = False` avoids where gradients are compared with those of another program.

    Without gradients on the CPU the product is made once and kept, as a second copy of the weights, until they change.
    """

    folds = True

    norm: nn.Module | None
    packed: PackedConv | PackedWinograd | QuantisedConv | None = None
    within: Range | None = None  # where inputs lie: set for a convolution that is to compute on bytes
    result_within: Range | None = None  # where those of its only reader lie, which computes on bytes too

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

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H / stride, W / stride); `residual` has the shape of the result."""
        dtype = packing_dtype(x)
        if dtype is not None and self._packs(residual):
            return self._packed_for(x.to(dtype))(x.to(dtype), residual, self.activation)
        self.packed = None
        affine = running_affine(self.norm)
        if affine is not None and torch.is_grad_enabled() and not self.folds:
            out = self.convolve(x, self.weight, self.bias)
            out = out * affine[0][:, None, None] + affine[1][:, None, None]
        elif affine is not None:
            out = self.convolve(x, *folded(self.weight, self.bias, *affine))
        else:
            out = self.convolve(x, self.weight, self.bias)
            out = out if self.norm is None else self.norm(out)
        if residual is not None:
            out += residual  # `out` was made here and nobody else holds it
        return activate(out, self.activation)

    def learning_weight(self) -> tuple[Tensor, Tensor | None]:
        """(O, I, h, w) and (O,) for a caller that computes with them in training, and so may change them."""
        self.packed = None
        return self.weight, self.bias

    def _packs(self, residual: Tensor | None) -> bool:
        """Whether it is a plain convolution with at most a constant norm; of sums oneDNN knows but the ReLU."""
        is_known = residual is None or self.activation in (None, "relu")
        return is_known and (self.norm is None or is_constant(self.norm)) and type(self).convolve is ConvNorm.convolve

    @property
    def quantises(self) -> bool:
        """Whether it may compute on bytes: wide enough that this is worth while, and known to oneDNN."""
        is_known = self._packs(None) and self.activation in (None, "relu") and self.groups == 1
        return is_known and self.in_channels >= 16 and self.out_channels >= 16

    def _takes_winograd(self, dtype: torch.dtype) -> bool:
        """In training only where norms are folded as well, since the gradients are compared with nobody's."""
        is_known = self.activation in (None, "relu") and (self.folds or not self.training)
        return is_known and suits_winograd(self, dtype)

    def _packed_for(self, x: Tensor) -> PackedConv | PackedWinograd | QuantisedConv:
        of_norm = norm_tensors(self.norm) if is_constant(self.norm) else ()
        is_winograd = self._takes_winograd(x.dtype)
        state = state_of(self.weight, self.bias, *of_norm)
        key = (x.dtype, self.within, self.result_within, is_winograd, state)
        if self.packed is None or self.packed.key != key:
            affine = running_affine(self.norm)
            made = (self.weight, self.bias) if affine is None else folded(self.weight, self.bias, *affine)
            if self.within is not None:
                within, to = self.within, self.result_within
                self.packed = QuantisedConv(self, *made, x, within=within, result_within=to, key=key)
            elif is_winograd:
                self.packed = PackedWinograd(*made, key=key)
            else:
                self.packed = PackedConv(self, *made, x, key=key)
        return self.packed

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"packed": None}  # a copy lays out its own

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution alone, with the weights given; what a special convolution replaces."""
        if trains_winograd(x) and self._takes_winograd(x.dtype):
            return TrainedWinograd.apply(x, weight, bias)  # type: ignore[no-any-return, no-untyped-call]
        return F.conv2d(x, weight, bias, self.stride, cast(tuple[int, int], self.padding), self.dilation, self.groups)

    def extra_repr(self) -> str:
        described = str(super().extra_repr())  # type: ignore[no-untyped-call]
        return described + (f", activation={self.activation}" if self.activation else "")


class Dense(nn.Linear):
    """A fully connected layer, then its activation. Keys: weight, bias."""

    packed: PackedLinear | QuantisedLinear | None = None
    within: Range | None = None

    def __init__(self, in_features: int, out_features: int, *, activation: Activation | None = None) -> None:
        super().__init__(in_features, out_features)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_features) -> (N, out_features)."""
        dtype = packing_dtype(x)
        if dtype is not None:
            return self._packed_for(x.to(dtype))(x.to(dtype), self.activation)
        self.packed = None
        return activate(super().forward(x), self.activation)

    @property
    def quantises(self) -> bool:
        """Not the last layers, whose results are scores and boxes."""
        return self.activation == "relu"

    def _packed_for(self, x: Tensor) -> PackedLinear | QuantisedLinear:
        key = (x.dtype, self.within, state_of(self.weight, self.bias))
        if self.packed is None or self.packed.key != key:
            quantised = None if self.within is None else QuantisedLinear(self, x, self.within, key=key)
            self.packed = quantised or PackedLinear(self, x, key=key)
        return self.packed

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"packed": None}


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


def fold_in_training(model: nn.Module, *, folds: bool) -> None:
    """Whether constant norms are multiplied into weights while gradients are recorded; without gradients they are."""
    for module in model.modules():
        if isinstance(module, ConvNorm):
            module.folds = folds


def folded(weight: Tensor, bias: Tensor | None, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (O, I, h, w) and bias (O,) of the convolution that equals convolution + scale + shift."""
    return weight * scale[:, None, None, None], shift if bias is None else bias * scale + shift


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
