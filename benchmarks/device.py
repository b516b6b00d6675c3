"""Where a benchmark runs: all that only a CUDA device can be asked, and what a CPU answers in its place."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

CPU = torch.device("cpu")
CALLS = 3  # the first makes the optimiser's state, which later ones hold beside their own


def device_of(name: str) -> torch.device:
    """ "cpu" or "cuda"."""
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit(f"--device {name} needs a CUDA device, and torch finds none here.")
    # The libraries of matrix products take memory of their own at the first call: no model shall be charged with it.
    square = torch.ones(8, 8, device=device, requires_grad=True)
    (square @ square).sum().backward()
    return device


def title_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def held_megabytes(device: torch.device) -> float:
    """What tensors hold on the device, once all that nobody can reach has been freed."""
    gc.collect()
    if device.type != "cuda":
        return 0.0
    torch.cuda.empty_cache()
    return torch.cuda.memory_allocated(device) / 1e6


def peak_megabytes(call: Callable[[], Any], device: torch.device, *, held_before: float) -> float | None:
    """The most that tensors hold during some calls, beyond `held_before` the call's model came; None on a CPU."""
    if device.type != "cuda":
        return None
    held_megabytes(device)
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(CALLS):
        call()
    return round(torch.cuda.max_memory_allocated(device) / 1e6 - held_before, 1)


@contextmanager
def exact_products() -> Iterator[None]:
    """Inside the block float32 is multiplied as float32, where a GPU would round it to TF32."""
    settings = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [setting.allow_tf32 for setting in settings]
    try:
        for setting in settings:
            setting.allow_tf32 = False
        yield
    finally:
        for setting, was in zip(settings, before, strict=True):
            setting.allow_tf32 = was
