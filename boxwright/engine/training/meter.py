"""How a run gets on: mean losses, speed, and where the time goes, between two readings."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from boxwright.engine.training.learner import StepResult


class Meter:
    """Counts steps; `read` gives the figures since the last reading and begins anew."""

    def __init__(self, device: torch.device, *, images_per_step: int) -> None:
        self.device, self.images_per_step = device, images_per_step
        self._begin()

    def _begin(self) -> None:
        self._results: list[StepResult] = []
        self._started, self._waited, self._paused = time.perf_counter(), 0.0, 0.0

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Time inside counts as time without data."""
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Time inside is none of the training's."""
        begin = time.perf_counter()
        yield
        self._paused += time.perf_counter() - begin

    def count(self, result: StepResult) -> None:
        """One more step."""
        self._results.append(result)

    def read(self) -> dict[str, float]:
        """loss and its parts, rate, gradient_norm, images_per_second, data_share, memory_gb, skipped_steps."""
        taken = [result for result in self._results if not result.is_skipped]
        losses = {name: _mean([result.losses[name] for result in taken]) for name in (taken[0].losses if taken else ())}
        seconds = max(time.perf_counter() - self._started - self._paused, 1e-9)
        values = {
            "loss": sum(losses.values()),
            **losses,
            "rate": self._results[-1].rate,
            "gradient_norm": _mean([result.gradient_norm for result in taken]),
            "images_per_second": len(self._results) * self.images_per_step / seconds,
            "data_share": self._waited / seconds,
            "memory_gb": self._memory() / 2**30,
            "skipped_steps": float(len(self._results) - len(taken)),
        }
        self._begin()
        return values

    def _memory(self) -> float:
        """Bytes at their highest: of the GPU, else of this process."""
        if self.device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self.device))
        unit = 1 if sys.platform == "darwin" else 1024
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
