"""Chooses the implementation of each op when it is called. The only file that knows which backends exist.

Without `use_backend` the device decides: Numba for tensors on the CPU, Triton on CUDA, and the plain torch definition
where neither has the op. `use_backend(name)` forces one for every op inside the block, and raises `BackendError` where
that one cannot run: it never falls back. `backend_for` says what would run and why, `which_ran` what did.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from boxwright.errors import BackendError

BACKENDS = ("reference", "cpu", "gpu")

# op -> the file that holds it, which has the same name in every backend
_FILE = {
    "box_iou": "iou",
    "generalized_box_iou": "iou",
    "nms_keep": "nms",
    "soft_nms": "soft_nms",
    "box_voting": "box_voting",
    "roi_align": "roi_align",
    "roi_align_backward": "roi_align",
    "roi_pool": "roi_pool",
    "roi_pool_backward": "roi_pool",
    "roi_crop": "roi_crop",
    "roi_crop_backward": "roi_crop",
    "deform_conv2d": "deform_conv",
    "deform_conv2d_backward": "deform_conv",
    "paste_masks": "paste_masks",
    "paste_masks_rle": "paste_masks",
    "rasterize_outlines": "outlines",
}
OPS = tuple(_FILE)
_OF_DEVICE = {"cpu": "cpu", "cuda": "gpu"}
# What runs on the CPU wherever the tensors are, and why.
_ON_HOST = {"paste_masks_rle": "run lengths are made in the host's memory"}

_forced: ContextVar[str | None] = ContextVar("boxwright_backend", default=None)
_ran: dict[str, str] = {}


@dataclass(frozen=True)
class BackendChoice:
    """Which backend runs an op, and the sentence `boxwright doctor` prints about it."""

    op: str
    backend: str
    reason: str
    function: Callable[..., Any]


@contextmanager
def use_backend(name: str | None) -> Iterator[None]:
    """Every op inside the block runs on `name`, or raises `BackendError`; None leaves the choice to the device."""
    if name is not None and name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}; expected one of {', '.join(BACKENDS)}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def forced_backend() -> str | None:
    """The backend that `use_backend` forces here, or None where the device decides.

    For code that has a fast way of its own: under "reference" it must take the plain one. Threads do not inherit the
    choice, so it is carried into them by hand; torch's compiler cannot trace the question.
    """
    return _forced.get()


def backend_for(op: str, device: Any = "cpu") -> BackendChoice:
    """What would run `op` for tensors on `device` (a name or a torch.device) at this point of the program."""
    if op not in _FILE:
        raise BackendError(f"unknown op {op!r}; expected one of {', '.join(OPS)}")
    device_type = getattr(device, "type", None) or str(device).partition(":")[0]
    return _choose(op, device_type, _forced.get(), os.environ.get("TRITON_INTERPRET") == "1")


def which_ran() -> dict[str, str]:
    """Op -> the backend of its last call in this process."""
    return dict(_ran)


def run(op: str, device_type: str, *args: Any, **kwargs: Any) -> Any:
    """Calls the chosen implementation of `op` and notes which one it was."""
    choice = backend_for(op, device_type)
    _ran[op] = choice.backend
    return choice.function(*args, **kwargs)


def on_host(file: str) -> Any:
    """The functions of `ops/cpu/<file>`, or under `use_backend("reference")` those of `ops/reference/<file>`.

    For what is made of the host's arrays wherever the tensors are, the metric and the resizing of pictures: no device
    decides, and there is nothing that the gpu backend could take over.
    """
    backend = "reference" if _forced.get() == "reference" else "cpu"
    return import_module(f"boxwright.ops.{backend}.{file}")


@cache
def _choose(op: str, device_type: str, forced: str | None, is_interpreting: bool) -> BackendChoice:
    if op in _ON_HOST:
        device_type = "cpu"
    if forced is not None:
        return _force(op, device_type, forced, is_interpreting)
    backend = _OF_DEVICE.get(device_type)
    if backend is None:
        return _reference(op, f"no kernels for device type {device_type!r}")
    function, trouble = _find(op, backend)
    if function is None:
        return _reference(op, trouble)
    kind = {"cpu": "Numba", "gpu": "Triton"}[backend]
    why = f": {_ON_HOST[op]}" if op in _ON_HOST else f" for device type {device_type!r}"
    return BackendChoice(op=op, backend=backend, reason=f"{kind} kernels{why}", function=function)


def _force(op: str, device_type: str, forced: str, is_interpreting: bool) -> BackendChoice:
    if forced == "cpu" and device_type != "cpu":
        raise BackendError(
            f"{op}: the cpu backend is forced, but the tensors are on {device_type!r}; move them with .cpu()"
        )
    if forced == "gpu" and op in _ON_HOST:
        raise BackendError(f"{op}: the gpu backend is forced, but {_ON_HOST[op]}; force 'cpu' for it")
    if forced == "gpu" and device_type != "cuda" and not (device_type == "cpu" and is_interpreting):
        remedy = "set TRITON_INTERPRET=1 first" if device_type == "cpu" else "move them with .cuda()"
        raise BackendError(f"{op}: the gpu backend is forced, but the tensors are on {device_type!r}; {remedy}")
    function, trouble = _find(op, forced)
    if forced == "gpu" and device_type == "cpu" and function is not None and not _is_interpreted():
        function, trouble = None, "TRITON_INTERPRET=1 was set after its kernels were made; set it before Python starts"
    if function is None:
        raise BackendError(f"{op}: the {forced} backend is forced, but cannot run: {trouble}")
    return BackendChoice(op=op, backend=forced, reason="forced by use_backend", function=function)


def _is_interpreted() -> bool:
    return bool(import_module("boxwright.ops.gpu.launch").IS_INTERPRETED)


def _reference(op: str, trouble: str) -> BackendChoice:
    function, _ = _find(op, "reference")
    assert function is not None, f"every op has a definition; {op} does not"
    return BackendChoice(op=op, backend="reference", reason=f"plain torch: {trouble}", function=function)


def _find(op: str, backend: str) -> tuple[Callable[..., Any] | None, str]:
    """The function of a backend, or None and why there is none."""
    module_name = f"boxwright.ops.{backend}.{_FILE[op]}"
    try:
        module = import_module(module_name)
    except ImportError as error:
        return None, f"{module_name} cannot be imported ({error})"
    function = getattr(module, op, None)
    return function, f"{module_name} has no {op}"
