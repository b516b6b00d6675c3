"""Brings a complete mmdetection 2 config into the form of mmdetection 3, so that its meaning is written once."""

from collections.abc import Mapping
from typing import Any

from boxwright.interop.tables.keys import copied

_OLD = (
    *("data", "optimizer", "optimizer_config", "lr_config", "runner", "total_epochs", "checkpoint_config"),
    *("log_config", "evaluation", "fp16", "img_norm_cfg"),
)
_SAME = ("FilterAnnotations", "LoadImageFromFile", "LoadAnnotations", "RandomCrop", "LoadProposals")
_FORMATTING = ("DefaultFormatBundle", "Collect", "ImageToTensor", "ToTensor", "Transpose", "WrapFieldsToLists")
_DATASETS = ("RepeatDataset", "ClassBalancedDataset", "MultiImageMixDataset")


def is_old(config: Mapping[str, Any]) -> bool:
    """Whether settings have the form of mmdetection 2."""
    return any(name in config for name in ("data", "optimizer", "lr_config"))


def upgrade(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in the new form; what was never in the config is not made up."""
    old = copied(dict(config))
    new = {name: value for name, value in old.items() if name not in _OLD}
    found: dict[str, Any] = {}  # what the pipelines said about normalising and padding
    data = old.get("data") or {}
    loaders = (("train", "train_dataloader"), ("val", "val_dataloader"), ("test", "test_dataloader"))
    for name, loader in loaders:
        if data.get(name):
            new.setdefault(loader, _dataloader(data, name, found))
    new["model"] = _model(old, found)
    if old.get("optimizer"):
        new.setdefault("optim_wrapper", _optimizer(old))
    loop = _loop(old)
    if loop:
        new["train_cfg"] = loop
    elif "rpn" in (new.get("train_cfg") or {}) or "rcnn" in (new.get("train_cfg") or {}):
        new.pop("train_cfg")  # the model's, which lay at the top before version 2.8
    if old.get("lr_config"):
        new.setdefault("param_scheduler", _schedule(old))
    return new | _hooks(old)


def _dataloader(data: dict[str, Any], phase: str, found: dict[str, Any]) -> dict[str, Any]:
    settings = data.get(f"{phase}_dataloader") or {}
    train = phase == "train"
    return {
        "batch_size": settings.get("samples_per_gpu", data.get("samples_per_gpu", 2) if train else 1),
        "num_workers": settings.get("workers_per_gpu", data.get("workers_per_gpu", 2)),
        "batch_sampler": {"type": "AspectRatioBatchSampler"} if train else None,  # the old sampler always grouped
        "dataset": _dataset(data[phase], phase, found),
    }


def _dataset(old: Any, phase: str, found: dict[str, Any]) -> Any:
    if isinstance(old, list | tuple):
        return {"type": "ConcatDataset", "datasets": [_dataset(part, phase, found) for part in old]}
    if not isinstance(old, dict):
        return old
    new = dict(old)
    if new.get("type") in _DATASETS:
        new["dataset"] = _dataset(new.get("dataset"), phase, found)
    if new.get("type") == "ConcatDataset":
        new["datasets"] = [_dataset(part, phase, found) for part in new.get("datasets", [])]
    if "pipeline" in new:
        new["pipeline"] = _pipeline(new["pipeline"], found)
    if new.get("type") in (*_DATASETS, "ConcatDataset"):
        return new
    if new.pop("classes", None) is not None:
        new["metainfo"] = {"classes": old["classes"]}
    prefix = new.pop("img_prefix", None)
    if isinstance(prefix, list | tuple) or isinstance(new.get("ann_file"), list | tuple):
        prefix = None
    if prefix is not None:
        new["data_prefix"] = {"img": prefix}
    keeps_empty = not new.pop("filter_empty_gt", True)
    if phase == "train":
        new["filter_cfg"] = {"filter_empty_gt": not keeps_empty}
    for name in ("seg_prefix", "samples_per_gpu", "min_size"):
        new.pop(name, None)
    return new


def _pipeline(old: Any, found: dict[str, Any]) -> list[Any]:
    steps: list[Any] = []
    for step in old or []:
        if not isinstance(step, dict):
            steps.append(step)
            continue
        steps += _step(dict(step), found)
    return steps


def _step(step: dict[str, Any], found: dict[str, Any]) -> list[dict[str, Any]]:
    kind = step.get("type")
    step.pop("file_client_args", None)
    match kind:
        case "Normalize":
            found["norm"] = step
            return []
        case "Pad":
            found["pad"] = step
            return []
        case "MultiScaleFlipAug":
            return _test_augmentation(step, found)
        case "Resize":
            return [_resize(step)]
        case "RandomFlip":
            if "flip_ratio" in step:
                step["prob"] = step.pop("flip_ratio")
            return [step] if step.get("prob") is not None else []
        case _ if kind in _FORMATTING:
            return []
    return [step]


def _test_augmentation(step: dict[str, Any], found: dict[str, Any]) -> list[dict[str, Any]]:
    """One scale without flip is the plain test; more of them are test-time augmentation, of which the first counts."""
    steps = [inner for inner in step.get("transforms", []) if isinstance(inner, dict)]
    scales = step.get("img_scale")
    scale = scales[0] if isinstance(scales, list) and scales and isinstance(scales[0], list | tuple) else scales
    new: list[dict[str, Any]] = []
    for inner in steps:
        if inner.get("type") == "Resize" and "img_scale" not in inner:
            inner = {**inner, "img_scale": scale}
        if inner.get("type") != "RandomFlip":
            new += _step(dict(inner), found)
    return new


def _resize(step: dict[str, Any]) -> dict[str, Any]:
    scale = step.pop("img_scale", step.pop("scale", None))
    mode, ratios = step.pop("multiscale_mode", "range"), step.pop("ratio_range", None)
    rest = {name: value for name, value in step.items() if name not in ("type", "override", "bbox_clip_border")}
    several = isinstance(scale, list | tuple) and bool(scale) and isinstance(scale[0], list | tuple)
    if ratios is not None:
        return {"type": "RandomResize", "scale": scale[0] if several else scale, "ratio_range": ratios, **rest}
    if several and len(scale) > 1:
        if mode == "value":
            return {"type": "RandomChoiceResize", "scales": list(scale), **rest}
        return {"type": "RandomResize", "scale": list(scale), **rest}
    return {"type": "Resize", "scale": scale[0] if several else scale, **rest}


def _model(old: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    model = dict(old.get("model") or {})
    for name in ("train_cfg", "test_cfg"):
        outside = old.get(name)
        if isinstance(outside, dict) and (
            "rcnn" in outside or "rpn" in outside or "assigner" in outside or "nms" in outside
        ):
            model.setdefault(name, outside)
    pretrained = model.pop("pretrained", None)
    if pretrained and isinstance(model.get("backbone"), dict):
        model["backbone"] = {"init_cfg": {"type": "Pretrained", "checkpoint": pretrained}, **model["backbone"]}
    norm = found.get("norm") or old.get("img_norm_cfg")
    if norm and "data_preprocessor" not in model:
        pad = found.get("pad") or {}
        model["data_preprocessor"] = {
            "type": "DetDataPreprocessor",
            "mean": norm.get("mean"),
            "std": norm.get("std"),
            "bgr_to_rgb": norm.get("to_rgb", True),
            "pad_size_divisor": pad.get("size_divisor") or 1,
        }
    return model


def _optimizer(old: dict[str, Any]) -> dict[str, Any]:
    optimizer = dict(old["optimizer"])
    wrapper: dict[str, Any] = {"type": "AmpOptimWrapper" if old.get("fp16") else "OptimWrapper"}
    if "paramwise_cfg" in optimizer:
        wrapper["paramwise_cfg"] = optimizer.pop("paramwise_cfg")
    optimizer.pop("constructor", None)
    config = old.get("optimizer_config") or {}
    if config.get("type") == "Fp16OptimizerHook":
        wrapper["type"] = "AmpOptimWrapper"
    if config.get("grad_clip"):
        wrapper["clip_grad"] = config["grad_clip"]
    return wrapper | {"optimizer": optimizer}


def _loop(old: dict[str, Any]) -> dict[str, Any]:
    runner = old.get("runner") or {}
    every = (old.get("evaluation") or {}).get("interval", 1)
    if "max_iters" in runner:
        return {"type": "IterBasedTrainLoop", "max_iters": runner["max_iters"], "val_interval": every}
    epochs = runner.get("max_epochs", old.get("total_epochs"))
    return {"type": "EpochBasedTrainLoop", "max_epochs": epochs, "val_interval": every} if epochs else {}


def _schedule(old: dict[str, Any]) -> list[dict[str, Any]]:
    config, runner = old["lr_config"], old.get("runner") or {}
    by_epoch = config.get("by_epoch", "max_iters" not in runner)
    parts: list[dict[str, Any]] = []
    if config.get("warmup"):
        linear = config["warmup"] == "linear"
        factor = {"start_factor" if linear else "factor": config.get("warmup_ratio", 0.1)}
        steps = {"begin": 0, "end": config.get("warmup_iters", 0), "by_epoch": config.get("warmup_by_epoch", False)}
        parts.append({"type": "LinearLR" if linear else "ConstantLR", **factor, **steps})
    policy = str(config.get("policy", "step")).lower()
    if policy == "step":
        steps = config.get("step", [])
        milestones = list(steps) if isinstance(steps, list | tuple) else [steps]
        gamma = config.get("gamma", 0.1)
        parts.append({"type": "MultiStepLR", "milestones": milestones, "gamma": gamma, "by_epoch": by_epoch})
    elif policy == "cosineannealing":
        ratio = config.get("min_lr_ratio")
        low = {"eta_min_ratio": ratio} if ratio is not None else {"eta_min": config.get("min_lr", 0.0)}
        parts.append({"type": "CosineAnnealingLR", **low})
    elif policy != "fixed":
        parts.append({"type": f"{config.get('policy')} (lr_config.policy)"})
    return parts


def _hooks(old: dict[str, Any]) -> dict[str, Any]:
    hooks: dict[str, Any] = {}
    if old.get("checkpoint_config"):
        config = old["checkpoint_config"]
        hooks["checkpoint"] = {
            name: config[name] for name in ("interval", "by_epoch", "max_keep_ckpts") if name in config
        }
    if (old.get("log_config") or {}).get("interval"):
        hooks["logger"] = {"interval": old["log_config"]["interval"]}
    seed = old.get("seed")
    return ({"default_hooks": hooks} if hooks else {}) | ({"randomness": {"seed": seed}} if seed is not None else {})
