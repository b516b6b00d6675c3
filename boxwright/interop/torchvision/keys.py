"""The keyword arguments of torchvision's detection builders, their defaults, and what each is here."""

from boxwright.interop.tables.keys import Key, fixed, idle, translated

_PARTS = "parts are described by settings, not handed over as modules"

BUILDER: tuple[Key, ...] = (
    translated("weights", None, "the checkpoint to load", "model.backbone.norm.eps"),
    idle("progress", True, "the command line shows progress"),
    translated("num_classes", None, "model.num_classes"),
    translated("weights_backbone", "IMAGENET1K_V1", "train.weights", "model.backbone.norm"),
    translated("trainable_backbone_layers", None, "model.backbone.frozen_stages"),
)
TRANSFORM: tuple[Key, ...] = (
    translated("min_size", 800, "model.input.resize.short_train", "model.input.resize.short_test"),
    translated("max_size", 1333, "model.input.resize.long_train", "model.input.resize.long_test"),
    translated("image_mean", None, "model.input.mean"),
    translated("image_std", None, "model.input.std"),
    translated("size_divisible", 32, "model.input.pad_to"),
    fixed("fixed_size", None, "images keep their aspect ratio"),
    idle("_skip_resize", False, "images are resized"),
)
BOX: tuple[Key, ...] = (
    fixed("rpn_anchor_generator", None, _PARTS),
    fixed("rpn_head", None, _PARTS),
    translated("rpn_pre_nms_top_n_train", 2000, "model.proposals.pre_nms_top_k.train"),
    translated("rpn_pre_nms_top_n_test", 1000, "model.proposals.pre_nms_top_k.test"),
    translated("rpn_post_nms_top_n_train", 2000, "model.proposals.post_nms_top_k.train"),
    translated("rpn_post_nms_top_n_test", 1000, "model.proposals.post_nms_top_k.test"),
    translated("rpn_nms_thresh", 0.7, "model.proposals.nms_iou"),
    translated("rpn_fg_iou_thresh", 0.7, "model.proposals.matching.positive_iou"),
    translated("rpn_bg_iou_thresh", 0.3, "model.proposals.matching.negative_iou"),
    translated("rpn_batch_size_per_image", 256, "model.proposals.sampling.size"),
    translated("rpn_positive_fraction", 0.5, "model.proposals.sampling.positive_fraction"),
    translated("rpn_score_thresh", 0.0, "model.proposals.score_threshold"),
    fixed("box_roi_pool", None, _PARTS),
    fixed("box_head", None, _PARTS),
    fixed("box_predictor", None, _PARTS),
    translated("box_score_thresh", 0.05, "test.score_threshold"),
    translated("box_nms_thresh", 0.5, "test.nms_iou"),
    translated("box_detections_per_img", 100, "test.max_detections"),
    translated("box_fg_iou_thresh", 0.5, "model.box_head.matching.positive_iou"),
    translated("box_bg_iou_thresh", 0.5, "model.box_head.matching.negative_iou"),
    translated("box_batch_size_per_image", 512, "model.box_head.sampling.size"),
    translated("box_positive_fraction", 0.25, "model.box_head.sampling.positive_fraction"),
    translated("bbox_reg_weights", None, "model.box_head.box_weights"),
)
MASK: tuple[Key, ...] = (
    fixed("mask_roi_pool", None, _PARTS),
    fixed("mask_head", None, _PARTS),
    fixed("mask_predictor", None, _PARTS),
)
KEYPOINT: tuple[Key, ...] = (
    fixed("keypoint_roi_pool", None, _PARTS),
    fixed("keypoint_head", None, _PARTS),
    fixed("keypoint_predictor", None, _PARTS),
    translated("num_keypoints", None, "model.keypoint_head.num_keypoints"),
)
RETINANET: tuple[Key, ...] = (
    fixed("anchor_generator", None, _PARTS),
    fixed("head", None, _PARTS),
    fixed("proposal_matcher", None, _PARTS),
    translated("score_thresh", 0.05, "test.score_threshold"),
    translated("nms_thresh", 0.5, "test.nms_iou"),
    translated("detections_per_img", 300, "test.max_detections"),
    translated("fg_iou_thresh", 0.5, "model.matching.positive_iou"),
    translated("bg_iou_thresh", 0.4, "model.matching.negative_iou"),
    translated("topk_candidates", 1000, "model.pre_nms_top_k"),
)
