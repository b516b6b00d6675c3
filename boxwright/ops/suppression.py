"""From many overlapping boxes to few: greedy and soft suppression, voting. No gradients."""

from typing import Any, Literal

import torch
from torch import Tensor

from boxwright.errors import ShapeError
from boxwright.ops.checks import check_boxes, check_per_box
from boxwright.ops.dispatch import run
from boxwright.ops.layout import at_least_float32
from boxwright.ops.registration import register_fake, register_op
from boxwright.ops.rules import DecayRule, SuppressionRule, VotingRule

Scoring = Literal["id", "temp_avg", "avg", "iou_avg", "generalized_avg", "quasi_sum"]
SOFT_METHODS = ("linear", "gaussian")
SCORINGS = ("id", "temp_avg", "avg", "iou_avg", "generalized_avg", "quasi_sum")


def nms_keep(
    boxes: Tensor, scores: Tensor, groups: Tensor, *, iou_threshold: float, offset: float = 0.0, inclusive: bool = False
) -> Tensor:
    """(N, 4) boxes, (N,) scores, (N,) int64 groups -> (N,) bool: which boxes stay, in the order of the input.

    Boxes of different groups (class, level, image, or any number made of them) never suppress each other. From the
    highest score down, a box that stays removes those whose IoU with it is above `iou_threshold`, or equal to it if
    `inclusive` (Detectron). Of equal scores the earlier index comes first; NaN comes before all numbers, and a box with
    a NaN coordinate overlaps nothing. `offset` as in `box_iou`. The result's shape never depends on the data, so on a
    GPU nothing waits for it.
    """
    boxes, scores, groups = _prepare(boxes, scores, groups)
    return torch.ops.boxwright.nms_keep(boxes, scores, groups, iou_threshold, offset, inclusive)  # type: ignore[no-any-return]


def nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, *, iou_threshold: float, offset: float = 0.0, inclusive: bool = False
) -> Tensor:
    """As `nms_keep` -> (K,) int64 indices of the boxes that stay, by descending score."""
    keep = nms_keep(boxes, scores, groups, iou_threshold=iou_threshold, offset=offset, inclusive=inclusive)
    return _by_score(keep, scores.detach())[0]


def soft_nms_keep(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    *,
    method: Literal["linear", "gaussian"] = "linear",
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
    min_score: float = 0.001,
    offset: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """(N, 4) boxes, (N,) scores, (N,) int64 groups -> (N,) bool which boxes stay, (N,) new scores, both as the input.

    Within a group each box, from the highest score down, lowers the scores of the boxes it touches: times 1 - IoU above
    `iou_threshold` ("linear"), or times exp(-IoU^2 / sigma) ("gaussian"). A touched box below `min_score` is dropped.
    """
    if method not in SOFT_METHODS:
        raise ShapeError(f"soft_nms has no method {method!r}; expected one of {', '.join(SOFT_METHODS)}")
    boxes, scores, groups = _prepare(boxes, scores, groups)
    new_scores, keep = torch.ops.boxwright.soft_nms(
        boxes, scores, groups, method, sigma, iou_threshold, min_score, offset
    )
    return keep, new_scores


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    *,
    method: Literal["linear", "gaussian"] = "linear",
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
    min_score: float = 0.001,
    offset: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """As `soft_nms_keep` -> (K,) int64 indices of the boxes that stay and (K,) new scores, by descending new score."""
    rule = {"method": method, "sigma": sigma, "iou_threshold": iou_threshold, "min_score": min_score, "offset": offset}
    return _by_score(*soft_nms_keep(boxes, scores, groups, **rule))  # type: ignore[arg-type]


def box_voting(
    kept_boxes: Tensor,
    kept_scores: Tensor,
    all_boxes: Tensor,
    all_scores: Tensor,
    *,
    kept_groups: Tensor | None = None,
    all_groups: Tensor | None = None,
    iou_threshold: float = 0.8,
    scoring: Scoring = "id",
    beta: float = 1.0,
    offset: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """(K, 4) kept and (N, 4) all boxes, with (K,) and (N,) scores -> (K, 4) boxes and (K,) scores after the vote.

    Each kept box becomes the mean, weighted by score, of all boxes of its group with IoU >= `iou_threshold`; its score
    stays ("id") or is made of the voters' scores: their mean ("avg"), weighted by IoU ("iou_avg"), their power mean
    ("generalized_avg"), their sum over count ** beta ("quasi_sum"), or the mean after smoothing with the temperature
    `beta` ("temp_avg"). Without groups all boxes are of one class. A box without voters stays as it is.
    """
    if scoring not in SCORINGS:
        raise ShapeError(f"box_voting has no scoring {scoring!r}; expected one of {', '.join(SCORINGS)}")
    if (kept_groups is None) != (all_groups is None):
        raise ShapeError("box_voting needs kept_groups and all_groups together, or neither")
    if kept_groups is None or all_groups is None:
        kept_groups, all_groups = (
            torch.zeros(len(b), dtype=torch.int64, device=b.device) for b in (kept_boxes, all_boxes)
        )
    kept = _prepare(kept_boxes, kept_scores, kept_groups)
    every = _prepare(all_boxes, all_scores, all_groups)
    return torch.ops.boxwright.box_voting(*kept, *every, iou_threshold, scoring, beta, offset)  # type: ignore[no-any-return]


def _by_score(keep: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) bool, (N,) scores -> (K,) indices of those kept by descending score, the earlier first where equal; (K,)."""
    # index_select, not brackets: those wake all threads of torch even for little, and wait for them on a busy machine.
    kept = keep.nonzero()[:, 0]
    kept_scores = scores.index_select(0, kept)
    order = torch.argsort(kept_scores, descending=True, stable=True)
    return kept.index_select(0, order), kept_scores.index_select(0, order)


def _prepare(boxes: Tensor, scores: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    check_boxes("boxes", boxes)
    check_per_box("scores", scores, boxes)
    check_per_box("groups", groups, boxes)
    if groups.dtype.is_floating_point:
        raise ShapeError(f"groups must be whole numbers; got {groups.dtype}: convert with .long()")
    return at_least_float32(boxes.detach()), at_least_float32(scores.detach()), groups.long()


@register_op("nms_keep")
def _nms_keep(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, offset: float, inclusive: bool
) -> Tensor:
    rule = SuppressionRule(iou_threshold, offset, inclusive)
    return run("nms_keep", boxes.device.type, boxes, scores, groups, rule)  # type: ignore[no-any-return]


@register_fake("nms_keep")
def _(boxes: Tensor, *rest: Any) -> Tensor:
    return boxes.new_empty(boxes.shape[0], dtype=torch.bool)


@register_op("soft_nms")
def _soft_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    method: str,
    sigma: float,
    iou_threshold: float,
    min_score: float,
    offset: float,
) -> tuple[Tensor, Tensor]:
    """New scores and which boxes are kept, in the order of the input: shapes that do not depend on the data."""
    rule = DecayRule(method, sigma, iou_threshold, min_score, offset)
    return run("soft_nms", boxes.device.type, boxes, scores, groups, rule)  # type: ignore[no-any-return]


@register_fake("soft_nms")
def _(boxes: Tensor, scores: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(scores), torch.empty_like(scores, dtype=torch.bool)


@register_op("box_voting")
def _box_voting(
    kept_boxes: Tensor,
    kept_scores: Tensor,
    kept_groups: Tensor,
    all_boxes: Tensor,
    all_scores: Tensor,
    all_groups: Tensor,
    iou_threshold: float,
    scoring: str,
    beta: float,
    offset: float,
) -> tuple[Tensor, Tensor]:
    given = (kept_boxes, kept_scores, kept_groups, all_boxes, all_scores, all_groups)
    rule = VotingRule(iou_threshold, scoring, beta, offset)
    return run("box_voting", kept_boxes.device.type, *given, rule)  # type: ignore[no-any-return]


@register_fake("box_voting")
def _(kept_boxes: Tensor, kept_scores: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(kept_boxes), torch.empty_like(kept_scores)
