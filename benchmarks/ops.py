"""Times the ops beside torchvision's, in one process, in turns, and checks that both agree.

    python benchmarks/ops.py --json ops.json      # a table; appends to benchmarks/ops.csv
    python benchmarks/ops.py --only nms           # the rows whose op begins so
    python benchmarks/ops.py --device cuda

Each library gets its maps in its own layout: ours channels-last, torchvision's channels-first. Without torchvision only
our times are measured.
"""

import argparse
import ctypes
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import torch
from torch import Tensor
from torch.testing import assert_close

import boxwright
from benchmarks.table import append_rows
from boxwright import ops

try:
    import torchvision
    from torchvision.models.detection.roi_heads import paste_masks_in_image
except ImportError:
    torchvision = None

HERE = Path(__file__).parent
FIELDS = ("date", "machine", "device", "threads", "versions", "op", "shape", "ours_ms", "peer_ms", "ratio", "extra_mb")
SECONDS_PER_ROW = 8.0
FEWEST_TURNS, MOST_TURNS, CALLS_PER_TURN = 3, 50, 3
IMAGE = (800, 1216)
FPN = {4: (200, 304), 8: (100, 152), 16: (50, 76), 32: (25, 38)}


@dataclass(frozen=True)
class Case:
    """One row: two ways to do the same, how to compare what they give, and whether to measure memory."""

    op: str
    shape: str
    ours: Callable[[], Any]
    peer: Callable[[], Any] | None
    agree: Callable[[Any, Any], None]


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    rows = []
    print(f"{'op':26} {'shape':46} {'ours ms':>9} {'peer ms':>9} {'ratio':>7} {'extra MB':>9}", flush=True)
    for case in cases(torch.device(arguments.device)):
        if case.op.startswith(arguments.only):
            rows.append(measure(case, arguments.device))
            print(as_line(rows[-1]), flush=True)
    append(rows, arguments)
    if arguments.json:
        keep = ("op", "shape", "ours_ms", "peer_ms", "ratio")
        Path(arguments.json).write_text(json.dumps([{k: row[k] for k in keep} for row in rows], indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write rows {op, shape, ours_ms, peer_ms, ratio} to this file")
    parser.add_argument("--csv", default=str(HERE / "ops.csv"), help="append rows to this file (default: %(default)s)")
    parser.add_argument("--only", default="", help="only ops whose name begins so")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def cases(device: torch.device) -> Iterator[Case]:
    torch.manual_seed(0)
    yield from pooling_cases(device)
    yield from box_cases(device)
    yield from mask_cases(device)
    yield from deformable_cases(device)


def random_boxes(n: int, size: tuple[int, int], smallest: float, largest: float, device: torch.device) -> Tensor:
    limit = torch.tensor([size[1], size[0]], device=device)
    corner = torch.rand(n, 2, device=device) * (limit - smallest)
    return torch.cat(
        (corner, torch.minimum(corner + smallest + torch.rand(n, 2, device=device) * (largest - smallest), limit)), 1
    )


def pooling_cases(device: torch.device) -> Iterator[Case]:
    num_channels = 256
    one = {4: FPN[4]}
    for n, sides, pyramid, pool in ((1000, 7, one, "1 map 200x304"), (1000, 7, FPN, "FPN"), (100, 14, FPN, "FPN")):
        maps = [torch.randn(1, num_channels, *size, device=device) for size in pyramid.values()]
        rois = random_boxes(n, IMAGE, 16, 320, device)
        level = (((rois[:, 2:] - rois[:, :2]).prod(1).sqrt() / 224).log2().floor() + 2).clamp(0, len(maps) - 1).long()
        for ratio in (0, 2):
            settings = {"scales": [1 / s for s in pyramid], "output_size": (sides, sides), "sampling_ratio": ratio}
            shape = f"{n} RoIs, {num_channels} ch, {pool}, {sides}x{sides}, {'adaptive' if ratio == 0 else '2x2'}"
            yield from pooling_pair("roi_align", shape, maps, rois, level, settings)
    settings = {"scales": [0.25], "output_size": (7, 7)}
    maps = [torch.randn(1, num_channels, *FPN[4], device=device)]
    rois = random_boxes(1000, IMAGE, 16, 320, device)
    shape = f"1000 RoIs, {num_channels} ch, 1 map 200x304, 7x7"
    yield from pooling_pair(
        "roi_pool", shape, maps, rois, torch.zeros(1000, dtype=torch.int64, device=device), settings
    )


def pooling_pair(
    op: str, shape: str, maps: list[Tensor], rois: Tensor, level: Tensor, settings: dict[str, Any]
) -> Iterator[Case]:
    """Forward, and backward of a result made once."""
    mine = [m.clone(memory_format=torch.channels_last).requires_grad_() for m in maps]
    image = torch.zeros_like(level)

    def ours() -> Tensor:
        return getattr(ops, op)(mine, rois, image, level, **settings)

    def peer() -> Tensor:
        return pool_with_torchvision(op, theirs, rois, level, settings)

    theirs = [m.clone().requires_grad_() for m in maps]
    yield Case(f"{op} forward", shape, without_grad(ours), without_grad(peer) if torchvision else None, close)
    grad = torch.randn(len(rois), maps[0].shape[1], *settings["output_size"], device=rois.device)
    my_grad = grad.contiguous(memory_format=torch.channels_last)
    pooled = ours()
    backward = lambda: torch.autograd.grad(pooled, mine, my_grad, retain_graph=True)  # noqa: E731
    peer_backward = None
    if torchvision:
        their_pooled = peer()
        peer_backward = lambda: torch.autograd.grad(their_pooled, theirs, grad, retain_graph=True)  # noqa: E731
    yield Case(f"{op} backward", shape, backward, peer_backward, close)


def without_grad(call: Callable[[], Any]) -> Callable[[], Any]:
    return torch.no_grad()(call)


def pool_with_torchvision(op: str, maps: list[Tensor], rois: Tensor, level: Tensor, settings: dict[str, Any]) -> Tensor:
    """Level by level, as its MultiScaleRoIAlign does."""
    with_image = torch.cat((torch.zeros_like(rois[:, :1]), rois), dim=1)
    more = {"sampling_ratio": settings["sampling_ratio"], "aligned": True} if op == "roi_align" else {}
    out = torch.empty(0, device=rois.device)
    for i, (one, scale) in enumerate(zip(maps, settings["scales"], strict=True)):
        mine = torch.where(level == i)[0]
        pooled = getattr(torchvision.ops, op)(one, with_image[mine], settings["output_size"], scale, **more)
        if len(maps) == 1:
            return pooled
        out = torch.zeros(len(rois), *pooled.shape[1:], device=rois.device) if i == 0 else out
        out[mine] = pooled
    return out


def box_cases(device: torch.device) -> Iterator[Case]:
    for n in (2000, 12_000):
        # No two scores are equal: then torchvision's order depends on the sort.
        boxes, scores = random_boxes(n, IMAGE, 8, 200, device), torch.randperm(n, device=device) / n
        groups = torch.randint(0, 80, (n,), device=device)
        yield Case(
            "nms",
            f"{n} boxes, 80 classes",
            lambda b=boxes, s=scores, g=groups: ops.nms(b, s, g, iou_threshold=0.5),
            (lambda b=boxes, s=scores, g=groups: torchvision.ops.batched_nms(b, s, g, 0.5)) if torchvision else None,
            equal,
        )
    boxes, scores = random_boxes(2000, IMAGE, 64, 200, device), torch.randperm(2000, device=device) / 2000
    none = torch.zeros(2000, dtype=torch.int64, device=device)
    yield Case(
        "nms",
        "2000 boxes, 1 class",
        lambda: ops.nms(boxes, scores, none, iou_threshold=0.7),
        (lambda: torchvision.ops.nms(boxes, scores, 0.7)) if torchvision else None,
        equal,
    )
    anchors, targets = random_boxes(200_000, IMAGE, 16, 400, device), random_boxes(20, IMAGE, 16, 400, device)
    yield Case(
        "box_iou",
        "20 x 200000 boxes",
        lambda: ops.box_iou(targets, anchors),
        (lambda: torchvision.ops.box_iou(targets, anchors)) if torchvision else None,
        close,
    )


def mask_cases(device: torch.device) -> Iterator[Case]:
    size, n = (800, 1200), 100
    masks, boxes = torch.rand(n, 28, 28, device=device), random_boxes(n, size, 10, 300, device)
    shape = f"{n} masks into {size[0]}x{size[1]}"
    yield Case(
        "paste_masks",
        shape,
        lambda: ops.paste_masks(masks, boxes, size, method="resized"),
        (lambda: paste_masks_in_image(masks[:, None], boxes, size)[:, 0] > 0.5) if torchvision else None,
        nearly_equal,
    )
    yield Case(
        "paste_masks (write once)",
        f"{shape}; peer: allocate and write",
        lambda: ops.paste_masks(masks, boxes, size),
        lambda: torch.ones(n, *size, dtype=torch.bool, device=device),
        lambda mine, theirs: None,
    )
    yield Case(
        "paste_masks_rle",
        f"{shape}; peer: bitmaps, pycocotools",
        lambda: ops.paste_masks_rle(masks, boxes, size),
        lambda: encode(ops.paste_masks(masks, boxes, size)),
        lambda mine, theirs: assert_same(mine == theirs),
    )


def encode(bitmaps: Tensor) -> list[Any]:
    import numpy as np
    from pycocotools import mask as coco_mask

    return [coco_mask.encode(np.asfortranarray(b.cpu().numpy().view(np.uint8))) for b in bitmaps]


def deformable_cases(device: torch.device) -> Iterator[Case]:
    x, weight = torch.randn(1, 256, 50, 76, device=device), torch.randn(256, 256, 3, 3, device=device) * 0.02
    offset, mask = torch.randn(1, 18, 50, 76, device=device), torch.rand(1, 9, 50, 76, device=device)
    mine = x.contiguous(memory_format=torch.channels_last)
    yield Case(
        "deform_conv2d forward",
        "256 -> 256 ch, 3x3, modulated, 50x76",
        lambda: ops.deform_conv2d(mine, offset, weight, None, mask, padding=1),
        (lambda: torchvision.ops.deform_conv2d(x, offset, weight, padding=1, mask=mask)) if torchvision else None,
        close,
    )


def close(mine: Any, theirs: Any) -> None:
    assert_close(mine, theirs, rtol=1e-3, atol=1e-3)


def equal(mine: Tensor, theirs: Tensor) -> None:
    assert_same(torch.equal(mine, theirs))


def nearly_equal(mine: Tensor, theirs: Tensor) -> None:
    """A value beside the threshold may round to the other side."""
    assert_same((mine != theirs).float().mean().item() < 1e-6)


def assert_same(is_same: bool) -> None:
    if not is_same:
        raise AssertionError("the two do not agree")


def measure(case: Case, device: str) -> dict[str, Any]:
    """Medians of calls in turns, after one that warms up and is compared."""
    mine = case.ours()
    if case.peer is not None:
        case.agree(mine, case.peer())
    extra = extra_megabytes(case.ours, mine, device)
    del mine
    ours_ms: list[float] = []
    peer_ms: list[float] = []
    end = time.perf_counter() + SECONDS_PER_ROW
    for turn in range(MOST_TURNS):
        if turn >= FEWEST_TURNS and time.perf_counter() > end:
            break
        if case.peer is not None:
            peer_ms.append(timed(case.peer, device))
        # Where the peer takes seconds there are few turns: several of ours in each, lest one disturbance decide.
        ours_ms += [timed(case.ours, device) for _ in range(CALLS_PER_TURN)]
    ours = statistics.median(ours_ms)
    peer = statistics.median(peer_ms) if peer_ms else None
    return {
        "op": case.op,
        "shape": case.shape,
        "ours_ms": round(ours, 3),
        "peer_ms": None if peer is None else round(peer, 3),
        "ratio": None if peer is None else round(peer / ours, 2),
        "extra_mb": extra,
    }


def timed(call: Callable[[], Any], device: str) -> float:
    begin = time.perf_counter()
    result = call()
    if device != "cpu":
        torch.cuda.synchronize()
    elapsed = (time.perf_counter() - begin) * 1000
    del result
    return elapsed


def extra_megabytes(call: Callable[[], Any], result: Any, device: str) -> float | None:
    """What a call holds at its peak beyond its result; on the CPU as Linux counts it."""
    tensors = [t for t in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(t, Tensor)]
    held = sum(t.numel() * t.element_size() for t in tensors)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return round((torch.cuda.max_memory_allocated() - before - held) / 1e6, 1)
    if not Path("/proc/self/clear_refs").exists():
        return None
    ctypes.CDLL(None).malloc_trim(0)  # else memory freed before would be used again and not be counted
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    call()
    return round(max(resident("VmHWM") - before - held, 0) / 1e6, 1)


def resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def as_line(row: dict[str, Any]) -> str:
    peer, ratio, extra = (
        ("" if row[k] is None else f"{row[k]:.{d}f}") for k, d in (("peer_ms", 2), ("ratio", 1), ("extra_mb", 0))
    )
    return f"{row['op']:26} {row['shape']:46} {row['ours_ms']:9.2f} {peer:>9} {ratio:>7} {extra:>9}"


def append(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    versions = {"boxwright": boxwright.__version__, "torch": torch.__version__, "numba": numba.__version__}
    if torchvision:
        versions["torchvision"] = torchvision.__version__
    device = torch.cuda.get_device_name() if arguments.device != "cpu" else "cpu"
    placed = [{"device": device, **row} for row in rows]
    append_rows(placed, Path(arguments.csv), FIELDS, threads=arguments.threads, versions=versions)


if __name__ == "__main__":
    main()
