"""Configs of Detectron2's `new_baselines`, written out from their names.

They are Mask R-CNN trained from scratch for hundreds of epochs, with large-scale jitter (LSJ) and synchronised batch
norm everywhere.
"""

import re
from typing import Any

from boxwright.errors import ConfigError
from boxwright.interop.detectron2.lazy_bases import zoo_module

_NAME = re.compile(r"new_baselines/mask_rcnn_R_(?P<depth>50|101)_FPN_(?P<epochs>50|100|200|400)ep_LSJ")
_SIDE = 1024
_STEPS, _MILESTONES = 184375, (163889, 177546)  # of 100 epochs in batches of 64


def is_new_baseline(name: str) -> bool:
    """Whether `name` is one of the models of new_baselines."""
    return name.startswith("new_baselines/")


def new_baseline_tree(name: str) -> dict[str, Any]:
    """The content of the LazyConfig file of a published model, such as "new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ"."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(f"detectron2/{name}: the name tells no config; give the config's file as well")
    epochs = int(match["epochs"])
    last = _STEPS * epochs // 100
    return {
        "model": _model(depth=int(match["depth"])),
        "dataloader": _data(),
        "optimizer": _module("optim.py")["SGD"] | {"lr": 0.1, "weight_decay": 4e-5},
        "train": _module("train.py")["train"] | {"init_checkpoint": "", "amp": {"enabled": True}, "max_iter": last},
        "lr_multiplier": {
            "_target_": "WarmupParamScheduler",
            "scheduler": {
                "_target_": "MultiStepParamScheduler",
                "values": [1.0, 0.1, 0.01],
                "milestones": [milestone * epochs // 100 for milestone in _MILESTONES],
                "num_updates": last,
            },
            "warmup_length": 500 / _STEPS,  # a share of the run, the same for every length
            "warmup_factor": 0.067,
        },
    }


def _module(path: str) -> dict[str, Any]:
    found = zoo_module(f"common/{path}")
    assert found is not None
    return found


def _model(*, depth: int) -> dict[str, Any]:
    model: dict[str, Any] = _module("models/mask_rcnn_fpn.py")["model"]
    pyramid, heads = model["backbone"], model["roi_heads"]
    body = pyramid["bottom_up"]
    body["freeze_at"] = 0
    body["stages"]["depth"] = depth
    body["stem"]["norm"] = body["stages"]["norm"] = pyramid["norm"] = "SyncBN"
    heads["box_head"] |= {"conv_norm": "naiveSyncBN", "conv_dims": [256] * 4, "fc_dims": [1024]}
    heads["mask_head"]["conv_norm"] = "naiveSyncBN"
    model["proposal_generator"]["head"]["conv_dims"] = [-1, -1]
    return model


def _data() -> dict[str, Any]:
    data: dict[str, Any] = _module("data/coco.py")["dataloader"]
    data["train"]["total_batch_size"] = 64
    data["train"]["mapper"] |= {
        "recompute_boxes": True,
        "augmentations": [
            {
                "_target_": "ResizeScale",
                "min_scale": 0.1,
                "max_scale": 2.0,
                "target_height": _SIDE,
                "target_width": _SIDE,
            },
            {"_target_": "FixedSizeCrop", "crop_size": [_SIDE, _SIDE]},
            {"_target_": "RandomFlip", "horizontal": True},
        ],
    }
    return data
