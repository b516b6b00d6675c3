"""The model files of mmdetection's `_base_` folder as facts, in the form of mmdetection 3."""

import re
from typing import Any

from boxwright.interop.tables.keys import Settings

_RGB = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "bgr_to_rgb": True}
_BGR = {"mean": [103.530, 116.280, 123.675], "std": [1.0, 1.0, 1.0], "bgr_to_rgb": False}
_NAME = re.compile(
    r"(?P<family>faster-rcnn|mask-rcnn|cascade-rcnn|cascade-mask-rcnn|fast-rcnn|rpn|retinanet)"
    r"_r50(?P<body>_fpn|-caffe-c4|-caffe-dc5)"
)
_TYPES = {
    "faster-rcnn": "FasterRCNN",
    "mask-rcnn": "MaskRCNN",
    "cascade-rcnn": "CascadeRCNN",
    "cascade-mask-rcnn": "CascadeRCNN",
    "fast-rcnn": "FastRCNN",
    "rpn": "RPN",
    "retinanet": "RetinaNet",
}


def model_file(stem: str, *, is_old: bool) -> Settings | None:
    """The content of `_base_/models/{stem}.py`, or None when there is no such file."""
    match = _NAME.fullmatch(stem)
    if match is None or (match["family"] in ("retinanet", "fast-rcnn") and match["body"] != "_fpn"):
        return None
    model = _model(match["family"], match["body"])
    if is_old:
        del model["data_preprocessor"]  # mmdetection 2 normalised in the data pipelines
    return {"model": model}


def _model(family: str, body: str) -> Settings:
    has_mask, has_fpn = "mask" in family, body == "_fpn"
    pictures: Settings = {"type": "DetDataPreprocessor", **(_RGB if has_fpn else _BGR), "pad_size_divisor": 32}
    model: Settings = {
        "type": _TYPES[family],
        "data_preprocessor": pictures | ({"pad_mask": True} if has_mask else {}),
        "backbone": _backbone(body),
    }
    if has_fpn:
        model["neck"] = {"type": "FPN", "in_channels": [256, 512, 1024, 2048], "out_channels": 256, "num_outs": 5}
    if family == "retinanet":
        return model | _retinanet(model["neck"])
    if family != "fast-rcnn":
        model["rpn_head"] = _rpn_head(family, body)
    if family != "rpn":
        model["roi_head"] = _roi_head(family, body)
    model["train_cfg"], model["test_cfg"] = _train_cfg(family, body), _test_cfg(family, body)
    return model


def _backbone(body: str) -> Settings:
    if body == "_fpn":
        stages: Settings = {"num_stages": 4, "out_indices": (0, 1, 2, 3)}
        norm, style, weights = {"type": "BN", "requires_grad": True}, "pytorch", "torchvision://resnet50"
    else:
        three = {"num_stages": 3, "strides": (1, 2, 2), "dilations": (1, 1, 1), "out_indices": (2,)}
        four = {"num_stages": 4, "strides": (1, 2, 2, 1), "dilations": (1, 1, 1, 2), "out_indices": (3,)}
        stages = three if body.endswith("c4") else four
        norm, style, weights = {"type": "BN", "requires_grad": False}, "caffe", "open-mmlab://detectron2/resnet50_caffe"
    return {
        "type": "ResNet",
        "depth": 50,
        **stages,
        "frozen_stages": 1,
        "norm_cfg": norm,
        "norm_eval": True,
        "style": style,
        "init_cfg": {"type": "Pretrained", "checkpoint": weights},
    }


def _channels(body: str) -> int:
    return {"_fpn": 256, "-caffe-c4": 1024, "-caffe-dc5": 2048}[body]


def _coder(deviations: list[float]) -> Settings:
    return {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": deviations}


def _cross_entropy(*, sigmoid: bool) -> Settings:
    return {"type": "CrossEntropyLoss", "use_sigmoid": sigmoid, "loss_weight": 1.0}


def _l1() -> Settings:
    return {"type": "L1Loss", "loss_weight": 1.0}


def _rpn_head(family: str, body: str) -> Settings:
    scales, strides = ([8], [4, 8, 16, 32, 64]) if body == "_fpn" else ([2, 4, 8, 16, 32], [16])
    smooth = {"type": "SmoothL1Loss", "beta": 1.0 / 9.0, "loss_weight": 1.0}
    generator = {"type": "AnchorGenerator", "scales": scales, "ratios": [0.5, 1.0, 2.0], "strides": strides}
    return {
        "type": "RPNHead",
        "in_channels": _channels(body),
        "feat_channels": _channels(body),
        "anchor_generator": generator,
        "bbox_coder": _coder([1.0] * 4),
        "loss_cls": _cross_entropy(sigmoid=True),
        "loss_bbox": smooth if "cascade" in family else _l1(),
    }


def _extractor(size: int, body: str) -> Settings:
    layer = {"type": "RoIAlign", "output_size": size, "sampling_ratio": 0}
    strides = [4, 8, 16, 32] if body == "_fpn" else [16]
    channels = _channels(body)
    return {"type": "SingleRoIExtractor", "roi_layer": layer, "out_channels": channels, "featmap_strides": strides}


def _box_head(family: str, body: str, deviations: list[float]) -> Settings:
    is_cascade = "cascade" in family
    if body == "-caffe-c4":
        kind: Settings = {"type": "BBoxHead", "with_avg_pool": True, "roi_feat_size": 7, "in_channels": 2048}
    else:
        kind = {"type": "Shared2FCBBoxHead", "in_channels": _channels(body), "fc_out_channels": 1024}
        kind["roi_feat_size"] = 7
    return {
        **kind,
        "num_classes": 80,
        "bbox_coder": _coder(deviations),
        "reg_class_agnostic": is_cascade,
        "loss_cls": _cross_entropy(sigmoid=False),
        "loss_bbox": {"type": "SmoothL1Loss", "beta": 1.0, "loss_weight": 1.0} if is_cascade else _l1(),
    }


def _roi_head(family: str, body: str) -> Settings:
    head: Settings = {"type": "StandardRoIHead"}
    deviations = [[0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067]]
    if "cascade" in family:
        head |= {"type": "CascadeRoIHead", "num_stages": 3, "stage_loss_weights": [1, 0.5, 0.25]}
        head["bbox_head"] = [_box_head(family, body, row) for row in deviations]
    else:
        head["bbox_head"] = _box_head(family, body, deviations[0])
    head["bbox_roi_extractor"] = _extractor(14 if body == "-caffe-c4" else 7, body)
    if body == "-caffe-c4":
        norm = {"type": "BN", "requires_grad": False}
        shared = {"type": "ResLayer", "depth": 50, "stage": 3, "stride": 2, "dilation": 1, "style": "caffe"}
        head["shared_head"] = shared | {"norm_cfg": norm, "norm_eval": True}
    if "mask" in family:
        head["mask_roi_extractor"] = None if body == "-caffe-c4" else _extractor(14, body)
        head["mask_head"] = {
            "type": "FCNMaskHead",
            "num_convs": 0 if body == "-caffe-c4" else 4,
            "in_channels": 2048 if body == "-caffe-c4" else 256,
            "conv_out_channels": 256,
            "num_classes": 80,
            "loss_mask": {"type": "CrossEntropyLoss", "use_mask": True, "loss_weight": 1.0},
        }
    return head


def _assigner(high: float, low: float, least: float, **more: Any) -> Settings:
    return {
        "type": "MaxIoUAssigner",
        "pos_iou_thr": high,
        "neg_iou_thr": low,
        "min_pos_iou": least,
        **more,
        "ignore_iof_thr": -1,
    }


def _sampler(number: int, share: float, *, joins: bool) -> Settings:
    sampler = {"type": "RandomSampler", "num": number, "pos_fraction": share, "neg_pos_ub": -1}
    return sampler | {"add_gt_as_proposals": joins}


def _rcnn_part(family: str, body: str, iou: float) -> Settings:
    low_quality = family == "mask-rcnn" and body == "_fpn"
    size = {"mask_size": 14 if body == "-caffe-c4" else 28} if "mask" in family else {}
    return {
        "assigner": _assigner(iou, iou, iou, match_low_quality=low_quality),
        "sampler": _sampler(512, 0.25, joins=True),
        **size,
        "pos_weight": -1,
        "debug": False,
    }


def _proposal_part(before: int, after: int) -> Settings:
    nms = {"type": "nms", "iou_threshold": 0.7}
    return {"nms_pre": before, "max_per_img": after, "nms": nms, "min_bbox_size": 0}


def _train_cfg(family: str, body: str) -> Settings:
    parts: Settings = {}
    if family != "fast-rcnn":
        inside = (
            0 if "cascade" in family or body == "-caffe-dc5" or (family == "mask-rcnn" and body == "-caffe-c4") else -1
        )
        more = {} if family == "rpn" else {"match_low_quality": True}
        parts["rpn"] = {
            "assigner": _assigner(0.7, 0.3, 0.3, **more),
            "sampler": _sampler(256, 0.5, joins=False),
            "allowed_border": inside,
            "pos_weight": -1,
            "debug": False,
        }
    if family not in ("fast-rcnn", "rpn"):
        after = 2000 if "cascade" in family or body != "_fpn" else 1000
        parts["rpn_proposal"] = _proposal_part(2000 if body == "_fpn" else 12000, after)
    if family != "rpn":
        stages = [_rcnn_part(family, body, iou) for iou in (0.5, 0.6, 0.7)]
        parts["rcnn"] = stages if "cascade" in family else stages[0]
    return parts


def _test_cfg(family: str, body: str) -> Settings:
    parts: Settings = {}
    if family == "rpn":
        parts["rpn"] = _proposal_part(2000, 1000) if body == "_fpn" else _proposal_part(12000, 2000)
    elif family != "fast-rcnn":
        parts["rpn"] = _proposal_part(1000 if body == "_fpn" else 6000, 1000)
    if family != "rpn":
        nms = {"type": "nms", "iou_threshold": 0.5}
        parts["rcnn"] = {"score_thr": 0.05, "nms": nms, "max_per_img": 100}
        if "mask" in family:
            parts["rcnn"]["mask_thr_binary"] = 0.5
    return parts


def _retinanet(neck: Settings) -> Settings:
    generator = {
        "type": "AnchorGenerator",
        "octave_base_scale": 4,
        "scales_per_octave": 3,
        "ratios": [0.5, 1.0, 2.0],
        "strides": [8, 16, 32, 64, 128],
    }
    head = {
        "type": "RetinaHead",
        "num_classes": 80,
        "in_channels": 256,
        "stacked_convs": 4,
        "feat_channels": 256,
        "anchor_generator": generator,
        "bbox_coder": _coder([1.0] * 4),
        "loss_cls": {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "loss_weight": 1.0},
        "loss_bbox": _l1(),
    }
    train: Settings = {"assigner": _assigner(0.5, 0.4, 0), "sampler": {"type": "PseudoSampler"}, "allowed_border": -1}
    nms = {"type": "nms", "iou_threshold": 0.5}
    return {
        "neck": neck | {"start_level": 1, "add_extra_convs": "on_input"},
        "bbox_head": head,
        "train_cfg": train | {"pos_weight": -1, "debug": False},
        "test_cfg": {"nms_pre": 1000, "min_bbox_size": 0, "score_thr": 0.05, "nms": nms, "max_per_img": 100},
    }
