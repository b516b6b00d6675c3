"""The base files of Detectron2's zoo as facts: people keep one YAML of a model, whose base stays behind.

Only settings that differ from the defaults of `detectron2_keys` are here.
"""

from typing import Any

from boxwright.interop.tables.keys import put

_COCO = {
    "DATASETS.TRAIN": ("coco_2017_train",),
    "DATASETS.TEST": ("coco_2017_val",),
    "SOLVER.BASE_LR": 0.02,
    "SOLVER.STEPS": (60000, 80000),
    "SOLVER.MAX_ITER": 90000,
    "INPUT.MIN_SIZE_TRAIN": (640, 672, 704, 736, 768, 800),
}
_TWO_FC = {
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 4,
}
_FPN = (
    _COCO
    | _TWO_FC
    | {
        "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
        "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
        "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
        "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 2000,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1000,
        "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    }
)
_BASES: dict[str, dict[str, Any]] = {
    "Base-RCNN-C4.yaml": _COCO,
    "Base-RCNN-DilatedC5.yaml": _COCO
    | _TWO_FC
    | {
        "MODEL.RESNETS.OUT_FEATURES": ["res5"],
        "MODEL.RESNETS.RES5_DILATION": 2,
        "MODEL.RPN.IN_FEATURES": ["res5"],
        "MODEL.ROI_HEADS.IN_FEATURES": ["res5"],
    },
    "Base-RCNN-FPN.yaml": _FPN,
    "Base-RetinaNet.yaml": _COCO
    | {
        "MODEL.META_ARCHITECTURE": "RetinaNet",
        "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
        "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
        "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
        "MODEL.ANCHOR_GENERATOR.SIZES": [
            [size * 2 ** (octave / 3) for octave in range(3)] for size in (32, 64, 128, 256, 512)
        ],
        "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA": 0.0,
        "SOLVER.BASE_LR": 0.01,
    },
    "Base-Keypoint-RCNN-FPN.yaml": _FPN
    | {
        "MODEL.KEYPOINT_ON": True,
        "MODEL.ROI_HEADS.NUM_CLASSES": 1,
        "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": 0.5,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1500,
        "DATASETS.TRAIN": ("keypoints_coco_2017_train",),
        "DATASETS.TEST": ("keypoints_coco_2017_val",),
    },
}


def zoo_base(name: str) -> dict[str, Any] | None:
    """The content of a base file of the zoo by its file name, as nested dictionaries."""
    if name not in _BASES:
        return None
    content: dict[str, Any] = {"VERSION": 2}
    for path, value in _BASES[name].items():
        put(content, path, value)
    return content


def zoo_base_names() -> list[str]:
    """The file names of the bases that `zoo_base` knows."""
    return sorted(_BASES)
