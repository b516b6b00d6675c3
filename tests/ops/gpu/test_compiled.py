"""Every kernel compiles to machine code for real cards, on a machine without one: nothing is run.

The interpreter accepts what the compiler does not (types, layouts, what must be constant), so it alone would not tell.
"""

import pytest
import torch
from torch import Tensor

from boxwright.ops.layout import MapShapes
from boxwright.ops.rules import (
    AlignRule,
    ConvolutionRule,
    DecayRule,
    DrawingRule,
    PasteRule,
    PoolingRule,
    SuppressionRule,
    VotingRule,
)
from tests.ops.cases import random_boxes, random_index, random_maps

triton = pytest.importorskip("triton", reason="Triton is not installed here")

CARDS = [pytest.param(80, id="A100", marks=pytest.mark.slow), pytest.param(90, id="H100")]


class Card:
    """What Triton asks its driver about the card that is there."""

    def __init__(self, capability):
        self.target = triton.backends.compiler.GPUTarget("cuda", capability, 32)

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return 1000 + self.target.arch  # no card that is there, whose compiled kernels Triton would then reuse

    def get_current_stream(self, device):
        return 0

    def get_device_interface(self):
        return torch.cuda


@pytest.fixture(params=CARDS)
def compiled(request, monkeypatch, tmp_path):
    """Name of each kernel that was launched -> its machine code; the launches end there."""
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    code, run = {}, JITFunction.run

    def only_compile(kernel, *given, warmup, **rest):
        done = run(kernel, *given, warmup=True, **rest)
        code[f"{kernel.__module__.rpartition('.')[2]}.{kernel.__name__}"] = done.asm["cubin"]
        return done

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(JITFunction, "run", only_compile)
    monkeypatch.setattr(driver, "_active", Card(request.param))
    return code


def suppress_and_vote(boxes: Tensor, scores: Tensor, groups: Tensor) -> None:
    from boxwright.ops.gpu import box_voting, iou, nms, soft_nms

    iou.box_iou(boxes, boxes, offset=1.0)
    iou.generalized_box_iou(boxes, boxes)
    nms.nms_keep(boxes, scores, groups, SuppressionRule(iou_threshold=0.5, offset=0.0, inclusive=False))
    decay = {"sigma": 0.5, "iou_threshold": 0.3, "min_score": 0.05, "offset": 0.0}
    for method in ("linear", "gaussian"):
        soft_nms.soft_nms(boxes, scores, groups, DecayRule(method=method, **decay))
    vote = VotingRule(iou_threshold=0.5, scoring="temp_avg", beta=0.5, offset=1.0)
    box_voting.box_voting(boxes, scores, groups, boxes, scores, groups, vote)


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_boxes(compiled, monkeypatch, dtype):
    from boxwright.ops.gpu import nms

    monkeypatch.setattr(nms, "BAND", 64)  # several bands
    suppress_and_vote(random_boxes(100, dtype=dtype), torch.rand(100, dtype=dtype), random_index(100, 3))
    assert set(compiled) == {
        "iou._iou",
        "nms._compare_in_band",
        "nms._compare_with_earlier",
        "nms._walk_groups",
        "soft_nms._decay",
        "box_voting._vote",
    }
    assert all(compiled.values())


@pytest.mark.parametrize(
    ("dtype", "channels_last"),
    [
        (torch.bfloat16, True),
        pytest.param(torch.float32, False, marks=pytest.mark.slow),
        pytest.param(torch.float64, True, marks=pytest.mark.slow),
        pytest.param(torch.float16, False, marks=pytest.mark.slow),
    ],
)
def test_regions(compiled, dtype, channels_last):
    from boxwright.ops.gpu import roi_align, roi_crop, roi_pool

    maps = random_maps((9, 9), (5, 5), channels=16, channels_last=channels_last, dtype=dtype)
    wide = torch.promote_types(dtype, torch.float32)
    places = random_boxes(4, dtype=wide), random_index(4, 2), random_index(4, 2)
    shapes = MapShapes([n for m in maps for n in m.shape], channels_last)
    rule = PoolingRule(scales=[0.5, 0.25], output_size=(7, 7))
    for sampling in ({"sampling_ratio": 0, "aligned": True}, {"sampling_ratio": 2, "aligned": False}):
        align = AlignRule(rule.scales, rule.output_size, **sampling)
        pooled = roi_align.roi_align(maps, *places, align)
        roi_align.roi_align_backward(pooled, *places, shapes, align)
    roi_crop.roi_crop_backward(roi_crop.roi_crop(maps, *places, rule), *places, shapes, rule)
    pooled, where = roi_pool.roi_pool(maps, *places, rule)
    roi_pool.roi_pool_backward(pooled, where, *places[1:], shapes)
    assert set(compiled) == {"sampling._pool", "sampling._spread", "roi_pool._pool", "roi_pool._spread"}
    assert all(compiled.values())


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float16, marks=pytest.mark.slow)])
def test_deformable_convolution_and_masks(compiled, dtype):
    from boxwright.ops.gpu import deform_conv, outlines, paste_masks

    x, weight = torch.zeros(1, 16, 5, 5, dtype=dtype), torch.zeros(4, 16, 3, 3, dtype=dtype)
    offset, mask = torch.zeros(1, 18, 5, 5, dtype=dtype), torch.zeros(1, 9, 5, 5, dtype=dtype)
    rule = ConvolutionRule(stride=(1, 1), padding=(1, 1), dilation=(1, 1))
    for modulation in (None, mask):
        out = deform_conv.deform_conv2d(x, offset, weight, None, modulation, rule)
        deform_conv.deform_conv2d_backward(out, x, offset, weight, None, modulation, rule)
    for method in ("sampled", "resized"):
        paste_masks.paste_masks(torch.rand(3, 28, 28), random_boxes(3), PasteRule((80, 120), 0.5, method))
    rings = torch.rand(20, 2).double(), torch.arange(0, 21, 5), torch.tensor([0, 3, 4])
    for single in (False, True):
        outlines.rasterize_outlines(*rings, random_index(9, 2), random_boxes(9), DrawingRule(28, 0.1, single))
    assert set(compiled) == {"deform_conv._gather", "deform_conv._spread", "paste_masks._paste", "outlines._draw"}
    assert all(compiled.values())
