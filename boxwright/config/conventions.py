"""The habits that differ between the originals, one field each, and the complete set of each original.

No module under `models/` knows where a checkpoint came from: it is built with these values. The docstring of a
field says who does what: D = Detectron and Detectron.pytorch, D2 = Detectron2, M = mmdetection, T = torchvision.
"""

from typing import Literal

from boxwright.config.bounds import Amount, Fraction, Number
from boxwright.config.settings import Settings


class Conventions(Settings):
    """What one original does and another does not, beyond the parts that it is made of; the defaults are D2's."""

    # boxes and anchors
    box_offset: Literal[0, 1] = 0
    """1: a box of one pixel has x1 == x2, widths are x2 - x1 + 1 (D). 0: widths are x2 - x1 (the others). Targets are
    handed over with 0; the model moves their far corners."""
    anchor_rounding: Literal["none", "half_even", "detectron"] = "none"
    """Cell anchors rounded to integers: not (D2, M), after centring on zero (T), by D's own +1 arithmetic (D)."""
    anchor_order: Literal["size_major", "ratio_major"] = "size_major"
    """Which of size and aspect ratio varies slowest among the anchors of a cell: size (D2), ratio (D, M, T)."""
    anchor_stride: Literal["nominal", "measured"] = "nominal"
    """Anchors lie a level's stride apart (D, D2, M) or padded size // map size (T: 61 and not 64 for 800 pixels)."""
    delta_clip: Literal["above", "both"] = "above"
    """Log-size deltas are limited to log(1000 / 16) from above (D, D2, T) or on both sides (M)."""

    # proposals
    proposal_min_size: Literal["exclusive", "inclusive", "detectron"] = "exclusive"
    """A proposal stays when its sides are > the minimum (D2, M), >= it (T), or >= it in pixels of the original image
    with its centre inside the image (D)."""
    proposal_top_k: Literal["image", "batch"] = "image"
    """In training the best proposals are taken per image (D2, M, T; D without FPN) or over the whole batch (D)."""
    proposal_clip: Literal["image", "padded"] = "image"
    """At test, proposals are clipped to the image (D2, M, T) or to its padded size (D)."""

    # assignment and sampling
    anchor_area: Literal["batch", "padded"] = "batch"
    """In training all anchors of the batch take part (D, D2, T), or those that start inside the image padded by
    itself, not to the size of the batch (M)."""
    outside_anchors: Literal["matched", "absent"] = "matched"
    """Anchors that lie too far outside (Matching.inside_border) or in the padding are matched first and then ignored
    (D2), or take no part in matching, so that an object's best is another one (D, M)."""
    low_quality_matches: Literal["own_best", "claiming"] = "own_best"
    """An anchor that is some object's best is assigned to its own best object (D, D2, T) or to the one whose best it
    is, later objects first (M)."""
    ground_truth_proposals: Literal["first", "last"] = "last"
    """Where ground truth joins the proposals: before them, each box assigned to itself (D, M), or after and matched
    like any other (D2, T)."""
    crowd_regions: Literal["dropped", "claiming"] = "dropped"
    """Crowd objects take no part in training (D2, M, T), or claim proposals of the box head by their IoU (D)."""
    rpn_sampling: Literal["standard", "detectron"] = "standard"
    """D: negatives are drawn from all anchors below the threshold, also those made positive as an object's best, and
    only where there are more than wanted; positives are kept from the end."""
    positive_count: Literal["floor", "round"] = "floor"
    """The share of positive regions times the sample size is cut (D2, M, T) or rounded (D)."""
    keypoint_regions: Literal["sampled", "all"] = "sampled"
    """The keypoint head trains on the positives of the box head's sample (D2, T), or samples anew among all regions
    that match an object with a visible keypoint (D)."""

    keypoint_offset: Number = 0.5
    """Keypoints are annotated as pixel indices; this is added to both coordinates in the original image to make them
    places (D2 0.5; D, T 0). Keypoints that are found keep it."""

    # losses
    rpn_class_average: Literal["batch_size", "sampled", "sampled_or_one", "per_level"] = "batch_size"
    """The RPN's classification loss is divided by images x the set sample size (D2; D with FPN), by the anchors really
    sampled (T; D without FPN), the same with at least one positive and one negative counted per image (M), or each
    level by its own count (D with softmax)."""
    rpn_box_average: Literal["batch_size", "sampled", "sampled_or_one", "per_image"] = "batch_size"
    """The same for the RPN's box loss (D2; T; M), or each image by its own count, then averaged over images (D)."""
    mask_targets: Literal["polygons", "detectron", "bitmaps", "soft_bitmaps"] = "polygons"
    """Mask targets: polygons rasterised in the region (D2), by D's arithmetic with objects assigned anew by their
    polygons' boxes (D), bitmaps cropped by half-pixel RoIAlign and cut at 0.5 (M), or soft by legacy RoIAlign (T)."""

    # layers
    frozen_norm: Literal["constant", "unchanged"] = "constant"
    """Batch norms of frozen stages are constants (D, D2, M), or go on using and tracking their batch (T)."""
    bilinear_upsampling: Literal["interpolated", "deconvolved"] = "interpolated"
    """Heatmaps are enlarged by interpolation (D2, M, T) or by a fixed kernel that sees zeros at the border (D)."""

    # pooling
    level_epsilon: Fraction = 1e-8
    """Added to sqrt(area) / canonical size in the level rule (D2 1e-8; D, M, T 1e-6)."""
    level_epsilon_place: Literal["inside", "outside"] = "inside"
    """The epsilon stands inside log2 (D, D2, M) or is added to the logarithm (T)."""

    # selection of detections and the way back
    nms_inclusive: bool = False
    """NMS suppresses at IoU >= the threshold (D) instead of > (the others)."""
    region_frame: Literal["network", "original", "rescaled"] = "network"
    """Where the box head lives: regions are matched, decoded, clipped and suppressed in the network frame (D2, T;
    M with a mask head) or in the original image (D); or decoded and clipped in the network frame and suppressed in
    the original image (M without a mask head)."""
    detection_min_size: Amount = 0.0
    """Detections with a side below this many pixels of the network frame are dropped before NMS (T: 0.01)."""
    dense_clip: Literal["before_nms", "after_nms"] = "after_nms"
    """RetinaNet's boxes are clipped to the image before NMS (M, T) or only on their way back (D2)."""
    empty_detections: Literal["dropped", "kept"] = "dropped"
    """Detections without area in the original image are dropped (D2) or kept (D, M, T)."""
    mask_paste: Literal["sampled", "resized"] = "sampled"
    """Masks are sampled at pixel centres and cut at >= 0.5 (D2, M), or padded by 1, resized to an integer box and cut
    at > 0.5 (D, T)."""
    keypoint_score: Literal["pooled_probability", "probability", "logit"] = "pooled_probability"
    """A keypoint's score: the maximum's share of the softmax over the heatmap as the network gave it (D2) or enlarged
    (D), or the logit at the maximum (T)."""

    # cascade
    cascade_resample: bool = False
    """Later stages sample their regions anew (M) or keep those of the first and match them again (D2)."""
    cascade_average: Literal["probabilities", "logits"] = "probabilities"
    """The stages' scores are averaged after (D2) or before (M) the softmax."""
    cascade_scale_gradient: bool = True
    """The gradient into the pooled features is divided by the number of stages (D2) or not (M)."""


DETECTRON2 = Conventions()

DETECTRON = Conventions(
    box_offset=1,
    anchor_rounding="detectron",
    anchor_order="ratio_major",
    proposal_min_size="detectron",
    proposal_top_k="batch",
    proposal_clip="padded",
    outside_anchors="absent",
    ground_truth_proposals="first",
    crowd_regions="claiming",
    rpn_sampling="detectron",
    positive_count="round",
    keypoint_regions="all",
    keypoint_offset=0.0,
    rpn_box_average="per_image",
    mask_targets="detectron",
    bilinear_upsampling="deconvolved",
    level_epsilon=1e-6,
    nms_inclusive=True,
    region_frame="original",
    empty_detections="kept",
    mask_paste="resized",
    keypoint_score="probability",
)
"""With FPN and a sigmoid RPN. Without FPN: proposal_top_k image, rpn_class_average sampled. With softmax: per_level."""

MMDETECTION = Conventions(
    anchor_order="ratio_major",
    delta_clip="both",
    anchor_area="padded",
    outside_anchors="absent",
    low_quality_matches="claiming",
    ground_truth_proposals="first",
    keypoint_offset=0.0,
    rpn_class_average="sampled_or_one",
    rpn_box_average="sampled_or_one",
    mask_targets="bitmaps",
    level_epsilon=1e-6,
    region_frame="rescaled",
    dense_clip="before_nms",
    empty_detections="kept",
    cascade_resample=True,
    cascade_average="logits",
    cascade_scale_gradient=False,
)
"""Without a mask head. With one: region_frame network."""

TORCHVISION = Conventions(
    anchor_rounding="half_even",
    anchor_order="ratio_major",
    anchor_stride="measured",
    proposal_min_size="inclusive",
    keypoint_offset=0.0,
    rpn_class_average="sampled",
    rpn_box_average="sampled",
    mask_targets="soft_bitmaps",
    frozen_norm="unchanged",
    level_epsilon=1e-6,
    level_epsilon_place="outside",
    detection_min_size=0.01,
    dense_clip="before_nms",
    empty_detections="kept",
    mask_paste="resized",
    keypoint_score="logit",
)
