"""The data, schedule and runtime files of mmdetection's `_base_` folder as facts, in both forms, of 2 and of 3."""

from boxwright.interop.tables.keys import Settings, copied

_SCHEDULES = {"schedule_1x": (12, [8, 11]), "schedule_2x": (24, [16, 22]), "schedule_20e": (20, [16, 19])}
_NORM = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True}
_SPLITS = ("train", "val", "test")
_META = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")


def runtime(*, is_old: bool) -> Settings:
    """The content of `default_runtime.py`."""
    if is_old:
        return {
            "checkpoint_config": {"interval": 1},
            "log_config": {"interval": 50, "hooks": [{"type": "TextLoggerHook"}]},
            "dist_params": {"backend": "nccl"},
            "log_level": "INFO",
            "load_from": None,
            "resume_from": None,
            "workflow": [("train", 1)],
        }
    hooks = {
        "timer": {"type": "IterTimerHook"},
        "logger": {"type": "LoggerHook", "interval": 50},
        "param_scheduler": {"type": "ParamSchedulerHook"},
        "checkpoint": {"type": "CheckpointHook", "interval": 1},
        "sampler_seed": {"type": "DistSamplerSeedHook"},
        "visualization": {"type": "DetVisualizationHook"},
    }
    environment = {
        "cudnn_benchmark": False,
        "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0},
        "dist_cfg": {"backend": "nccl"},
    }
    backends = [{"type": "LocalVisBackend"}]
    return {
        "default_scope": "mmdet",
        "default_hooks": hooks,
        "env_cfg": environment,
        "vis_backends": backends,
        "visualizer": {"type": "DetLocalVisualizer", "vis_backends": copied(backends), "name": "visualizer"},
        "log_processor": {"type": "LogProcessor", "window_size": 50, "by_epoch": True},
        "log_level": "INFO",
        "load_from": None,
        "resume": False,
    }


def schedule_file(stem: str, *, is_old: bool) -> Settings | None:
    """The content of a file of `_base_/schedules` by its name, None when it is not known."""
    if stem not in _SCHEDULES:
        return None
    epochs, steps = _SCHEDULES[stem]
    optimizer = {"type": "SGD", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.0001}
    if is_old:
        warm_up = {"warmup": "linear", "warmup_iters": 500, "warmup_ratio": 0.001}
        return {
            "optimizer": optimizer,
            "optimizer_config": {"grad_clip": None},
            "lr_config": {"policy": "step", **warm_up, "step": list(steps)},
            "runner": {"type": "EpochBasedRunner", "max_epochs": epochs},
        }
    decay = {
        "type": "MultiStepLR",
        "begin": 0,
        "end": epochs,
        "by_epoch": True,
        "milestones": list(steps),
        "gamma": 0.1,
    }
    return {
        "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": epochs, "val_interval": 1},
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0, "end": 500},
            decay,
        ],
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": optimizer},
        "auto_scale_lr": {"enable": False, "base_batch_size": 16},
    }


def dataset_file(stem: str, *, is_old: bool) -> Settings | None:
    """COCO's two files; others (VOC, Cityscapes, LVIS) name data that their users have beside them."""
    if stem not in ("coco_detection", "coco_instance"):
        return None
    masks = {"with_mask": True} if stem == "coco_instance" else {}
    return _old_coco(masks) if is_old else _coco(masks)


def _coco(masks: Settings) -> Settings:
    load = {"type": "LoadImageFromFile", "backend_args": None}
    annotations = {"type": "LoadAnnotations", "with_bbox": True, **masks}
    resize = {"type": "Resize", "scale": (1333, 800), "keep_ratio": True}
    train: list[Settings] = [load, annotations, resize, {"type": "RandomFlip", "prob": 0.5}, {"type": "PackDetInputs"}]
    test: list[Settings] = [load, resize, annotations, {"type": "PackDetInputs", "meta_keys": _META}]
    config: Settings = {
        "dataset_type": "CocoDataset",
        "data_root": "data/coco/",
        "backend_args": None,
        "train_pipeline": train,
        "test_pipeline": test,
        "train_dataloader": {
            "batch_size": 2,
            "num_workers": 2,
            "persistent_workers": True,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "batch_sampler": {"type": "AspectRatioBatchSampler"},
            "dataset": _dataset("train2017", train, {"filter_cfg": {"filter_empty_gt": True, "min_size": 32}}),
        },
        "val_dataloader": {
            "batch_size": 1,
            "num_workers": 2,
            "persistent_workers": True,
            "drop_last": False,
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "dataset": _dataset("val2017", test, {"test_mode": True}),
        },
        "val_evaluator": {
            "type": "CocoMetric",
            "ann_file": "data/coco/annotations/instances_val2017.json",
            "metric": ["bbox", "segm"] if masks else "bbox",
            "format_only": False,
            "backend_args": None,
        },
    }
    config |= {"test_dataloader": config["val_dataloader"], "test_evaluator": config["val_evaluator"]}
    result: Settings = copied(config)
    return result


def _dataset(split: str, pipeline: list[Settings], more: Settings) -> Settings:
    return {
        "type": "CocoDataset",
        "data_root": "data/coco/",
        "ann_file": f"annotations/instances_{split}.json",
        "data_prefix": {"img": f"{split}/"},
        **more,
        "pipeline": pipeline,
        "backend_args": None,
    }


def _old_coco(masks: Settings) -> Settings:
    keys = ["img", "gt_bboxes", "gt_labels"] + (["gt_masks"] if masks else [])
    normalize = [{"type": "Normalize", **_NORM}, {"type": "Pad", "size_divisor": 32}]
    train: list[Settings] = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True, **masks},
        {"type": "Resize", "img_scale": (1333, 800), "keep_ratio": True},
        {"type": "RandomFlip", "flip_ratio": 0.5},
        *normalize,
        {"type": "DefaultFormatBundle"},
        {"type": "Collect", "keys": keys},
    ]
    inner = [{"type": "Resize", "keep_ratio": True}, {"type": "RandomFlip"}, *normalize]
    inner += [{"type": "ImageToTensor", "keys": ["img"]}, {"type": "Collect", "keys": ["img"]}]
    augmented = {"type": "MultiScaleFlipAug", "img_scale": (1333, 800), "flip": False, "transforms": inner}
    test: list[Settings] = [{"type": "LoadImageFromFile"}, augmented]
    config = {
        "dataset_type": "CocoDataset",
        "data_root": "data/coco/",
        "img_norm_cfg": dict(_NORM),
        "train_pipeline": train,
        "test_pipeline": test,
        "data": {
            "samples_per_gpu": 2,
            "workers_per_gpu": 2,
            "train": _old_dataset("train2017", train),
            "val": _old_dataset("val2017", test),
            "test": _old_dataset("val2017", test),
        },
        "evaluation": {"interval": 1, "metric": ["bbox", "segm"] if masks else "bbox"},
    }
    result: Settings = copied(config)
    return result


def _old_dataset(split: str, pipeline: list[Settings]) -> Settings:
    return {
        "type": "CocoDataset",
        "ann_file": f"data/coco/annotations/instances_{split}.json",
        "img_prefix": f"data/coco/{split}/",
        "pipeline": pipeline,
    }


def old_form(config: Settings) -> Settings:
    """A whole model of the zoo in the form of mmdetection 2, for files that start from it in that form."""
    model = copied(config["model"])
    pictures = model.pop("data_preprocessor")
    norm = {"mean": pictures["mean"], "std": pictures["std"], "to_rgb": pictures["bgr_to_rgb"]}
    old = _old_coco({"with_mask": True} if pictures.get("pad_mask") else {})
    for pipeline in (old["train_pipeline"], old["test_pipeline"], *(old["data"][name]["pipeline"] for name in _SPLITS)):
        for step in [*pipeline, *(inner for part in pipeline for inner in part.get("transforms", []))]:
            if step["type"] == "Normalize":
                step |= norm
    dataset = config["train_dataloader"]["dataset"]
    times, (_, annotations, resize, *_) = dataset.get("times"), dataset.get("dataset", dataset)["pipeline"]
    for pipeline in (old["train_pipeline"], old["data"]["train"]["pipeline"]):
        pipeline[1:3] = [dict(annotations), _old_resize(resize)]
    if times:
        old["data"]["train"] = {"type": "RepeatDataset", "times": times, "dataset": old["data"]["train"]}
    loop, decay = config["train_cfg"], config["param_scheduler"][1]
    plan = schedule_file("schedule_1x", is_old=True) or {}
    plan["runner"]["max_epochs"] = loop["max_epochs"]
    plan["lr_config"]["step"] = list(decay["milestones"])
    plan["optimizer"] = dict(config["optim_wrapper"]["optimizer"])
    half = {"fp16": {"loss_scale": 512.0}} if config["optim_wrapper"]["type"] == "AmpOptimWrapper" else {}
    return {"model": model} | old | {"img_norm_cfg": norm} | plan | half | runtime(is_old=True)


def _old_resize(step: Settings) -> Settings:
    scales = step.get("scales", step.get("scale"))
    mode = "value" if step["type"] == "RandomChoiceResize" else "range"
    several = {"multiscale_mode": mode} if isinstance(scales, list) else {}
    return {"type": "Resize", "img_scale": scales, **several, "keep_ratio": True}
