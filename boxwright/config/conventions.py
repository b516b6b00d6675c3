"""The habits that differ between the originals, one field each, and the complete set of each original.

No module under `models/` knows where a checkpoint came from: it is built with these values. The docstring of a
field says who does what: D = Detectron and Detectron.pytorch, D2 = Detectron2, M = mmdetection, T = torchvision.
"""

from typing import Literal

from .settings import Settings


class Conventions(Settings):
    # boxes and anchors
    box_offset: Literal[0, 1] = 0
    """1: a box of one pixel has x1 == x2, widths are x2 - x1 + 1 (D). 0: widths are x2 - x1 (the others)."""
    anchor_rounding: Literal["none", "half_even", "detectron"] = "none"
    """Cell anchors rounded to integers: not (D2, M), after centring on zero (T), by D's own +1 arithmetic (D)."""
    anchor_order: Literal["size_major", "ratio_major"] = "size_major"
    """Which of size and aspect ratio varies slowest among the anchors of a cell: size (D2), ratio (D, M, T)."""
    delta_clip: Literal["above", "both"] = "above"
    """Log-size deltas are limited to log(1000 / 16) from above (D, D2, T) or on both sides (M)."""

    # proposals
    proposal_min_size: Literal["exclusive", "inclusive", "detectron"] = "exclusive"
    """A proposal stays when its sides are > the minimum (D2, M), >= it (T), or >= it in pixels of the original image
    with its centre inside the image (D)."""
    proposal_top_k: Literal["image", "batch"] = "image"
    """In training the best proposals are taken per image (D2, M, T) or over the whole batch (D)."""
    proposal_clip: Literal["image", "padded"] = "image"
    """At test, proposals are clipped to the image (D2, M, T) or to the padded input (D with FPN)."""

    # assignment and sampling
    low_quality_matches: Literal["own_best", "claiming"] = "own_best"
    """An anchor that is some object's best is assigned to its own best object (D, D2, T) or to the one whose best it
    is, later objects first (M)."""
    ground_truth_proposals: Literal["first", "last"] = "last"
    """Where ground truth joins the proposals: before them (D, M) or after (D2, T)."""
    rpn_sampling: Literal["standard", "detectron"] = "standard"
    """D: negatives are drawn from all anchors below the threshold, also those made positive as an object's best."""

    # losses
    rpn_loss_average: Literal["batch_size", "sampled", "per_level"] = "batch_size"
    """RPN losses are divided by images x the set sample size (D2), by the anchors really sampled (M, T), or each
    level by its own (D)."""
    mask_targets: Literal["polygons", "detectron", "bitmaps", "soft_bitmaps"] = "polygons"
    """Mask targets: polygons rasterised in the region (D2), by D's arithmetic with objects assigned anew by their
    polygons' boxes (D), bitmaps cropped by half-pixel RoIAlign and cut at 0.5 (M), or soft by legacy RoIAlign (T)."""

    # pooling
    level_epsilon: float = 1e-8
    """Added to sqrt(area) / canonical size in the level rule (D2 1e-8; D, M, T 1e-6)."""
    level_epsilon_place: Literal["inside", "outside"] = "inside"
    """The epsilon stands inside log2 (D, D2, M) or is added to the logarithm (T)."""

    # selection of detections and the way back
    nms_inclusive: bool = False
    """NMS suppresses at IoU >= the threshold (D) instead of > (the others)."""
    select_frame: Literal["network", "original"] = "network"
    """Boxes are decoded, clipped and suppressed in the network frame (D2, M, T) or in the original image (D)."""
    detection_min_size: float = 0.0
    """Detections with a side below this many pixels of the network frame are dropped before NMS (T: 0.01)."""
    image_scale: Literal["per_axis", "nominal"] = "per_axis"
    """Back to the original image by the true ratio of each axis (D2, M, T) or by the one nominal scale (D)."""
    mask_paste: Literal["sampled", "resized", "resized_opencv"] = "sampled"
    """Masks are sampled at pixel centres and cut at >= 0.5 (D2, M), or padded by 1 and resized to an integer box, by
    torch (T) or by OpenCV (D), and cut at > 0.5."""
    keypoint_decode: Literal["torch", "opencv"] = "torch"
    """The region's heatmap is enlarged bicubically by torch (a = -0.75: D2, T) or by OpenCV (D)."""
    keypoint_score: Literal["probability", "logit"] = "probability"
    """A keypoint's score: softmax over the enlarged map (D, D2), or the logit at the maximum (T)."""

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
    ground_truth_proposals="first",
    rpn_sampling="detectron",
    rpn_loss_average="per_level",
    mask_targets="detectron",
    level_epsilon=1e-6,
    nms_inclusive=True,
    select_frame="original",
    image_scale="nominal",
    mask_paste="resized_opencv",
    keypoint_decode="opencv",
)

MMDETECTION = Conventions(
    anchor_order="ratio_major",
    delta_clip="both",
    low_quality_matches="claiming",
    ground_truth_proposals="first",
    rpn_loss_average="sampled",
    mask_targets="bitmaps",
    level_epsilon=1e-6,
    cascade_resample=True,
    cascade_average="logits",
    cascade_scale_gradient=False,
)

TORCHVISION = Conventions(
    anchor_rounding="half_even",
    anchor_order="ratio_major",
    proposal_min_size="inclusive",
    rpn_loss_average="sampled",
    mask_targets="soft_bitmaps",
    level_epsilon=1e-6,
    level_epsilon_place="outside",
    detection_min_size=0.01,
    mask_paste="resized",
    keypoint_score="logit",
)
