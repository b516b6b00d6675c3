"""The hooks of `ConvNorm` and `Dense`: the same results sooner, where there is a way; else the layer does as defined.

Without gradients on the CPU a layer computes from a second copy of its weights: norm multiplied in, laid out for
oneDNN, transformed for Winograd, or in bytes. The copy belongs to the values that it was made of: all of them are read
before each use (`ops.cpu.fingerprint`), so that no change of a weight is missed, whoever made it. With gradients, and
where there is no such copy, a norm that does not look at its batch is multiplied into the weights on each call: no pass
over the (much larger) activations is made, or kept for the backward pass. Only the rounding differs.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from boxwright.models.fast.packed import (
    PackedConv,
    PackedLinear,
    PackedWinograd,
    packing_dtype,
    suits_winograd,
    trains_winograd,
)
from boxwright.models.fast.quantised import QuantisedConv, QuantisedLinear, Range
from boxwright.models.fast.winograd_training import TrainedWinograd
from boxwright.models.norms import is_constant, norm_tensors, running_affine
from boxwright.ops.cpu.fingerprint import fingerprint
from boxwright.ops.dispatch import forced_backend

if TYPE_CHECKING:
    from boxwright.models.layers import ConvNorm, Dense


class FastConv:
    """Of one `ConvNorm`.

    `folds = False` leaves norms where they are while gradients are recorded, where those are compared with another
    program's.
    """

    def __init__(self) -> None:
        self.folds = True
        self.within: Range | None = None  # where inputs lie: set for a convolution that is to compute on bytes
        self.result_within: Range | None = None  # where those of its only reader lie, which computes on bytes too
        self.packed: PackedConv | PackedWinograd | QuantisedConv | None = None
        self._packed_of: object = None

    def __call__(self, layer: "ConvNorm", x: Tensor, residual: Tensor | None) -> Tensor | None:
        """What `layer.forward` returns; None: let it compute that itself."""
        if not torch.compiler.is_compiling() and forced_backend() == "reference":  # dynamo cannot ask
            return None
        dtype = packing_dtype(x)
        if dtype is not None and self._packs(layer, residual):
            return self._packed_for(layer, x.to(dtype))(x.to(dtype), residual, layer.activation)
        self.packed = None
        affine = running_affine(layer.norm) if self.folds or not torch.is_grad_enabled() else None
        is_winograd = layer.is_plain and trains_winograd(x) and self._takes_winograd(layer, x.dtype)
        if affine is None and not is_winograd:
            return None
        weight, bias = folded(layer.weight, layer.bias, *affine) if affine else (layer.weight, layer.bias)
        convolve = TrainedWinograd.apply if is_winograd else layer.convolve
        out = convolve(x, weight, bias)
        return layer.finish(out if affine or layer.norm is None else layer.norm(out), residual)

    def quantises(self, layer: "ConvNorm") -> bool:
        """Whether the layer may compute on bytes: wide enough that this is worth while, and known to oneDNN."""
        is_known = self._packs(layer, None) and layer.activation in (None, "relu") and layer.groups == 1
        return is_known and layer.in_channels >= 16 and layer.out_channels >= 16

    def _packs(self, layer: "ConvNorm", residual: Tensor | None) -> bool:
        """Whether it is a plain convolution with at most a constant norm; of sums oneDNN knows but the ReLU."""
        is_known = residual is None or layer.activation in (None, "relu")
        return is_known and (layer.norm is None or is_constant(layer.norm)) and layer.is_plain

    def _takes_winograd(self, layer: "ConvNorm", dtype: torch.dtype) -> bool:
        """In training only where norms are folded as well, as its gradients are compared with no other program's."""
        is_known = layer.activation in (None, "relu") and (self.folds or not layer.training)
        return is_known and suits_winograd(layer, dtype)

    def _packed_for(self, layer: "ConvNorm", x: Tensor) -> PackedConv | PackedWinograd | QuantisedConv:
        of_norm = norm_tensors(layer.norm) if is_constant(layer.norm) else ()
        is_winograd = self._takes_winograd(layer, x.dtype)
        values = _values_of(layer.weight, layer.bias, *of_norm)
        key = (x.dtype, self.within, self.result_within, is_winograd, values)
        if self.packed is None or self._packed_of != key:
            affine = running_affine(layer.norm)
            made = folded(layer.weight, layer.bias, *affine) if affine else (layer.weight, layer.bias)
            if self.within is not None:
                within, to = self.within, self.result_within
                self.packed = QuantisedConv(layer, *made, x, within=within, result_within=to)
            elif is_winograd:
                self.packed = PackedWinograd(*made)
            else:
                self.packed = PackedConv(layer, *made, x)
            self._packed_of = key
        return self.packed

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"packed": None}  # a copy of the layer lays out its own


class FastLinear:
    """Of one `Dense`."""

    def __init__(self) -> None:
        self.within: Range | None = None
        self.packed: PackedLinear | QuantisedLinear | None = None
        self._packed_of: object = None

    def __call__(self, layer: "Dense", x: Tensor) -> Tensor | None:
        """What `layer.forward` returns; None: let it compute that itself."""
        dtype = packing_dtype(x)
        if dtype is None or forced_backend() == "reference":
            self.packed = None
            return None
        return self._packed_for(layer, x.to(dtype))(x.to(dtype), layer.activation)

    def quantises(self, layer: "Dense") -> bool:
        """Not the last layers, whose results are scores and boxes."""
        return layer.activation == "relu"

    def _packed_for(self, layer: "Dense", x: Tensor) -> PackedLinear | QuantisedLinear:
        key = (x.dtype, self.within, _values_of(layer.weight, layer.bias))
        if self.packed is None or self._packed_of != key:
            quantised = None if self.within is None else QuantisedLinear(layer, x, self.within)
            self.packed = quantised or PackedLinear(layer, x)
            self._packed_of = key
        return self.packed

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"packed": None}


def fold_in_training(model: nn.Module, *, folds: bool) -> None:
    """Whether constant norms are multiplied into weights while gradients are recorded; without gradients they are."""
    for module in model.modules():
        if isinstance(fast := getattr(module, "fast", None), FastConv):
            fast.folds = folds


def folded(weight: Tensor, bias: Tensor | None, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (O, I, h, w) and bias (O,) of the convolution that equals convolution + scale + shift."""
    return weight * scale[:, None, None, None], shift if bias is None else bias * scale + shift


def _values_of(*tensors: Tensor | None) -> object:
    return tuple((t.dtype, t.stride(), fingerprint(t)) for t in tensors if t is not None)
