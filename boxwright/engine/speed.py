"""How fast a model runs, and how fast this machine could run its convolutions and matrix products alone."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from boxwright.data.image import RgbImage
from boxwright.engine.detector import Detector
from boxwright.models.fast.packed import direct_convolutions
from boxwright.types import Masks, Size, Target

WARM_UP = 2
RATE_ROUNDS = 5
RATE_LOADS = {"cpu": (1, 1), "cuda": (8, 20)}  # images, calls in a row: a GPU wants to be full, without gaps
MAPS = ((256, 100, 152), (128, 100, 152), (512, 25, 38))  # channels, height, width: where such models spend their time


@dataclass(frozen=True)
class Speed:
    """Medians over the rounds, of one call with all its images."""

    seconds: float
    images: int
    operations: float  # multiplications and additions of convolutions and matrix products
    floor_seconds: float  # those alone at the best rate measured

    @property
    def times_floor(self) -> float:
        """1 where nothing but those operations takes time."""
        return self.seconds / self.floor_seconds


def measure_detection(detector: Detector, *, size: Size, batch: int, rounds: int) -> Speed:
    """From pictures in memory to detections with masks and keypoints."""
    pictures = make_pictures(size, batch)

    def run() -> None:
        detector(pictures, batch_size=batch)

    operations = count_operations(run)  # at first: what is recorded on a GPU is one launch, which nobody counts
    return _speed(_median_seconds(run, rounds, detector.device), batch, operations, detector)


def measure_training(detector: Detector, *, size: Size, batch: int, rounds: int) -> Speed:
    """Losses, gradients and an update by SGD; pictures and objects are in memory."""
    step = training_step(detector, make_pictures(size, batch), make_targets(detector, size, batch))
    return _speed(_median_seconds(step, rounds, detector.device), batch, count_operations(step), detector)


def training_step(detector: Detector, pictures: Sequence[RgbImage], targets: Sequence[Target]) -> Callable[[], float]:
    """A function that makes one step and returns the total loss."""
    return step_of(partial(detector.losses, pictures, targets), detector.model)


def step_of(losses: Callable[..., Mapping[str, Tensor]], model: nn.Module) -> Callable[..., float]:
    """As `training_step`, for a function that gives the losses; what the step is called with goes to it."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-6, momentum=0.9)

    def step(**settings: Any) -> float:
        total = torch.stack(list(losses(**settings).values())).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return total.item()

    return step


def make_pictures(size: Size, count: int) -> list[RgbImage]:
    """(H, W, 3) uint8 pictures of smooth colours, always the same ones."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, max(size[0] // 16, 1), max(size[1] // 16, 1), generator=generator)
    smooth = F.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)
    return [np.ascontiguousarray((one.permute(1, 2, 0) * 255).byte().numpy()) for one in smooth]


def make_targets(detector: Detector, size: Size, count: int, *, objects: int = 8) -> list[Target]:
    """Boxes with elliptical masks and, for models that look for them, keypoints; always the same ones."""
    generator = torch.Generator().manual_seed(1)
    limit = torch.tensor([size[1], size[0]], dtype=torch.float32)
    targets = []
    for _ in range(count):
        corner = torch.rand(objects, 2, generator=generator) * limit * 0.7
        sides = limit * (0.05 + 0.25 * torch.rand(objects, 2, generator=generator))
        boxes = torch.cat((corner, corner + sides), dim=1)
        labels = torch.randint(detector.config.model.num_classes, (objects,), generator=generator)
        masks, keypoints = _ellipses(boxes, size), _keypoints(detector, boxes)
        targets.append(Target(boxes, labels, size, masks=masks, keypoints=keypoints))
    return targets


def _ellipses(boxes: Tensor, size: Size) -> Masks:
    """(N, 4) boxes -> a polygon of 32 corners in each."""
    angle = torch.linspace(0, 2 * torch.pi, 33)[:-1]
    circle = torch.stack((angle.cos(), angle.sin()), dim=1)
    centre, radius = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    corners = centre[:, None] + radius[:, None] * circle
    return Masks([[polygon.flatten().double().numpy()] for polygon in corners], size)


def _keypoints(detector: Detector, boxes: Tensor) -> Tensor | None:
    head = getattr(detector.config.model, "keypoint_head", None)
    if head is None:
        return None
    share = torch.linspace(0.1, 0.9, head.num_keypoints)[:, None]
    points = boxes[:, None, :2] + (boxes[:, None, 2:] - boxes[:, None, :2]) * share
    return torch.cat((points, torch.full_like(points[..., :1], 2.0)), dim=2)


def _median_seconds(call: Callable[[], object], rounds: int, device: torch.device) -> float:
    """Of `rounds` calls, after some that warm up."""
    return statistics.median([seconds_of(call, device) for _ in range(rounds + WARM_UP)][WARM_UP:])


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Of one call, until the device has done what it launched."""
    begin = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


# --- the floor


def count_operations(call: Callable[[], object]) -> float:
    """Multiplications and additions in convolutions and matrix products, as they are defined."""
    with direct_convolutions(), FlopCounterMode(display=False, custom_mapping=_PACKED) as counter:
        call()
    return float(counter.get_total_flops())


def _packed_operations(x: Size, second: Size, third: Size | None, *_: object, out_shape: Size, **__: object) -> int:
    """Of a packed layer, which PyTorch does not count itself: (x, weight, bias) or (x, residual, weight).

    Weights are (O, I, h, w) or (O, I).
    """
    weight = second if third is None or len(third) == 1 else third
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


def _quantised_operations(x: Size, *given: Any, out_shape: Size, **_: object) -> int:
    """Of a layer on bytes: (x, scale, zero, weight)."""
    weight = given[2]
    return 2 * math.prod(out_shape) * (x[1] if len(x) == 2 else math.prod(weight[1:]))


_PACKED: dict[Any, Any] = {
    torch.ops.mkldnn._convolution_pointwise: _packed_operations,
    torch.ops.mkldnn._linear_pointwise: _packed_operations,
    torch.ops.onednn.qconv_pointwise: _quantised_operations,
    torch.ops.onednn.qconv2d_pointwise: _quantised_operations,
    torch.ops.onednn.qlinear_pointwise: _quantised_operations,
}


def best_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of the fastest of some 3x3 convolutions, without a bias, in channels-last."""
    return max(_rate_of(channels, height, width, device, dtype) for channels, height, width in MAPS)


@torch.no_grad()
def _rate_of(channels: int, height: int, width: int, device: torch.device, dtype: torch.dtype) -> float:
    images, calls = RATE_LOADS.get(device.type, (1, 1))
    x = torch.randn(images, channels, height, width, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)

    def convolve() -> None:
        for _ in range(calls):
            F.conv2d(x, weight, padding=1)

    fastest = min(seconds_of(convolve, device) for _ in range(RATE_ROUNDS))
    return 2 * channels * channels * 9 * height * width * images * calls / fastest


def _speed(seconds: float, images: int, operations: float, detector: Detector) -> Speed:
    return Speed(seconds, images, operations, operations / best_rate(detector.device, detector.dtype))
