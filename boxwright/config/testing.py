"""Typed settings of what a trained model does with a picture: how detections are chosen, and from how many views."""

from typing import Literal

from boxwright.config.bounds import Amount, Fraction, Regions, Side, UpTo64, UpTo1024
from boxwright.config.settings import Settings


class AugmentedTest(Settings):
    """Test-time augmentation."""

    short_sides: UpTo64[Side] = (400, 500, 600, 700, 800, 900, 1000, 1100, 1200)
    long: Side = 4000
    flip: bool = True
    combine: Literal["union", "average"] = "union"


class Selection(Settings):
    """How detections are chosen."""

    score_threshold: Fraction = 0.05
    nms: Literal["hard", "linear", "gaussian"] = "hard"
    nms_iou: Fraction = 0.5
    nms_sigma: Amount = 0.5
    nms_class_agnostic: bool = False
    soft_min_score: Fraction = 1e-3
    box_voting_iou: Fraction | None = None
    """Kept boxes become score-weighted means of those that overlap them this much; None: off."""
    box_voting_scoring: Literal["id", "temp_avg", "avg", "iou_avg", "generalized_avg", "quasi_sum"] = "id"
    max_detections: Regions = 100
    mask_threshold: Fraction = 0.5
    keypoint_sigmas: UpTo1024[Amount] = ()
    """For evaluation, one for each keypoint: how far people's own marks of it scatter, as a share of the object's size.
    Empty: COCO's for its 17 keypoints, 0.05 for each of others."""
    augment: AugmentedTest | None = None
