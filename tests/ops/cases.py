"""Inputs shared by the tests of the ops."""

import torch
from torch import Tensor

# The shapes that break kernels: nothing, one, around a power of two.
COUNTS = [0, 1, 7, 255, 256, 257]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_boxes(n: int, *, seed: int = 0, span: float = 100.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """(n, 4) with corners from -10% of the span to about twice it."""
    corner, size = torch.rand(2, n, 2, generator=seeded(seed), dtype=dtype)
    corner = (corner * 1.1 - 0.1) * span
    return torch.cat((corner, corner + size * span), dim=1)


def random_maps(
    *sizes: tuple[int, int],
    batch: int = 2,
    channels: int = 3,
    channels_last: bool = False,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> list[Tensor]:
    """A map (batch, channels, *size) for each size."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    maps = [torch.randn(batch, channels, *size, generator=seeded(seed + i)) for i, size in enumerate(sizes)]
    return [m.to(dtype).contiguous(memory_format=layout) for m in maps]


def random_index(n: int, limit: int, *, seed: int = 0) -> Tensor:
    """(n,) int64 of 0..limit."""
    return torch.randint(0, limit, (n,), generator=seeded(seed + 1000))


def awkward_rois(dtype: torch.dtype = torch.float32) -> Tensor:
    """(12, 4) for maps of about 13 x 17: ordinary, across each border, wholly outside, flat, turned, a point, whole."""
    return torch.tensor(
        [
            [2.3, 3.1, 9.7, 8.2],
            [-6.5, 2.0, 4.5, 9.0],
            [11.0, -5.0, 25.0, 6.0],
            [5.0, 9.0, 12.0, 40.0],
            [-30.0, -30.0, -20.0, -20.0],
            [60.0, 60.0, 70.0, 80.0],
            [4.0, 4.0, 4.0, 9.0],
            [4.0, 4.0, 9.0, 4.0],
            [9.0, 8.0, 5.0, 3.0],
            [6.25, 6.25, 6.25, 6.25],
            [0.0, 0.0, 17.0, 13.0],
            [-1.0, -1.0, 18.0, 14.0],
        ],
        dtype=dtype,
    )


def bad_rois() -> tuple[Tensor, Tensor, Tensor]:
    """RoIs, images and levels of which each row is wrong in one way, for 2 images and 2 levels."""
    good = [1.0, 1.0, 8.0, 8.0]
    rows = [
        ([float("nan"), 1.0, 8.0, 8.0], 0, 0),
        ([1.0, 1.0, float("inf"), 8.0], 0, 0),
        ([1.0, -float("inf"), 8.0, 8.0], 0, 0),
        ([1.0, 1.0, 1e30, 8.0], 0, 0),
        (good, -1, 0),
        (good, 2, 0),
        (good, 0, -1),
        (good, 0, 2),
    ]
    rois, images, levels = zip(*rows, strict=True)
    return torch.tensor(rois), torch.tensor(images), torch.tensor(levels)
