"""Arrays and tensors out of a pickle: numpy's and torch's rows of the table in `pickle_globals.py`.

Each builder checks that the shape it is asked for fits the numbers that are there.
"""

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from boxwright.interop.files.pickle_values import (
    Blob,
    Builder,
    Context,
    Global,
    PendingArray,
    PendingDtype,
    PendingTensor,
    Storage,
    as_bytes,
    as_text,
    sizes,
)

_DTYPE = re.compile(r"[<>|=]?(b1|[?bBhHiIlLqQefdFD]|[iu][1248]|f[248]|c8|c16|[SU][1-9][0-9]{0,4})")


# numpy


def _array(context: Context, name: str, arguments: tuple[Any, ...]) -> PendingArray:
    match arguments:
        case (Global(name="numpy.ndarray"), *_):
            return PendingArray()
    raise context.misfit(name, arguments)


def _dtype(context: Context, name: str, arguments: tuple[Any, ...]) -> PendingDtype:
    code = as_text(arguments[0]) if arguments else None
    if code is not None and _DTYPE.fullmatch(code):
        return PendingDtype(code)
    raise context.source.unsafe(
        f"an array has the element type {str(code)[:40]!r}", "Weights are numbers: keep such arrays out of the file."
    )


def make_array(
    context: Context, raw: Any, dtype: Any, shape: tuple[int, ...], *, fortran: bool = False
) -> npt.NDArray[Any]:
    """The bytes `raw` as an array of `shape`. Long strings are not copied."""
    if not isinstance(dtype, PendingDtype):
        raise context.source.damaged("an array has no element type")
    built = dtype.build()
    buffer = raw.buffer if isinstance(raw, Blob) else None
    if buffer is None:
        data = as_bytes(raw)
        if data is None:
            raise context.source.damaged("the numbers of an array are no bytes")
        context.budget.take(len(data), "an array")
        buffer = np.frombuffer(bytearray(data), np.uint8)
    if math.prod(shape) * built.itemsize != buffer.size:
        raise context.source.unsafe(
            f"an array claims the shape {shape} of {built}, and {buffer.size:,} bytes follow",
            "The file is damaged or hostile: fetch it again.",
        )
    context.budget.take(128, "an array")
    array = buffer.view(built)
    if not built.isnative:
        context.budget.take(buffer.size, "an array")
        array = array.astype(built.newbyteorder("="))
    try:
        return array.reshape(shape, order="F" if fortran else "C")
    except ValueError:  # a zero beside sizes that no machine can count
        raise context.source.damaged(f"no array can have the shape {shape}") from None


def _scalar(context: Context, name: str, arguments: tuple[Any, ...]) -> Any:
    match arguments:
        case (PendingDtype() as dtype, raw):
            context.budget.take(dtype.build().itemsize, "a number")
            return make_array(context, raw, dtype, ())[()]
        case (PendingDtype() as dtype,):  # an empty string
            context.budget.take(dtype.build().itemsize, "a number")
            return make_array(context, b"\0" * dtype.build().itemsize, dtype, ())[()]
    raise context.misfit(name, arguments)


def _frombuffer(context: Context, name: str, arguments: tuple[Any, ...]) -> npt.NDArray[Any]:
    """numpy's form since protocol 5: (bytes, dtype, shape, "C" or "F")."""
    match arguments:
        case (raw, PendingDtype() as dtype, shape, "C" | "F" as order) if (known := sizes(shape)) is not None:
            return make_array(context, raw, dtype, known, fortran=order == "F")
    raise context.misfit(name, arguments)


# torch


def make_tensor(context: Context, storage: Any, offset: Any, shape: Any, stride: Any) -> Tensor:
    """A view of `storage`, which must hold every element; views that repeat elements are refused."""
    if not isinstance(storage, Storage) or storage.dtype is None:
        raise context.source.damaged("a tensor has no typed storage")
    context.budget.take(1_024, "a tensor")
    known, steps = sizes(shape), sizes(stride)
    if known is None or steps is None or len(known) != len(steps) or type(offset) is not int or offset < 0:
        raise context.source.damaged("a tensor has an impossible shape, stride or offset")
    last = offset + sum((n - 1) * step for n, step in zip(known, steps, strict=True))
    count = math.prod(known)
    if count and (last >= storage.count or count > storage.count):
        raise context.source.unsafe(
            f"a tensor claims the shape {known}, and its storage holds {storage.count:,} elements",
            "The file is damaged or hostile: fetch it again.",
        )
    if (
        count and (storage.start + last + 1) * storage.dtype.itemsize > storage.memory.numel()
    ):  # torch would enlarge the memory
        raise context.source.damaged("a tensor reaches beyond the numbers that are there")
    empty = torch.empty(0, dtype=storage.dtype)
    try:
        return (
            empty.set_(storage.memory.untyped_storage(), storage.start + offset, known, steps)
            if count
            else empty.new_empty(known)
        )
    except RuntimeError:  # a zero beside sizes that no machine can count
        raise context.source.damaged(f"no tensor can have the shape {known} and strides {steps}") from None


def _tensor(context: Context, name: str, arguments: tuple[Any, ...]) -> Tensor:
    """_rebuild_tensor(storage, offset, shape, stride), and v2 with (requires grad, hooks, metadata) behind."""
    match arguments:
        case (storage, offset, shape, stride, *rest):
            if len(rest) > 2 and rest[2]:
                raise context.source.unsafe("a tensor is a conjugated or negated view", "Save `tensor.resolve_conj()`.")
            return make_tensor(context, storage, offset, shape, stride)
    raise context.misfit(name, arguments)


def _tensor_v3(context: Context, name: str, arguments: tuple[Any, ...]) -> Tensor:
    """The form for element types without a storage class of their own: the type is given instead."""
    match arguments:
        case (Storage(dtype=None) as storage, offset, shape, stride, _, _, torch.dtype() as dtype, *rest):
            start, remainder = divmod(storage.start, dtype.itemsize)  # untyped storages count in bytes
            if remainder:
                raise context.source.damaged(f"numbers of {dtype.itemsize} bytes begin at byte {storage.start}")
            typed = Storage(storage.memory, dtype, storage.count // dtype.itemsize, start, storage.filled)
            return _tensor(context, name, (typed, offset, shape, stride, None, None, *rest))
    raise context.misfit(name, arguments)


def _parameter(context: Context, name: str, arguments: tuple[Any, ...]) -> Tensor | PendingTensor:
    """A parameter is its tensor."""
    if arguments and isinstance(arguments[0], Tensor | PendingTensor):
        return arguments[0]
    raise context.misfit(name, arguments)


def _from_type(context: Context, name: str, arguments: tuple[Any, ...]) -> Any:
    """A tensor with attributes: (the function that rebuilds it, its class, that function's arguments, attributes)."""
    match arguments:
        case (Global(name=inner), Global(name=kind), tuple() as inner_arguments, *_) if inner.startswith(
            "torch._utils._rebuild"
        ) and kind in ("torch.Tensor", "torch.nn.parameter.Parameter"):
            return NUMBER_BUILDERS[inner](context, inner, inner_arguments)
    raise context.misfit(name, arguments)


def _old_tensor(context: Context, name: str, arguments: tuple[Any, ...]) -> PendingTensor:
    return PendingTensor()


def _size(context: Context, name: str, arguments: tuple[Any, ...]) -> tuple[int, ...]:
    if len(arguments) == 1 and (known := sizes(arguments[0])) is not None:
        return known
    raise context.misfit(name, arguments)


def _device(context: Context, name: str, arguments: tuple[Any, ...]) -> str:
    return ":".join(str(part)[:20] for part in arguments[:2] if isinstance(part, str | int))


def _text(context: Context, name: str, arguments: tuple[Any, ...]) -> str:
    match arguments:
        case (str() as text,):
            return text
    raise context.misfit(name, arguments)


def _nested_storage(context: Context, name: str, arguments: tuple[Any, ...]) -> Any:
    """A tensor pickled without torch.save holds a small torch file as a string."""
    data = as_bytes(arguments[0]) if len(arguments) == 1 else None
    if data is None or context.read_nested is None:
        raise context.misfit(name, arguments)
    context.budget.take(len(data), "a storage")
    return context.read_nested(data, context.budget)


STORAGES: dict[str, torch.dtype | None] = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.ComplexDoubleStorage": torch.complex128,
    "torch.storage.UntypedStorage": None,
    "torch.UntypedStorage": None,
}


_WITHOUT_STORAGE = ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
DTYPES: dict[str, torch.dtype] = {str(dtype): dtype for dtype in STORAGES.values() if dtype is not None}
DTYPES |= {f"torch.{name}": getattr(torch, name) for name in _WITHOUT_STORAGE}

NUMBER_BUILDERS: dict[str, Builder] = {
    "numpy.core.multiarray._reconstruct": _array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _frombuffer,
    "numpy.dtype": _dtype,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.autograd.variable.Variable": _parameter,
    "torch.Size": _size,
    "torch.device": _device,
    "torch.serialization._get_layout": _text,
    "torch.torch_version.TorchVersion": _text,
    "torch.storage._load_from_bytes": _nested_storage,
}

_TENSORS = [name.replace("Storage", "Tensor") for name in STORAGES if "Untyped" not in name]
NUMBER_BUILDERS |= dict.fromkeys([*_TENSORS, "torch.Tensor", "torch._tensor.Tensor"], _old_tensor)
