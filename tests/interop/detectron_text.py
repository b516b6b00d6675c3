"""A Faster R-CNN with FPN as Detectron and Detectron.pytorch write it; tests change what they are about."""

from typing import Any

import yaml

FPN = """\
MODEL:
  TYPE: generalized_rcnn
  CONV_BODY: FPN.add_fpn_ResNet50_conv5_body
  NUM_CLASSES: 81
  FASTER_RCNN: True
NUM_GPUS: 8
SOLVER:
  WEIGHT_DECAY: 0.0001
  LR_POLICY: steps_with_decay
  BASE_LR: 0.02
  GAMMA: 0.1
  MAX_ITER: 90000
  STEPS: [0, 60000, 80000]
FPN:
  FPN_ON: True
  MULTILEVEL_ROIS: True
  MULTILEVEL_RPN: True
FAST_RCNN:
  ROI_BOX_HEAD: fast_rcnn_heads.add_roi_2mlp_head
  ROI_XFORM_METHOD: RoIAlign
  ROI_XFORM_RESOLUTION: 7
  ROI_XFORM_SAMPLING_RATIO: 2
TRAIN:
  WEIGHTS: R-50.pkl
  SCALES: (800,)
  MAX_SIZE: 1333
"""
PYTORCH = (
    FPN.replace(".add_", ".")
    .replace("  WEIGHTS: R-50.pkl\n", "")
    .replace("NUM_GPUS", "RESNETS: {IMAGENET_PRETRAINED_WEIGHTS: data/pretrained_model/resnet50_caffe.pth}\nNUM_GPUS")
)


def with_keys(text: str, changes: dict[str, Any]) -> str:
    """The same config with other values: {"FPN.DIM": 16}."""
    content = yaml.safe_load(text)
    for path, value in changes.items():
        group, key = path.split(".")
        content.setdefault(group, {})[key] = value
    return yaml.safe_dump(content)
