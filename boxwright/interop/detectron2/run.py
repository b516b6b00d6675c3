"""Data, training and test of a Detectron2 config, as plain data of our schema."""

from typing import Any

from boxwright.interop.tables.keys import Mistakes
from boxwright.interop.tables.yacs import YacsTree

_FLIPS = {"horizontal": {"flip": 0.5}, "vertical": {"flip": 0.0, "vertical_flip": 0.5}, "none": {"flip": 0.0}}
_CLIPS = {"value": "value", "full_model": "norm"}


def data_section(c: YacsTree, mistakes: Mistakes) -> dict[str, Any]:
    """Our `data` settings."""
    sampler = c["DATALOADER.SAMPLER_TRAIN"]
    if sampler not in ("TrainingSampler", "RepeatFactorTrainingSampler"):
        known = "TrainingSampler, RepeatFactorTrainingSampler"
        mistakes.add("DATALOADER.SAMPLER_TRAIN", f"is {sampler!r}; known are {known}")
    return {
        "train": _names(c["DATASETS.TRAIN"]),
        "val": _names(c["DATASETS.TEST"]),
        "only_with_objects": c["DATALOADER.FILTER_EMPTY_ANNOTATIONS"],
        "min_keypoints": c["MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE"] if c["MODEL.KEYPOINT_ON"] else 0,
        "repeat_factor": c["DATALOADER.REPEAT_THRESHOLD"] if sampler == "RepeatFactorTrainingSampler" else None,
        "aspect_grouping": c["DATALOADER.ASPECT_RATIO_GROUPING"],
        "augment": _augment_train(c, mistakes),
        "workers": c["DATALOADER.NUM_WORKERS"],
    }


def train_section(c: YacsTree, mistakes: Mistakes) -> dict[str, Any]:
    """Our `train` settings."""
    batch, clip = c["SOLVER.IMS_PER_BATCH"], c["SOLVER.CLIP_GRADIENTS.CLIP_TYPE"]
    is_clipped = c["SOLVER.CLIP_GRADIENTS.ENABLED"]
    if is_clipped and clip not in _CLIPS:
        reason = "which clips each parameter by itself; value and full_model are known"
        mistakes.add("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", f"is {clip!r}, {reason}")
    return {
        "batch": batch,
        "reference_batch": batch,
        "lr": c["SOLVER.BASE_LR"],
        "bias_lr_factor": c["SOLVER.BIAS_LR_FACTOR"],
        "weight_decay": c["SOLVER.WEIGHT_DECAY"],
        "weight_decay_norm": c["SOLVER.WEIGHT_DECAY_NORM"],
        "weight_decay_bias": c["SOLVER.WEIGHT_DECAY_BIAS"],
        "optimizer": {"kind": "sgd", "momentum": c["SOLVER.MOMENTUM"], "nesterov": c["SOLVER.NESTEROV"]},
        "schedule": _schedule(c, mistakes),
        "clip": _CLIPS.get(clip, "none") if is_clipped else "none",
        "clip_limit": c["SOLVER.CLIP_GRADIENTS.CLIP_VALUE"],
        "precision": "fp16" if c["SOLVER.AMP.ENABLED"] else "fp32",
        "weights": c["MODEL.WEIGHTS"] or None,
        "seed": max(c["SEED"], 0),
        "checkpoint_every": c["SOLVER.CHECKPOINT_PERIOD"],
        "evaluate_every": c["TEST.EVAL_PERIOD"] or None,
        "picture_every": c["VIS_PERIOD"] or None,
    }


def test_section(c: YacsTree) -> dict[str, Any]:
    """Our `test` settings."""
    group = "MODEL.RETINANET" if c["MODEL.META_ARCHITECTURE"] == "RetinaNet" else "MODEL.ROI_HEADS"
    augment = {
        "short_sides": list(c["TEST.AUG.MIN_SIZES"]),
        "long": c["TEST.AUG.MAX_SIZE"],
        "flip": c["TEST.AUG.FLIP"],
        "combine": "union",
    }
    return {
        "score_threshold": c[f"{group}.SCORE_THRESH_TEST"],
        "nms": "hard",
        "nms_iou": c[f"{group}.NMS_THRESH_TEST"],
        "max_detections": c["TEST.DETECTIONS_PER_IMAGE"],
        "mask_threshold": 0.5,
        "augment": augment if c["TEST.AUG.ENABLED"] else None,
    }


def _names(names: Any) -> str | None:
    """Several data sets are one, their names joined by ":"."""
    return ":".join([names] if isinstance(names, str) else names) or None


def _augment_train(c: YacsTree, mistakes: Mistakes) -> dict[str, Any]:
    flip = c["INPUT.RANDOM_FLIP"]
    if flip not in _FLIPS:
        mistakes.add("INPUT.RANDOM_FLIP", f"is {flip!r}; known are {', '.join(_FLIPS)}")
    augment: dict[str, Any] = dict(_FLIPS.get(flip, {}))
    if c["INPUT.CROP.ENABLED"]:
        kind, size = c["INPUT.CROP.TYPE"], tuple(c["INPUT.CROP.SIZE"])
        if kind == "relative_range":
            augment["crop_relative"] = size
        elif kind == "absolute":
            augment["crop"] = size
        else:
            mistakes.add("INPUT.CROP.TYPE", f"is {kind!r}; known are relative_range and absolute")
    return augment


def _schedule(c: YacsTree, mistakes: Mistakes) -> dict[str, Any]:
    last = c["SOLVER.MAX_ITER"]
    decay: dict[str, Any] = {}
    match c["SOLVER.LR_SCHEDULER_NAME"]:
        case "WarmupMultiStepLR":
            steps = [step for step in c["SOLVER.STEPS"] if step <= last]  # the original drops later ones too
            decay = {"kind": "steps", "steps": steps, "gamma": c["SOLVER.GAMMA"]}
        case "WarmupCosineLR":
            decay = {"kind": "cosine", "final": c["SOLVER.BASE_LR_END"] / c["SOLVER.BASE_LR"]}
        case other:
            known = "WarmupMultiStepLR, WarmupCosineLR"
            mistakes.add("SOLVER.LR_SCHEDULER_NAME", f"is {other!r}; known are {known}")
    warm_up = {
        "kind": c["SOLVER.WARMUP_METHOD"],
        "steps": c["SOLVER.WARMUP_ITERS"],
        "factor": c["SOLVER.WARMUP_FACTOR"],
    }
    return {"max_steps": last, "decay": decay or {"kind": "constant"}, "warm_up": warm_up}
