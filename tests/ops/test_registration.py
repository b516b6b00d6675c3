"""Every op is one that torch knows: checked by opcheck, compiled, exported, under autocast."""

import pytest
import torch
from torch.testing import assert_close

from boxwright import ops
from boxwright.errors import BackendError
from tests.ops.cases import awkward_rois, random_boxes, random_index, random_maps, seeded

ROIS, IMAGES, LEVELS = awkward_rois()[:5], random_index(5, 2), random_index(5, 2, seed=1)
BOXES, SCORES, GROUPS = random_boxes(9), torch.rand(9, generator=seeded(0)), random_index(9, 2)
SCALES = [1.0, 0.5]
SIZES = [2, 3, 7, 9, 2, 3, 4, 5]
GRAD = torch.randn(5, 3, 2, 2, generator=seeded(1))
WHERE = random_index(60, 20).view(5, 3, 2, 2)
# The points of three rings, two of one instance and one of another.
OUTLINES = (100 * torch.rand(12, 2, generator=seeded(3)).double(), torch.arange(0, 13, 4), torch.tensor([0, 2, 3]))
DEFORM = [torch.randn(*s, generator=seeded(2)) for s in ((2, 4, 5, 5), (2, 18, 5, 5), (6, 4, 3, 3), (6,), (2, 9, 5, 5))]
DEFORM_SETTINGS = ([1, 1], [1, 1], [1, 1])


def maps(channels_last):
    return [m.requires_grad_() for m in random_maps((7, 9), (4, 5), channels_last=channels_last)]


def deform(channels_last):
    """With all arguments in channels-last, without bias and mask in the other layout."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    given = [t.clone(memory_format=layout) if t.ndim == 4 else t.clone() for t in DEFORM]
    given = [t.requires_grad_() for t in given]
    return given if channels_last else [*given[:3], None, None]


# name -> arguments; each is also the proof that no op is forgotten
CASES = {
    "box_iou": lambda last: (BOXES, BOXES[:4], 1.0),
    "generalized_box_iou": lambda last: (BOXES, BOXES[:4]),
    "nms_keep": lambda last: (BOXES, SCORES, GROUPS, 0.5, 0.0, last),
    "soft_nms": lambda last: (BOXES, SCORES, GROUPS, "linear", 0.5, 0.3, 0.001, 0.0),
    "box_voting": lambda last: (BOXES[:3], SCORES[:3], GROUPS[:3], BOXES, SCORES, GROUPS, 0.5, "avg", 1.0, 1.0),
    "roi_align": lambda last: (maps(last), ROIS, IMAGES, LEVELS, SCALES, [2, 2], 0, True),
    "roi_align_backward": lambda last: (GRAD, ROIS, IMAGES, LEVELS, SIZES, last, SCALES, [2, 2], 2, False),
    "roi_pool": lambda last: (maps(last), ROIS, IMAGES, LEVELS, SCALES, [2, 2]),
    "roi_pool_backward": lambda last: (GRAD, WHERE, IMAGES, LEVELS, SIZES, last),
    "roi_crop": lambda last: (maps(last), ROIS, IMAGES, LEVELS, SCALES, [2, 2]),
    "roi_crop_backward": lambda last: (GRAD, ROIS, IMAGES, LEVELS, SIZES, last, SCALES, [2, 2]),
    "deform_conv2d": lambda last: (*deform(last), *DEFORM_SETTINGS),
    "deform_conv2d_backward": lambda last: (
        torch.ones(2, 6, 5, 5), *(None if t is None else t.detach() for t in deform(last)), *DEFORM_SETTINGS
    ),
    "paste_masks": lambda last: (torch.rand(9, 4, 4), BOXES, [20, 30], 0.5, "resized" if last else "sampled"),
    "rasterize_outlines": lambda last: (*OUTLINES, GROUPS[:3], BOXES[:3], 6, 0.1, last),
}  # fmt: skip


def test_every_op_is_checked():
    assert {name for name in ops.OPS if name != "paste_masks_rle"} == set(CASES)  # which gives bytes, not tensors


@pytest.mark.parametrize("variant", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_opcheck(cpu, name, variant):
    torch.library.opcheck(getattr(torch.ops.boxwright, name).default, CASES[name](variant))


@pytest.mark.parametrize("variant", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_the_fake_result_lies_in_memory_as_the_real_one(backend, name, variant):
    op, given = getattr(torch.ops.boxwright, name), CASES[name](variant)
    real = op(*given)
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        fake = op(*given)
    for a, b in zip(*((x,) if isinstance(x, torch.Tensor) else x for x in (real, fake)), strict=True):
        assert (a.shape, a.dtype, a.stride()) == (b.shape, b.dtype, b.stride())


def test_a_second_derivative_is_an_error_not_zeros(cpu):
    feature = maps(False)
    pooled = ops.roi_align(feature, ROIS, IMAGES, LEVELS, scales=SCALES, output_size=(2, 2))
    grad = torch.ones_like(pooled).requires_grad_()
    (first, _) = torch.autograd.grad(pooled, feature, grad, create_graph=True)
    with pytest.raises(BackendError, match="roi_align_backward has no gradient; detach its inputs"):
        first.sum().backward()


class Head(torch.nn.Module):
    """Most ops in a row, as a detector calls them."""

    def __init__(self):
        super().__init__()
        random = seeded(4)
        self.weight = torch.nn.Parameter(torch.randn(3, 3, 3, 3, generator=random))
        self.to_deltas = torch.nn.Parameter(torch.randn(12, 4, generator=random) * 0.1)

    def forward(self, first, second, offset, rois, images, levels):
        first = ops.deform_conv2d(first, offset, self.weight, padding=1)
        pyramid, settings = (first, second), {"scales": SCALES, "output_size": (2, 2)}
        pooled = ops.roi_align(pyramid, rois, images, levels, **settings)
        pooled = pooled + ops.roi_pool(pyramid, rois, images, levels, **settings)
        pooled = pooled + ops.roi_crop(pyramid, rois, images, levels, **settings)
        boxes = ops.decode_boxes(pooled.flatten(1) @ self.to_deltas, rois)
        scores = pooled.mean(dim=(1, 2, 3)).sigmoid()
        keep = ops.nms_keep(boxes, scores, images, iou_threshold=0.5)
        masks = ops.paste_masks(pooled[:, 0], boxes, (12, 16))
        return boxes, scores, keep, masks, ops.box_iou(boxes, rois)


def head_inputs(channels_last=True):
    offset = torch.randn(2, 18, 7, 9, generator=seeded(6))
    return (
        *(m.detach() for m in maps(channels_last)),
        offset,
        awkward_rois()[:4],
        random_index(4, 2),
        random_index(4, 2),
    )


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("backend_of_torch", ["eager", "aot_eager"])
def test_compiled_in_one_graph_forward_and_backward(cpu, fresh_compiler, backend_of_torch):
    head = Head()
    compiled = torch.compile(head, backend=backend_of_torch, fullgraph=True)
    results = []
    for call in (head, compiled):
        first, *rest = head_inputs()
        found = call(first.requires_grad_(), *rest)
        results.append((*found, *torch.autograd.grad(found[0].sum(), [first, head.weight, head.to_deltas])))
    assert_close(results[0], results[1])


def test_compiled_with_other_sizes_it_gives_other_sizes(cpu, fresh_compiler):
    compiled = torch.compile(
        lambda m, r: ops.roi_align([m], r, r[:, 0].long() * 0, r[:, 0].long() * 0, scales=[1.0], output_size=(2, 2)),
        backend="aot_eager",
        fullgraph=True,
        dynamic=True,
    )
    for n, size in ((5, 9), (3, 11), (2, 6)):
        feature, rois = torch.ones(1, 3, size, size), torch.tensor([[1.0, 1, 5, 5]]).repeat(n, 1)
        assert_close(compiled(feature, rois), torch.ones(n, 3, 2, 2))


def test_suppression_to_indices_is_compiled(cpu, fresh_compiler):
    def suppress(boxes, scores, groups):
        return ops.nms(boxes, scores, groups, iou_threshold=0.5)

    compiled = torch.compile(suppress, backend="aot_eager")
    assert torch.equal(compiled(BOXES, SCORES, GROUPS), suppress(BOXES, SCORES, GROUPS))


def test_exported_and_run(cpu):
    head, given = Head(), head_inputs()
    program = torch.export.export(head, given)
    called = {str(n.target) for n in program.graph.nodes if "boxwright" in str(n.target)}
    assert "boxwright.roi_align.default" in called
    assert_close(program.module()(*given), head(*given))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_boxes_and_offsets_stay_exact(cpu, dtype):
    pyramid = [m.detach().to(dtype) for m in maps(channels_last=True)]
    with torch.autocast("cpu", dtype=dtype):
        pooled = ops.roi_align(pyramid, ROIS, IMAGES, LEVELS, scales=SCALES, output_size=(2, 2))
        assert pooled.dtype == dtype
        assert ops.box_iou(BOXES, BOXES).dtype == torch.float32
        keep = ops.nms_keep(BOXES, SCORES, GROUPS, iou_threshold=0.5)
        convolved = ops.deform_conv2d(*(t.to(dtype) for t in DEFORM[:3]), padding=1)
    assert torch.equal(keep, ops.nms_keep(BOXES, SCORES, GROUPS, iou_threshold=0.5))
    assert convolved.dtype == torch.float32
    assert_close(convolved, ops.deform_conv2d(*(t.to(dtype).float() for t in DEFORM[:3]), padding=1))


def test_under_autocast_gradients_arrive(cpu):
    weight = torch.randn(3, 3, 1, 1, generator=seeded(8), requires_grad=True)
    feature = random_maps((7, 9), channels_last=True)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mapped = torch.nn.functional.conv2d(feature, weight)
        pooled = ops.roi_align([mapped], ROIS, IMAGES, IMAGES * 0, scales=[1.0], output_size=(2, 2))
    assert mapped.dtype == torch.bfloat16
    assert torch.autograd.grad(pooled.float().sum(), weight)[0].abs().sum() > 0


def test_gradients_of_a_deformable_convolution_are_the_same_when_asked_for_under_autocast(cpu):
    weight = DEFORM[2].detach().float().requires_grad_()
    convolved = ops.deform_conv2d(*(t.detach().float() for t in DEFORM[:2]), weight, padding=1)
    expected = torch.autograd.grad(convolved.sum(), weight, retain_graph=True)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = torch.autograd.grad(convolved.sum(), weight)[0]
    assert torch.equal(found, expected)
