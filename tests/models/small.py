"""Settings of every kind of model, shrunk to what a test can afford: ResNet-18, few regions, few classes, 64 pixels."""

import numpy as np
import torch

from boxwright.config import Config
from boxwright.config.presets import preset
from boxwright.types import Masks, Target

KINDS = {  # the preset each kind is made from
    "faster": "faster_rcnn_r50_fpn",
    "mask": "mask_rcnn_r50_fpn",
    "keypoint": "keypoint_rcnn_r50_fpn",
    "cascade": "cascade_rcnn_r50_fpn",
    "cascade_mask": "cascade_mask_rcnn_r50_fpn",
    "mask_c4": "mask_rcnn_r50_c4",
    "mask_dc5": "mask_rcnn_r50_dc5",
    "mask_gn": "mask_rcnn_r50_fpn_gn_scratch",
    "deformable": "mask_rcnn_r50_fpn_dconv_c3_c5",
    "pafpn": "mask_rcnn_r50_pafpn",
    "torchvision_v2": "mask_rcnn_r50_fpn_v2",
    "fast": "fast_rcnn_r50_fpn",
    "rpn_c4": "rpn_r50_c4",
    "rpn_fpn": "rpn_r50_fpn",
    "retinanet": "retinanet_r50_fpn",
    "retinanet_v2": "retinanet_r50_fpn_v2",
    "mobilenet": "faster_rcnn_mobilenet_v3_large_fpn",
    "vgg": "faster_rcnn_vgg16",
    "efficientnet_c4": "faster_rcnn_efficientnet_b0_c4",
    "efficientnet_fpn": "mask_rcnn_efficientnet_b0_fpn",
}


def small(kind: str, *changes: str) -> Config:
    config = preset(KINDS[kind])
    model = config.model
    found = ["model.num_classes=3", "model.input.resize.short_test=64", "model.input.resize.long_test=128"]
    if model.backbone.kind == "resnet" and kind != "deformable":
        found.append("model.backbone.depth=18")
    if model.kind == "retinanet":
        return config.with_(*found, "model.convs=[64]", "model.pre_nms_top_k=50", *changes)
    if model.proposals.kind == "rpn":
        found += ["model.proposals.pre_nms_top_k={train: 60, test: 60}", "model.proposals.sampling.size=32"]
        found += ["model.proposals.post_nms_top_k={train: 40, test: 20}"]
    if model.box_head is not None:
        found += ["model.box_head.sampling.size=16", "test.score_threshold=0.0", "test.max_detections=5"]
        if model.box_head.features.kind == "conv_fc":
            found += ["model.box_head.features.fcs=[32]"]
    if model.mask_head is not None and model.mask_head.features == "own":
        found += ["model.mask_head.convs=[32]", "model.mask_head.upsample_channels=32"]
    if model.keypoint_head is not None:
        found += ["model.num_classes=1", "model.keypoint_head.num_keypoints=2", "model.keypoint_head.convs=[32]"]
    return config.with_(*found, *changes)


def target(boxes, labels, *, size=(64, 80), crowds=(), keypoints=2) -> Target:
    """Objects with rectangular masks and, at the quarters of each box, its keypoints; `crowds` are positions."""
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    rings = [[np.array([x1, y1, x2, y1, x2, y2, x1, y2], dtype=np.float64)] for x1, y1, x2, y2 in rows.tolist()]
    shares = torch.linspace(0.25, 0.75, keypoints)[:, None]
    points = rows[:, None, :2] + shares * (rows[:, None, 2:] - rows[:, None, :2])
    return Target(
        boxes=rows,
        labels=torch.tensor(labels, dtype=torch.int64),
        size=size,
        masks=Masks(list(rings), size),
        keypoints=torch.cat((points, torch.full_like(points[..., :1], 2)), dim=2),
        is_crowd=torch.tensor([i in crowds for i in range(len(rows))], dtype=torch.bool),
    )
