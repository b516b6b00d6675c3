"""Greedy suppression: by hand, as a plain loop, and the kernel as the definition."""

import pytest
import torch
from torch.testing import assert_close

from boxwright import ops
from boxwright.errors import ShapeError
from boxwright.ops.reference.nms import nms_keep as definition
from boxwright.ops.rules import SuppressionRule
from tests.ops.cases import COUNTS, random_boxes, random_index, seeded

NAN = float("nan")
LINE = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 5], [20, 0, 30, 10]])  # IoU with the first: .9, .5, 0


def one_group(n):
    return torch.zeros(n, dtype=torch.int64)


def plain_loop(boxes, scores, groups, threshold, offset=0.0, inclusive=False):
    """Python floats, no tensors: the indices that stay, by descending score."""
    rows, kept = boxes.double().tolist(), []
    for i in sorted(range(len(rows)), key=lambda i: (-scores[i].item(), i)):
        ious = [iou_of(rows[i], rows[j], offset) for j in kept if groups[j] == groups[i]]
        if not any(iou >= threshold if inclusive else iou > threshold for iou in ious):
            kept.append(i)
    return kept


def iou_of(a, b, offset):
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + offset, 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + offset, 0)
    areas = [(x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union else 0.0


@pytest.mark.parametrize(
    ("threshold", "inclusive", "expected"),
    [(0.95, False, [3, 0, 1, 2]), (0.7, False, [3, 0, 2]), (0.5, False, [3, 0, 2]), (0.5, True, [3, 0])],
)
def test_by_hand(backend, threshold, inclusive, expected):
    scores = torch.tensor([0.8, 0.7, 0.6, 0.9])
    kept = ops.nms(LINE, scores, one_group(4), iou_threshold=threshold, inclusive=inclusive)
    assert kept.tolist() == expected


def test_a_box_that_is_gone_removes_nothing(backend):
    # 1 removes 2 only if 0 had not removed 1 first; 0 and 2 overlap by half.
    kept = ops.nms(LINE[:3], torch.tensor([0.9, 0.8, 0.7]), one_group(3), iou_threshold=0.52)
    assert kept.tolist() == [0, 2]


def test_groups_never_meet_whatever_their_numbers(backend):
    groups = torch.tensor([0, 1, -(2**62), 2**62, 0])
    boxes = LINE[:1].expand(5, 4)
    kept = ops.nms(boxes, torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9]), groups, iou_threshold=0.5)
    assert kept.tolist() == [4, 3, 2, 1]


def test_far_from_the_origin_nothing_is_lost(backend):
    # Moving each class away by the largest coordinate would round these boxes to whole and half pixels.
    boxes = torch.tensor([[0.0, 0, 1, 1], [0.45, 0, 1.45, 1], [1e6, 1e6, 1e6 + 1, 1e6 + 1]])
    groups = torch.tensor([79, 79, 79])
    assert ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), groups, iou_threshold=0.375).tolist() == [0, 2]
    assert ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), groups, iou_threshold=0.385).tolist() == [0, 1, 2]


def test_of_equal_scores_the_earlier_index_stays(backend):
    assert ops.nms(LINE[:2].flip(0), torch.tensor([0.5, 0.5]), one_group(2), iou_threshold=0.5).tolist() == [0]
    assert ops.nms(LINE[3:].expand(9, 4), torch.full((9,), -0.0), one_group(9), iou_threshold=0.5).tolist() == [0]
    mixed = torch.tensor([0.0, -0.0])  # equal numbers, different bits
    assert ops.nms(LINE[:2], mixed, one_group(2), iou_threshold=0.5).tolist() == [0]
    assert ops.nms(LINE[:2], mixed.flip(0), one_group(2), iou_threshold=0.5).tolist() == [0]


def test_nan_scores_come_first_and_nan_boxes_overlap_nothing(backend):
    boxes = LINE.clone()
    boxes[1, 3] = NAN
    scores = torch.tensor([0.5, 0.9, -NAN, NAN])
    kept = ops.nms(boxes, scores, one_group(4), iou_threshold=0.4)
    assert kept.tolist() == [2, 3, 1]  # 2 removes 0


def test_infinite_scores_and_boxes_have_their_place(backend):
    inf = float("inf")
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, inf, 10], [0, 0, 10, 10]])
    kept = ops.nms(boxes, torch.tensor([inf, -inf, 1.0, 0.0]), one_group(4), iou_threshold=0.5)
    assert kept.tolist() == [0, 2]


def test_boxes_without_area_stay(backend):
    points = torch.tensor([[5.0, 5, 5, 5]] * 3)
    assert ops.nms(points, torch.tensor([0.1, 0.2, 0.3]), one_group(3), iou_threshold=0.5).tolist() == [2, 1, 0]
    assert ops.nms(points, torch.tensor([0.1, 0.2, 0.3]), one_group(3), iou_threshold=0.5, offset=1.0).tolist() == [2]


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize(("offset", "inclusive"), [(0.0, False), (1.0, True)])
def test_it_is_what_a_plain_loop_gives(backend, n, offset, inclusive):
    boxes, groups = random_boxes(n, seed=n), random_index(n, 3, seed=n)
    scores = random_index(n, 50, seed=n + 1) / 50  # many are equal
    kept = ops.nms(boxes, scores, groups, iou_threshold=0.5, offset=offset, inclusive=inclusive)
    assert kept.tolist() == plain_loop(boxes, scores, groups, 0.5, offset, inclusive)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_groups", [1, 80])
def test_12000_boxes_match_the_definition(cpu, dtype, num_groups):
    boxes, groups = random_boxes(12_000, span=300, dtype=dtype), random_index(12_000, num_groups)
    scores = torch.rand(12_000, generator=seeded(3), dtype=dtype)
    settings = {"iou_threshold": 0.5, "offset": 0.0, "inclusive": False}
    found = ops.nms_keep(boxes, scores, groups, **settings)
    assert_close(found, definition(boxes, scores, groups, SuppressionRule(**settings)))
    assert 0 < found.sum() < 12_000


def test_nothing_depends_on_the_number_of_threads(cpu, num_threads):
    boxes, groups, scores = random_boxes(12_000), random_index(12_000, 4), torch.rand(12_000, generator=seeded(3))
    found = []
    for count in (1, 3, 3):
        num_threads(count)
        found.append(ops.nms(boxes, scores, groups, iou_threshold=0.5))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[1], found[2])


def test_types_and_layouts_of_the_input_do_not_matter(backend):
    boxes, scores = random_boxes(50).bfloat16(), torch.rand(50, generator=seeded(1)).bfloat16()
    groups = random_index(50, 3)
    expected = ops.nms(boxes.float(), scores.float(), groups, iou_threshold=0.5)
    strided = torch.stack((boxes, boxes), dim=2)[:, :, 0]
    assert torch.equal(ops.nms(strided, scores.requires_grad_(), groups.int(), iou_threshold=0.5), expected)


@pytest.mark.parametrize(
    ("scores", "groups", "error"),
    [
        (torch.zeros(3), torch.zeros(2).long(), r"scores must have one entry for each of the 2 boxes; got \(3,\)"),
        (torch.zeros(2), torch.zeros(2, 1).long(), r"groups must have one entry .* got \(2, 1\)"),
        (torch.zeros(2), torch.zeros(2), "groups must be whole numbers; got torch.float32: convert with .long"),
    ],
)
def test_what_does_not_fit_is_refused(scores, groups, error):
    with pytest.raises(ShapeError, match=error):
        ops.nms(torch.zeros(2, 4), scores, groups, iou_threshold=0.5)
