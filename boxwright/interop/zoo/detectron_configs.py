"""Configs of Detectron's published models, written out from their names."""

import re
from typing import Any

from boxwright.errors import ConfigError
from boxwright.interop.tables.keys import put

_NAME = re.compile(
    r"(?P<e2e>e2e_)?(?P<family>faster_rcnn|mask_rcnn|keypoint_rcnn|fast_rcnn|rpn_person_only|rpn|retinanet)_"
    r"(?P<kind>[RX])-(?P<depth>50|101|152)(?:-(?P<groups>\d+)x(?P<width>\d+)d)?-(?P<neck>C4|FPN)(?P<rest>.*)"
)
_SOLVER = {"SOLVER.WEIGHT_DECAY": 0.0001, "SOLVER.LR_POLICY": "steps_with_decay", "SOLVER.GAMMA": 0.1, "NUM_GPUS": 8}
_SIZES = {
    "TRAIN.SCALES": (800,),
    "TRAIN.MAX_SIZE": 1333,
    "TEST.SCALE": 800,
    "TEST.MAX_SIZE": 1333,
    "TRAIN.DATASETS": ("coco_2014_train", "coco_2014_valminusminival"),
    "TEST.DATASETS": ("coco_2014_minival",),
}
_PERSONS = {
    "TRAIN.DATASETS": ("keypoints_coco_2014_train", "keypoints_coco_2014_valminusminival"),
    "TEST.DATASETS": ("keypoints_coco_2014_minival",),
    "MODEL.NUM_CLASSES": 2,
}
_SEVERAL_SCALES = {"TRAIN.SCALES": (640, 672, 704, 736, 768, 800)}
_HEAD = {"ROI_XFORM_METHOD": "RoIAlign", "ROI_XFORM_SAMPLING_RATIO": 2}


def detectron_content(name: str) -> dict[str, Any]:
    """The content of the YAML of a published model, such as "e2e_mask_rcnn_R-50-FPN_1x"."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(f"detectron/{name}: the name tells no config; give the config's file as well")
    family, has_fpn, rest = match["family"], match["neck"] == "FPN", match["rest"]
    flat = _SOLVER | _SIZES | _body(match, has_fpn) | {"MODEL.NUM_CLASSES": 81, "MODEL.TYPE": "generalized_rcnn"}
    if family == "retinanet":
        flat |= _retinanet()
    elif family.startswith("rpn"):
        flat |= _rpn(has_fpn) | (_PERSONS if family == "rpn_person_only" else {})
    else:
        flat |= _box_head(has_fpn, is_end_to_end=bool(match["e2e"]))
    if family == "mask_rcnn":
        flat |= _mask_head(has_fpn)
    if family == "keypoint_rcnn":
        flat |= _keypoint_head() | _PERSONS
    return _nested(flat | _schedule(match, has_fpn) | _specialities(rest))


def _body(match: "re.Match[str]", has_fpn: bool) -> dict[str, Any]:
    depth = match["depth"]
    flat: dict[str, Any] = {
        "MODEL.CONV_BODY": f"ResNet.add_ResNet{depth}_conv4_body",
        "RPN.SIZES": (32, 64, 128, 256, 512),
    }
    if has_fpn:
        flat = {
            "MODEL.CONV_BODY": f"FPN.add_fpn_ResNet{depth}_conv5_body",
            "FPN.FPN_ON": True,
            "FPN.MULTILEVEL_RPN": True,
        }
    if match["groups"]:
        flat |= {
            "RESNETS.STRIDE_1X1": False,
            "RESNETS.TRANS_FUNC": "bottleneck_transformation",
            "RESNETS.NUM_GROUPS": int(match["groups"]),
            "RESNETS.WIDTH_PER_GROUP": int(match["width"]),
        }
    return flat


def _box_head(has_fpn: bool, *, is_end_to_end: bool) -> dict[str, Any]:
    flat: dict[str, Any] = {"MODEL.FASTER_RCNN": is_end_to_end, "TRAIN.BATCH_SIZE_PER_IM": 512, "TEST.NMS": 0.5}
    flat |= {"FAST_RCNN.ROI_XFORM_METHOD": "RoIAlign"}
    if has_fpn:
        flat |= {f"FAST_RCNN.{key}": value for key, value in _HEAD.items()}
        flat |= {"FAST_RCNN.ROI_BOX_HEAD": "fast_rcnn_heads.add_roi_2mlp_head", "FAST_RCNN.ROI_XFORM_RESOLUTION": 7}
        flat["FPN.MULTILEVEL_ROIS"] = True
    else:
        flat["FAST_RCNN.ROI_BOX_HEAD"] = "ResNet.add_ResNet_roi_conv5_head"
    if is_end_to_end:
        flat["TEST.RPN_POST_NMS_TOP_N"] = 1000
        flat["TEST.RPN_PRE_NMS_TOP_N"] = 1000 if has_fpn else 6000
        flat |= {"TRAIN.RPN_PRE_NMS_TOP_N": 2000} if has_fpn else {}
    else:
        flat["TEST.PROPOSAL_LIMIT"] = 1000
    return flat


def _mask_head(has_fpn: bool) -> dict[str, Any]:
    flat: dict[str, Any] = {"MODEL.MASK_ON": True, "MRCNN.ROI_XFORM_METHOD": "RoIAlign"}
    if not has_fpn:
        return flat | {
            "MRCNN.ROI_MASK_HEAD": "mask_rcnn_heads.mask_rcnn_fcn_head_v0upshare",
            "MRCNN.RESOLUTION": 14,
            "MRCNN.ROI_XFORM_RESOLUTION": 14,
            "MRCNN.DILATION": 1,
            "MRCNN.CONV_INIT": "MSRAFill",
        }
    return flat | {
        "MRCNN.ROI_MASK_HEAD": "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs",
        "MRCNN.RESOLUTION": 28,
        "MRCNN.ROI_XFORM_RESOLUTION": 14,
        "MRCNN.ROI_XFORM_SAMPLING_RATIO": 2,
        "MRCNN.DILATION": 1,
        "MRCNN.CONV_INIT": "MSRAFill",
    }


def _keypoint_head() -> dict[str, Any]:
    return _SEVERAL_SCALES | {
        "MODEL.KEYPOINTS_ON": True,
        "KRCNN.ROI_KEYPOINTS_HEAD": "keypoint_rcnn_heads.add_roi_pose_head_v1convX",
        "KRCNN.NUM_STACKED_CONVS": 8,
        "KRCNN.NUM_KEYPOINTS": 17,
        "KRCNN.USE_DECONV_OUTPUT": True,
        "KRCNN.CONV_INIT": "MSRAFill",
        "KRCNN.CONV_HEAD_DIM": 512,
        "KRCNN.UP_SCALE": 2,
        "KRCNN.HEATMAP_SIZE": 56,
        "KRCNN.ROI_XFORM_METHOD": "RoIAlign",
        "KRCNN.ROI_XFORM_RESOLUTION": 14,
        "KRCNN.ROI_XFORM_SAMPLING_RATIO": 2,
        "KRCNN.KEYPOINT_CONFIDENCE": "bbox",
    }


def _rpn(has_fpn: bool) -> dict[str, Any]:
    flat: dict[str, Any] = {"MODEL.RPN_ONLY": True}
    if has_fpn:
        flat |= {"FPN.RPN_MAX_LEVEL": 6, "FPN.RPN_MIN_LEVEL": 2, "FPN.RPN_ANCHOR_START_SIZE": 32}
        flat |= {"FPN.RPN_ASPECT_RATIOS": (0.5, 1, 2), "TEST.RPN_PRE_NMS_TOP_N": 1000, "TEST.RPN_POST_NMS_TOP_N": 2000}
    else:
        flat |= {"MODEL.TYPE": "rpn"}
    return flat


def _retinanet() -> dict[str, Any]:
    return {
        "MODEL.TYPE": "retinanet",
        "FPN.RPN_MAX_LEVEL": 7,
        "FPN.RPN_MIN_LEVEL": 3,
        "FPN.COARSEST_STRIDE": 128,
        "FPN.EXTRA_CONV_LEVELS": True,
        "RETINANET.RETINANET_ON": True,
        "RETINANET.NUM_CONVS": 4,
        "RETINANET.ASPECT_RATIOS": (1.0, 2.0, 0.5),
        "RETINANET.SCALES_PER_OCTAVE": 3,
        "RETINANET.ANCHOR_SCALE": 4,
        "RETINANET.LOSS_GAMMA": 2.0,
        "RETINANET.LOSS_ALPHA": 0.25,
        "TRAIN.RPN_STRADDLE_THRESH": -1,
        "TEST.NMS": 0.5,
        "TEST.RPN_PRE_NMS_TOP_N": 10000,
        "TEST.RPN_POST_NMS_TOP_N": 2000,
    }


def _schedule(match: "re.Match[str]", has_fpn: bool) -> dict[str, Any]:
    """1x is 90k steps of 16 images; one image a GPU halves the rate and doubles the steps."""
    family, rest = match["family"], match["rest"]
    large = match["kind"] == "X" and family in ("mask_rcnn", "faster_rcnn", "fast_rcnn")
    one_image = (not has_fpn and not family.startswith("rpn")) or large
    steps = [60000, 80000, 90000]
    if "_1.44x" in rest:
        steps, one_image = [100000, 120000, 130000], True
    elif "_s1x" in rest:
        steps = [100000, 120000, 130000]
    elif "_2x" in rest:
        steps = [120000, 160000, 180000]
    elif "_3x" in rest:
        steps = [210000, 250000, 270000]
    times = 2 if one_image else 1
    first, second, last = (step * times for step in steps)
    rate = 0.01 if one_image or family == "retinanet" else 0.02
    flat = {"SOLVER.BASE_LR": rate, "SOLVER.STEPS": [0, first, second], "SOLVER.MAX_ITER": last}
    return flat | ({"TRAIN.IMS_PER_BATCH": 1} if one_image else {})


def _specialities(rest: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    if "gn" in rest:
        flat |= {
            "RESNETS.STRIDE_1X1": False,
            "RESNETS.TRANS_FUNC": "bottleneck_gn_transformation",
            "RESNETS.STEM_FUNC": "basic_gn_stem",
            "RESNETS.SHORTCUT_FUNC": "basic_gn_shortcut",
            "FPN.USE_GN": True,
            "FAST_RCNN.ROI_BOX_HEAD": "fast_rcnn_heads.add_roi_Xconv1fc_gn_head",
            "MRCNN.ROI_MASK_HEAD": "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs_gn",
        }
    if "IN5k" in rest:
        scales = (400, 500, 600, 700, 900, 1000, 1100, 1200)
        augment = {"ENABLED": True, "H_FLIP": True, "SCALES": scales, "MAX_SIZE": 2000, "SCALE_H_FLIP": True}
        flat |= _SEVERAL_SCALES | {"TEST.BBOX_VOTE.ENABLED": True, "TEST.BBOX_VOTE.VOTE_TH": 0.9}
        flat |= {f"TEST.BBOX_AUG.{key}": value for key, value in augment.items()}
        flat |= {f"TEST.MASK_AUG.{key}": value for key, value in augment.items()}
        flat |= {
            "TEST.BBOX_AUG.SCORE_HEUR": "UNION",
            "TEST.BBOX_AUG.COORD_HEUR": "UNION",
            "TEST.MASK_AUG.HEUR": "SOFT_AVG",
        }
    return flat


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for path, value in flat.items():
        put(content, path, value)
    return content
