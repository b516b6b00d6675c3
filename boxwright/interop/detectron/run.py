"""Data, training and test of a Detectron config, as plain data of our schema."""

from itertools import pairwise
from typing import Any

from boxwright.interop.tables.keys import Mistakes
from boxwright.interop.tables.yacs import YacsTree


def data_section(c: YacsTree) -> dict[str, Any]:
    """Our `data` settings."""
    augment: dict[str, Any] = {"flip": 0.5 if c["TRAIN.USE_FLIPPED"] else 0.0}
    if c["TRAIN.ASPECT_CROPPING"]:
        augment["crop_aspect"] = (c["TRAIN.ASPECT_LO"], c["TRAIN.ASPECT_HI"])
    return {
        "train": _dataset_names(c["TRAIN.DATASETS"]),
        "val": _dataset_names(c["TEST.DATASETS"]),
        "root": c["DATA_DIR"] or None,
        "min_keypoints": 1 if c["MODEL.KEYPOINTS_ON"] else 0,
        "aspect_grouping": c["TRAIN.ASPECT_GROUPING"],
        "augment": augment,
        "workers": c["DATA_LOADER.NUM_THREADS"],
    }


def _dataset_names(names: Any) -> str | None:
    """Several data sets are one, their names joined by ":" as the originals do."""
    return ":".join(names) if names else None


def train_section(c: YacsTree, mistakes: Mistakes, *, is_pytorch: bool) -> dict[str, Any]:
    """Our `train` settings."""
    batch = c["TRAIN.IMS_PER_BATCH"] * c["NUM_GPUS"]
    return {
        "batch": batch,
        "reference_batch": batch,
        "lr": c["SOLVER.BASE_LR"],
        "bias_lr_factor": 2.0 if c["SOLVER.BIAS_DOUBLE_LR"] else 1.0,
        "weight_decay": c["SOLVER.WEIGHT_DECAY"],
        "weight_decay_norm": c["SOLVER.WEIGHT_DECAY_GN"],
        "weight_decay_bias": None if c["SOLVER.BIAS_WEIGHT_DECAY"] else 0.0,
        "optimizer": _optimizer(c, mistakes),
        "schedule": _schedule(c, mistakes),
        "weights": _start_weights(c, is_pytorch),
        "stages": _stages(c),
        "seed": c["RNG_SEED"],
        "checkpoint_every": max(c["TRAIN.SNAPSHOT_ITERS"] // c["NUM_GPUS"], 1),
    }


def test_section(c: YacsTree, mistakes: Mistakes) -> dict[str, Any]:
    """Our `test` settings."""
    is_retinanet = c["RETINANET.RETINANET_ON"] or c["MODEL.TYPE"] == "retinanet"
    section: dict[str, Any] = {
        "score_threshold": c["RETINANET.INFERENCE_TH"] if is_retinanet else c["TEST.SCORE_THRESH"],
        "nms": "hard",
        "nms_iou": c["TEST.NMS"],
        "max_detections": c["TEST.DETECTIONS_PER_IM"],
        "mask_threshold": c["MRCNN.THRESH_BINARIZE"],
        "augment": _augment(c, mistakes) if c["TEST.BBOX_AUG.ENABLED"] else None,
    }
    if c["TEST.SOFT_NMS.ENABLED"]:
        soft = {"nms": c["TEST.SOFT_NMS.METHOD"], "nms_sigma": c["TEST.SOFT_NMS.SIGMA"], "soft_min_score": 1e-4}
        section |= soft
    if c["TEST.BBOX_VOTE.ENABLED"]:
        section["box_voting_iou"] = c["TEST.BBOX_VOTE.VOTE_TH"]
        section["box_voting_scoring"] = c["TEST.BBOX_VOTE.SCORING_METHOD"].lower()
    return section


def _optimizer(c: YacsTree, mistakes: Mistakes) -> dict[str, Any]:
    if c["SOLVER.TYPE"] != "SGD":
        mistakes.add("SOLVER.TYPE", f"is {c['SOLVER.TYPE']}; SGD is known (Adam here is AdamW, whose decay differs)")
    return {"kind": "sgd", "momentum": c["SOLVER.MOMENTUM"]}


def _schedule(c: YacsTree, mistakes: Mistakes) -> dict[str, Any]:
    last, gamma = c["SOLVER.MAX_ITER"], c["SOLVER.GAMMA"]
    steps: list[int] = []
    match c["SOLVER.LR_POLICY"]:
        case "steps_with_decay":
            steps = list(c["SOLVER.STEPS"])
        case "step":
            steps = list(range(c["SOLVER.STEP_SIZE"], last, c["SOLVER.STEP_SIZE"]))[:1000]
        case "steps_with_lrs":
            steps, gamma = list(c["SOLVER.STEPS"]), _gamma_of(c, mistakes)
        case other:
            mistakes.add("SOLVER.LR_POLICY", f"is {other!r}; known are step, steps_with_decay, steps_with_lrs")
    warm_up = {
        "kind": c["SOLVER.WARM_UP_METHOD"],
        "steps": c["SOLVER.WARM_UP_ITERS"],
        "factor": c["SOLVER.WARM_UP_FACTOR"],
    }
    decay = {"kind": "steps", "steps": [step for step in steps if step > 0], "gamma": gamma}
    return {"max_steps": last, "decay": decay, "warm_up": warm_up}


def _gamma_of(c: YacsTree, mistakes: Mistakes) -> float:
    """Rates given one by one must fall by one factor, which is all a schedule of steps can say."""
    rates = [float(rate) for rate in c["SOLVER.LRS"]]
    factors = {round(after / before, 6) for before, after in pairwise(rates)}
    if len(rates) != len(c["SOLVER.STEPS"]) or len(factors) > 1 or (rates and rates[0] != c["SOLVER.BASE_LR"]):
        mistakes.add("SOLVER.LRS", "must start at BASE_LR, have one rate per step and fall by one factor")
    return factors.pop() if factors else 0.1


def _start_weights(c: YacsTree, is_pytorch: bool) -> str | None:
    if not is_pytorch:
        return c["TRAIN.WEIGHTS"] or None
    return (c["RESNETS.IMAGENET_PRETRAINED_WEIGHTS"] or None) if c["MODEL.LOAD_IMAGENET_PRETRAINED_WEIGHTS"] else None


def _stages(c: YacsTree) -> list[dict[str, Any]]:
    if not c["TRAIN.FREEZE_CONV_BODY"]:
        return []
    return [{"steps": c["SOLVER.MAX_ITER"], "freeze": ["backbone.*", "neck.*"]}]


def _augment(c: YacsTree, mistakes: Mistakes) -> dict[str, Any]:
    prefix = "TEST.BBOX_AUG"
    scales, flip = list(c[f"{prefix}.SCALES"]), c[f"{prefix}.H_FLIP"]
    if scales and flip is not c[f"{prefix}.SCALE_H_FLIP"]:
        mistakes.add(f"{prefix}.SCALE_H_FLIP", f"differs from H_FLIP, which is {flip}; here all scales flip or none")
    heuristics = {c[f"{prefix}.SCORE_HEUR"], c[f"{prefix}.COORD_HEUR"]}
    combine = {"UNION": "union", "AVG": "average"}.get(heuristics.pop()) if len(heuristics) == 1 else None
    if combine is None:
        mistakes.add(f"{prefix}.SCORE_HEUR", "and COORD_HEUR must both be UNION or both AVG")
    return {
        "short_sides": sorted({c["TEST.SCALE"], *scales}),
        "long": c[f"{prefix}.MAX_SIZE"] if scales else c["TEST.MAX_SIZE"],
        "flip": flip,
        "combine": combine or "union",
    }
