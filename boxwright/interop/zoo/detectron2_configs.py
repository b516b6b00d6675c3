"""Configs of Detectron2's published models, written out from their names: what each sets beyond its base."""

import re
from typing import Any

from boxwright.errors import ConfigError
from boxwright.interop.tables.keys import put

_NAME = re.compile(
    r"(?P<folder>.+)/(?P<scratch>scratch_)?(?P<family>faster_rcnn|mask_rcnn|keypoint_rcnn|cascade_mask_rcnn|fast_rcnn|rpn|"
    r"retinanet)_(?P<body>R_50|R_101|X_101_32x8d|X_152_32x8d)_(?P<neck>C4|DC5|FPN)(?P<rest>.*)"
)
_RESNEXT = {
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.RESNETS.NUM_GROUPS": 32,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 8,
}
_BGR_STD = [57.375, 57.12, 58.395]
_IMAGENET = "detectron2://ImageNetPretrained/"
_CATALOG = "catalog://ImageNetPretrained/FAIR/"
_BODIES: dict[str, dict[str, Any]] = {
    "R_50": {"MODEL.RESNETS.DEPTH": 50, "MODEL.WEIGHTS": f"{_IMAGENET}MSRA/R-50.pkl"},
    "R_101": {"MODEL.RESNETS.DEPTH": 101, "MODEL.WEIGHTS": f"{_IMAGENET}MSRA/R-101.pkl"},
    "X_101_32x8d": _RESNEXT
    | {
        "MODEL.RESNETS.DEPTH": 101,
        "MODEL.PIXEL_STD": _BGR_STD,
        "MODEL.WEIGHTS": f"{_IMAGENET}FAIR/X-101-32x8d.pkl",
    },
    "X_152_32x8d": _RESNEXT | {"MODEL.RESNETS.DEPTH": 152, "MODEL.WEIGHTS": f"{_CATALOG}X-152-32x8d-IN5k"},
}
_BASES = {"C4": "Base-RCNN-C4.yaml", "DC5": "Base-RCNN-DilatedC5.yaml", "FPN": "Base-RCNN-FPN.yaml"}
_FAMILIES: dict[str, dict[str, Any]] = {
    "faster_rcnn": {},
    "mask_rcnn": {"MODEL.MASK_ON": True},
    "keypoint_rcnn": {"_BASE_": "Base-Keypoint-RCNN-FPN.yaml"},
    "cascade_mask_rcnn": {
        "MODEL.MASK_ON": True,
        "MODEL.ROI_HEADS.NAME": "CascadeROIHeads",
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": 2000,
    },
    "fast_rcnn": {
        "MODEL.LOAD_PROPOSALS": True,
        "MODEL.PROPOSAL_GENERATOR.NAME": "PrecomputedProposals",
        "DATALOADER.NUM_WORKERS": 2,
    },
    "rpn": {"MODEL.META_ARCHITECTURE": "ProposalNetwork", "MODEL.RPN.POST_NMS_TOPK_TEST": 2000},
    "retinanet": {"_BASE_": "Base-RetinaNet.yaml"},
}
_LEGACY_POOLER = {"POOLER_SAMPLING_RATIO": 2, "POOLER_TYPE": "ROIAlign"}
_DETECTRON1 = {
    "MODEL.RPN.SMOOTH_L1_BETA": 0.1111,
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": 1.0,
    **{
        f"MODEL.ROI_{head}_HEAD.{key}": value
        for head in ("BOX", "MASK", "KEYPOINT")
        for key, value in _LEGACY_POOLER.items()
    },
}
_LVIS = {
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0001,
    "TEST.DETECTIONS_PER_IMAGE": 300,
    "DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler",
    "DATALOADER.REPEAT_THRESHOLD": 0.001,
}
_FOLDERS: dict[str, dict[str, Any]] = {
    "Detectron1-Comparisons": _DETECTRON1,
    "LVISv0.5-InstanceSegmentation": {
        "MODEL.ROI_HEADS.NUM_CLASSES": 1230,
        "DATASETS.TRAIN": ("lvis_v0.5_train",),
        "DATASETS.TEST": ("lvis_v0.5_val",),
        **_LVIS,
    },
    "LVISv1-InstanceSegmentation": {
        "MODEL.ROI_HEADS.NUM_CLASSES": 1203,
        "SOLVER.STEPS": (120000, 160000),
        "SOLVER.MAX_ITER": 180000,
        "DATASETS.TRAIN": ("lvis_v1_train",),
        "DATASETS.TEST": ("lvis_v1_val",),
        **_LVIS,
    },
    "Cityscapes": {
        "MODEL.WEIGHTS": "detectron2://COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl",
        "MODEL.ROI_HEADS.NUM_CLASSES": 8,
        "INPUT.MIN_SIZE_TRAIN": (800, 832, 864, 896, 928, 960, 992, 1024),
        "INPUT.MIN_SIZE_TEST": 1024,
        "INPUT.MAX_SIZE_TRAIN": 2048,
        "INPUT.MAX_SIZE_TEST": 2048,
        "DATASETS.TRAIN": ("cityscapes_fine_instance_seg_train",),
        "DATASETS.TEST": ("cityscapes_fine_instance_seg_val",),
        "SOLVER.BASE_LR": 0.01,
        "SOLVER.STEPS": (18000,),
        "SOLVER.MAX_ITER": 24000,
        "SOLVER.IMS_PER_BATCH": 8,
        "TEST.EVAL_PERIOD": 8000,
    },
    "PascalVOC-Detection": {
        "MODEL.ROI_HEADS.NUM_CLASSES": 20,
        "INPUT.MIN_SIZE_TRAIN": (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800),
        "DATASETS.TRAIN": ("voc_2007_trainval", "voc_2012_trainval"),
        "DATASETS.TEST": ("voc_2007_test",),
        "SOLVER.STEPS": (12000, 16000),
        "SOLVER.MAX_ITER": 18000,
        "SOLVER.WARMUP_ITERS": 100,
    },
}
_SCHEDULES: dict[str, dict[str, Any]] = {
    "_1x": {},
    "_3x": {"SOLVER.STEPS": (210000, 250000), "SOLVER.MAX_ITER": 270000},
    "_9x": {
        "SOLVER.IMS_PER_BATCH": 64,
        "SOLVER.STEPS": (187500, 197500),
        "SOLVER.MAX_ITER": 202500,
        "SOLVER.BASE_LR": 0.08,
        "TEST.EVAL_PERIOD": 2500,
    },
}
_DEFORMABLE = {"MODEL.RESNETS.DEFORM_ON_PER_STAGE": [False, True, True, True]}
_IN5K = {
    **_DEFORMABLE,
    "MODEL.ROI_BOX_HEAD.NUM_CONV": 4,
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
    "MODEL.ROI_BOX_HEAD.NORM": "GN",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 8,
    "MODEL.ROI_MASK_HEAD.NORM": "GN",
    "SOLVER.IMS_PER_BATCH": 128,
    "SOLVER.STEPS": (35000, 45000),
    "SOLVER.MAX_ITER": 50000,
    "SOLVER.BASE_LR": 0.16,
    "INPUT.MIN_SIZE_TRAIN": (640, 864),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "range",
    "INPUT.MAX_SIZE_TRAIN": 1440,
    "INPUT.CROP.ENABLED": True,
    "TEST.EVAL_PERIOD": 2500,
}


def detectron2_content(name: str) -> dict[str, Any]:
    """The content of the YAML of a published model, such as "COCO-Detection/faster_rcnn_R_50_FPN_3x"."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(f"detectron2/{name}: the name tells no config; give the config's file as well")
    rest = match["rest"]
    flat = {"_BASE_": _BASES[match["neck"]], "MODEL.MASK_ON": False}
    flat |= _BODIES[match["body"]] | _FAMILIES[match["family"]]
    if match["folder"] == "Detectron1-Comparisons" and match["family"] == "keypoint_rcnn":
        flat |= _detectron1_keypoints()
    if match["family"] == "rpn" and match["neck"] == "C4":
        flat["MODEL.RPN.PRE_NMS_TOPK_TEST"] = 12000
    for ending, norm in (("_gn", "GN"), ("_syncbn", "SyncBN")):
        if rest.endswith(ending) and "IN5k" not in rest:
            flat |= _norm_everywhere(norm, stride_in_1x1=norm == "SyncBN" and not match["scratch"])
            flat |= {"MODEL.WEIGHTS": f"{_CATALOG}R-50-GN"} if norm == "GN" else {}
    flat |= _DEFORMABLE if "dconv" in rest else {}
    flat |= _IN5K if "IN5k" in rest else {}
    flat |= next((numbers for times, numbers in _SCHEDULES.items() if times in rest), {})
    if match["scratch"]:
        flat |= {"MODEL.BACKBONE.FREEZE_AT": 0, "MODEL.WEIGHTS": ""}
        flat |= {"MODEL.PIXEL_STD": _BGR_STD} if "_9x" in rest else {}
    flat |= _FOLDERS.get(match["folder"], {})
    if "noaug" in rest:
        flat["INPUT.MIN_SIZE_TRAIN"] = (800,)
    return _nested(flat)


def _detectron1_keypoints() -> dict[str, Any]:
    """This one does not start from the keypoint base."""
    return {
        "_BASE_": "Base-RCNN-FPN.yaml",
        "MODEL.KEYPOINT_ON": True,
        "MODEL.ROI_HEADS.NUM_CLASSES": 1,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1500,
        "DATASETS.TRAIN": ("keypoints_coco_2017_train",),
        "DATASETS.TEST": ("keypoints_coco_2017_val",),
    }


def _norm_everywhere(norm: str, *, stride_in_1x1: bool) -> dict[str, Any]:
    return {
        "MODEL.RESNETS.NORM": norm,
        "MODEL.RESNETS.STRIDE_IN_1X1": stride_in_1x1,
        "MODEL.FPN.NORM": norm,
        "MODEL.ROI_BOX_HEAD.NUM_CONV": 4,
        "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
        "MODEL.ROI_BOX_HEAD.NORM": norm,
        "MODEL.ROI_MASK_HEAD.NORM": norm,
    }


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for path, value in flat.items():
        put(content, path, value)
    return content
