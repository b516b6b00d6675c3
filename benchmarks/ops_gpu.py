"""Times the ops on a CUDA device beside torchvision's, by the device's own clock, and checks that both agree.

    python -m benchmarks.ops_gpu                  # a table; appends to benchmarks/ops_gpu.csv
    python -m benchmarks.ops_gpu --only nms --json ops_gpu.json

The rows are those of `benchmarks.ops`, and the shapes of training with a feature pyramid: RoIs of two images, maps in
float32 and in half precision, proposals of all levels. A time is that of many calls in a row divided by their number,
between two events of the stream, so that launching is hidden as it is in training; both libraries take turns. No
figures from a GPU have been measured yet: `ops_gpu.csv` appears with the first run on one.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import ops as rows_of_all
from benchmarks.ops import FPN, IMAGE, Case
from boxwright import ops

HERE = Path(__file__).parent
TURNS, MILLISECONDS_PER_TURN = 15, 100.0


def main() -> int:
    arguments = parse()
    if not torch.cuda.is_available():
        print("benchmarks.ops_gpu needs a CUDA device, and torch finds none here.", file=sys.stderr)
        return 1
    device = torch.device("cuda")
    rows = []
    print(f"{'op':26} {'shape':46} {'ours ms':>9} {'peer ms':>9} {'ratio':>7} {'extra MB':>9}", flush=True)
    for case in (*rows_of_all.cases(device), *training_cases(device)):
        # What ends on the host has no place on the device's clock.
        if case.op.startswith(arguments.only) and "rle" not in case.op:
            rows.append(measure(case))
            print(rows_of_all.as_line(rows[-1]), flush=True)
    rows_of_all.append(rows, arguments)
    if arguments.json:
        keep = ("op", "shape", "ours_ms", "peer_ms", "ratio")
        Path(arguments.json).write_text(json.dumps([{k: row[k] for k in keep} for row in rows], indent=1) + "\n")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write rows {op, shape, ours_ms, peer_ms, ratio} to this file")
    parser.add_argument("--csv", default=str(HERE / "ops_gpu.csv"), help="append rows to it (default: %(default)s)")
    parser.add_argument("--only", default="", help="only ops whose name begins so")
    parser.set_defaults(device="cuda", threads=torch.get_num_threads())
    return parser.parse_args()


def training_cases(device: torch.device) -> Iterator[Case]:
    """Two images: 512 RoIs each for the box head, 128 for the mask head; 2000 proposals of each level before NMS."""
    for n, sides in ((1024, 7), (256, 14)):
        for dtype in (torch.float32, torch.float16):
            yield from pooling_pair(n, sides, dtype, device)
    n, levels = 2 * 5 * 2000, torch.arange(5, device=device).repeat_interleave(2000).repeat(2)
    boxes = rows_of_all.random_boxes(n, IMAGE, 16, 400, device)
    scores, image = torch.randperm(n, device=device) / n, torch.arange(2, device=device).repeat_interleave(5 * 2000)
    groups = image * 5 + levels
    yield Case(
        "nms_keep",
        "20000 proposals, 2 images x 5 levels",
        lambda: ops.nms_keep(boxes, scores, groups, iou_threshold=0.7).nonzero()[:, 0],
        (lambda: rows_of_all.torchvision.ops.batched_nms(boxes, scores, groups, 0.7).sort().values)
        if rows_of_all.torchvision
        else None,
        rows_of_all.equal,
    )


def pooling_pair(n: int, sides: int, dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    """RoIAlign over a pyramid for two images, forward and backward, each library with maps in its own layout."""
    maps = [torch.randn(2, 256, *size, device=device, dtype=dtype) for size in FPN.values()]
    rois = rows_of_all.random_boxes(n, IMAGE, 16, 600, device)
    image = torch.arange(2, device=device).repeat_interleave(n // 2)
    level = (((rois[:, 2:] - rois[:, :2]).prod(1).sqrt() / 224).log2().floor() + 2).clamp(0, 3).long()
    mine = [m.clone(memory_format=torch.channels_last).requires_grad_() for m in maps]
    theirs = [m.requires_grad_() for m in maps]
    scales = [1 / stride for stride in FPN]
    has_peer = rows_of_all.torchvision is not None

    def ours() -> Tensor:
        return ops.roi_align(mine, rois, image, level, scales=scales, output_size=(sides, sides))

    def peer() -> Tensor:
        with_image = torch.cat((image[:, None].to(dtype), rois.to(dtype)), dim=1)
        out = torch.empty(n, 256, sides, sides, device=device, dtype=dtype)
        for i, (one, scale) in enumerate(zip(theirs, scales, strict=True)):
            of_level = torch.where(level == i)[0]
            out = out.index_copy(
                0,
                of_level,
                rows_of_all.torchvision.ops.roi_align(one, with_image[of_level], sides, scale, aligned=True),
            )
        return out

    # torchvision places half-precision RoIs in half precision, off by pixels: there is nothing to compare.
    agree = rows_of_all.close if dtype == torch.float32 else lambda mine, theirs: None
    shape = f"{n} RoIs of 2 images, 256 ch, FPN, {sides}x{sides}, {str(dtype)[6:]}"
    without_grad = rows_of_all.without_grad
    yield Case("roi_align forward", shape, without_grad(ours), without_grad(peer) if has_peer else None, agree)
    grad = torch.randn(n, 256, sides, sides, device=device, dtype=dtype)
    my_grad = grad.contiguous(memory_format=torch.channels_last)
    pooled, their_pooled = ours(), peer() if has_peer else None
    yield Case(
        "roi_align backward",
        shape,
        lambda: torch.autograd.grad(pooled, mine, my_grad, retain_graph=True),
        (lambda: torch.autograd.grad(their_pooled, theirs, grad, retain_graph=True)) if has_peer else None,
        agree,
    )


def measure(case: Case) -> dict[str, Any]:
    """Medians of turns, after calls that compile, warm up and are compared."""
    result = case.ours()
    if case.peer is not None:
        case.agree(result, case.peer())
    extra = rows_of_all.extra_megabytes(case.ours, result, "cuda")
    del result
    calls = [call for call in (case.ours, case.peer) if call is not None]
    counts = [max(1, int(MILLISECONDS_PER_TURN / max(timed(call, 3), 1e-3))) for call in calls]
    turns = [[timed(call, count) for call, count in zip(calls, counts, strict=True)] for _ in range(TURNS)]
    medians = [statistics.median(times) for times in zip(*turns, strict=True)]
    ours, peer = medians[0], medians[1] if case.peer is not None else None
    return {
        "op": case.op,
        "shape": case.shape,
        "ours_ms": round(ours, 4),
        "peer_ms": None if peer is None else round(peer, 4),
        "ratio": None if peer is None else round(peer / ours, 2),
        "extra_mb": extra,
    }


def timed(call: Callable[[], Any], count: int) -> float:
    """Milliseconds of one call, of `count` in a row, as the stream's events tell."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(count):
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / count


if __name__ == "__main__":
    sys.exit(main())
