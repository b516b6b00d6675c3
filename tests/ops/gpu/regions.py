"""Both sides of the tests of region pooling: the op on a device with its gradients, and the definition on the CPU."""

import torch
from torch import Tensor

from boxwright import ops
from tests.ops.cases import awkward_rois, bad_rois, random_index, random_maps, seeded

SIZES = ((13, 17), (7, 9), (1, 1))
SCALES = [0.9, 0.5, 0.1]


def scene(channels: int, channels_last: bool, dtype: torch.dtype) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Maps of three levels, and awkward and bad RoIs with an image and level each."""
    maps = random_maps(*SIZES, channels=channels, channels_last=channels_last, dtype=dtype)
    rois, bad = awkward_rois(), bad_rois()
    images, levels = random_index(len(rois), 2), random_index(len(rois), 3, seed=1)
    wide = torch.promote_types(dtype, torch.float32)
    return (
        maps,
        torch.cat((rois, bad[0])).to(wide),
        torch.cat((images, bad[1])),
        torch.cat((levels, torch.where(bad[2] == 2, 3, bad[2]))),
    )


def pool(op: str, device: torch.device, maps: list[Tensor], *places: Tensor, **settings: object) -> list[Tensor]:
    """Pooled, then the gradient of each map for a fixed one of the result; all on the CPU."""
    mine = [m.detach().to(device, copy=True).requires_grad_() for m in maps]
    pooled = getattr(ops, op)(mine, *(p.to(device) for p in places), scales=SCALES, **settings)
    grad = torch.randn(pooled.shape, generator=seeded(9)).to(device, pooled.dtype)
    found = [t.detach().cpu() for t in (pooled, *torch.autograd.grad(pooled, mine, grad))]
    assert {ops.which_ran()[name] for name in (op, f"{op}_backward")} == {"gpu"}
    return found


def by_definition(op: str, maps: list[Tensor], *places: Tensor, **settings: object) -> list[Tensor]:
    """In float32 or better, rounded once to the type of the maps."""
    wide = [m.to(torch.promote_types(m.dtype, torch.float32)) for m in maps]
    with ops.use_backend("reference"):
        found = pool_wide(op, wide, maps[0].dtype, *places, **settings)
    return [f.to(maps[0].dtype) for f in found]


def pool_wide(op: str, maps: list[Tensor], narrow: torch.dtype, *places: Tensor, **settings: object) -> list[Tensor]:
    mine = [m.detach().clone().requires_grad_() for m in maps]
    pooled = getattr(ops, op)(mine, *places, scales=SCALES, **settings)
    grad = torch.randn(pooled.shape, generator=seeded(9)).to(narrow).to(pooled.dtype)
    return [t.detach() for t in (pooled, *torch.autograd.grad(pooled, mine, grad))]


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    return {"rtol": max(torch.finfo(dtype).eps * 2, 1e-12), "atol": 2e-5 if dtype != torch.float64 else 1e-12}
