"""Runs of a model on a GPU that are recorded once for each shape of input, then played as one launch."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from boxwright.models.detected import ForwardPass
from boxwright.models.frames import Frames
from boxwright.models.rcnn import RCNN
from boxwright.models.retinanet import RetinaNet

Record = Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]]

MOST_SHAPES = 16  # whose recordings are kept; each holds the memory of its own results
WARM_UP = 3  # runs before a recording, in which kernels are compiled and libraries choose theirs


@dataclass(frozen=True)
class _Recording:
    """`play` writes into `result` what the model makes of what lies in `images` and the tensors of `frames` then."""

    images: Tensor
    frames: Frames
    result: ForwardPass
    play: Callable[[], None]


class Recorder:
    """The model's `run`, played from a recording where the shape of its images has been seen before.

    A result is overwritten by the next one of its shape. Weights are read where they lie, with whatever was written
    there since; where they have been replaced, recordings are made anew.
    """

    def __init__(self, model: RCNN | RetinaNet, *, record: Record | None = None) -> None:
        self.model = model
        self.record = record or CudaGraphs()
        self._recordings: OrderedDict[object, _Recording | None] = OrderedDict()

    def __call__(self, images: Tensor, frames: Frames) -> ForwardPass:
        weights = tuple(t.data_ptr() for t in chain(self.model.parameters(), self.model.buffers()))
        key = (images.shape, images.stride(), images.dtype, images.device, _autocast_of(images), weights)
        if key not in self._recordings:  # most shapes of a folder of pictures come once
            self._keep(key, None)
            return self.model.run(images, frames, counts=False)
        with torch.cuda.device_of(images):  # type: ignore[no-untyped-call]
            recording = self._recordings[key] or self._recorded(images, frames)
            self._keep(key, recording)
            recording.images.copy_(images)
            for own, given in zip(_tensors(recording.frames), _tensors(frames), strict=True):
                own.copy_(given)
            recording.play()
        return recording.result

    def _keep(self, key: object, recording: _Recording | None) -> None:
        self._recordings[key] = recording
        self._recordings.move_to_end(key)
        if len(self._recordings) > MOST_SHAPES:
            self._recordings.popitem(last=False)

    def _recorded(self, images: Tensor, frames: Frames) -> _Recording:
        images = images.clone()
        own = {f.name: getattr(frames, f.name).clone() for f in fields(frames) if _is_tensor(frames, f.name)}
        frames = replace(frames, **own)
        result, play = self.record(lambda: self.model.run(images, frames, counts=False))
        return _Recording(images, frames, result, play)


class CudaGraphs:
    """Records as CUDA graphs, which share their memory but for what they return."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        enabled, dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
        # Weights that autocast had cast before, and keeps until it ends, would not outlive it.
        with torch.autocast("cuda", dtype, enabled=enabled, cache_enabled=False):
            self._warm_up(run)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                result = run()
        self._pool = graph.pool()
        return result, graph.replay

    def _warm_up(self, run: Callable[[], Any]) -> None:
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                run()
        here.wait_stream(aside)


def _autocast_of(images: Tensor) -> tuple[bool, torch.dtype]:
    kind = images.device.type
    return torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)


def _is_tensor(frames: Frames, name: str) -> bool:
    return isinstance(getattr(frames, name), Tensor)


def _tensors(frames: Frames) -> list[Tensor]:
    return [getattr(frames, f.name) for f in fields(frames) if _is_tensor(frames, f.name)]
