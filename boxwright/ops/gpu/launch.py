"""What every kernel launch needs: the right device, exact arithmetic, and whether this is the interpreter."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.jit import JITFunction

from boxwright.errors import BackendError


@triton.jit
def divide(a, b):
    """a / b as IEEE 754 rounds it, which `/` does not do for float32."""
    b = b.to(a.dtype)
    return tl.div_rn(a, b) if a.dtype == tl.float32 else a / b


@triton.jit
def constant(VALUE: tl.constexpr, like):
    """A number compiled into the kernel, in the type of `like`: beside a tensor it would first be cut to float32."""
    return tl.full((), VALUE, like.dtype)


IS_INTERPRETED = not isinstance(divide, JITFunction)
if isinstance(tl.cdiv, JITFunction) == IS_INTERPRETED:
    raise ImportError("TRITON_INTERPRET was changed after triton was imported; set it before Python starts")


def launch(kernel, grid: tuple[int, ...], *args, like: Tensor, num_warps: int = 4, **constants) -> None:
    """Runs `kernel` on the device of `like`, rounding after every operation; nothing if the grid is empty.

    A product and a sum fuse into one rounding only where a kernel says so: comparisons must come out as in the
    definition. `constants` are compiled into the kernel.
    """
    if 0 in grid:
        return
    with torch.cuda.device_of(like):
        kernel[grid](*args, **constants, num_warps=num_warps, enable_fp_fusion=False)


def refuse_if_deterministic(op: str) -> None:
    """Sums over many threads come out in any order, so the last bits of a gradient differ from run to run."""
    if torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled():
        raise BackendError(
            f"{op}: the GPU kernel adds in any order, but torch.use_deterministic_algorithms(True) is set; "
            f"run it under use_backend('reference') or allow it with warn_only=True"
        )


def sum_type(kind: torch.dtype) -> torch.dtype:
    """In which type values of this type are summed."""
    return torch.promote_types(kind, torch.float32)
