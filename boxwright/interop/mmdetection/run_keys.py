"""The data, optimiser and schedule types of mmdetection 3: their arguments, defaults, and what each is here."""

from boxwright.interop.tables.keys import Key, fixed, idle, translated

_RUN = "a matter of the original's run, not of the model"
_FILE = "where files lie is said to the verbs"
_LEFT_OUT = "has no counterpart here; training is without it"


def _idle(reason: str, *names: str) -> tuple[Key, ...]:
    return tuple(idle(name, None, reason) for name in names)


_DATASET = (
    translated("ann_file", "", "data.*"),
    translated("data_root", "", "data.*"),
    idle("data_prefix", None, "pictures are looked for beside their annotations"),
    translated("metainfo", None, "model.class_names"),
    translated("filter_cfg", None, "data.only_with_objects"),
    translated("pipeline", [], "model.input.resize", "data.augment"),
    idle("proposal_file", None, "proposals are handed over with the data"),
    *_idle(_RUN, "type", "test_mode", "backend_args", "file_client_args", "indices", "serialize_data", "lazy_init"),
    *_idle(_RUN, "max_refetch", "return_classes", "img_subdir", "ann_subdir", "seg_map_suffix", "img_suffix"),
)
_RESIZE_REST = (
    fixed("keep_ratio", True, "images keep their aspect ratio"),
    *_idle(_RUN, "clip_object_border", "resize_type", "interpolation"),
    translated("backend", "cv2", "model.input.resize.method"),
)

RUN: dict[str, tuple[Key, ...]] = {
    "dataloader": (
        translated("batch_size", 2, "train.batch"),
        translated("num_workers", 2, "data.workers"),
        translated("dataset", None, "data"),
        translated("batch_sampler", None, "data.aspect_grouping"),
        *_idle(_RUN, "sampler", "persistent_workers", "drop_last", "collate_fn", "pin_memory", "prefetch_factor"),
    ),
    "CocoDataset": _DATASET,
    "RepeatDataset": (
        translated("times", 1, "train.schedule.max_steps"),
        translated("dataset", None, "data"),
        *_idle(_RUN, "lazy_init"),
    ),
    "ClassBalancedDataset": (
        translated("oversample_thr", 1e-3, "data.repeat_factor"),
        translated("dataset", None, "data"),
        *_idle(_RUN, "filter_empty_gt", "lazy_init"),
    ),
    "ConcatDataset": (
        translated("datasets", [], "data"),
        *_idle(_RUN, "ignore_keys", "lazy_init", "separate_eval"),
    ),
    "MultiImageMixDataset": (
        translated("dataset", None, "data"),
        translated("pipeline", [], "data.augment"),
        *_idle(_RUN, "skip_type_keys", "max_refetch", "lazy_init", "dynamic_scale"),
    ),
    "LoadImageFromFile": _idle(
        _RUN, "backend_args", "file_client_args", "to_float32", "color_type", "imdecode_backend", "ignore_empty"
    ),
    "LoadAnnotations": (
        *_idle("what the model needs is read", "with_bbox", "with_mask", "with_label"),
        fixed("with_seg", False, "there is no semantic segmentation"),
        translated("poly2mask", True, "model.conventions.mask_targets"),
        *_idle(_RUN, "box_type", "backend_args", "file_client_args", "imdecode_backend", "ignore_index"),
    ),
    "LoadProposals": (translated("num_max_proposals", None, "model.proposals.top_k"),),
    "ProposalBroadcaster": (translated("transforms", [], "data.augment"),),
    "Resize": (
        translated("scale", None, "model.input.resize.*"),
        fixed("scale_factor", None, "images are resized to a size"),
        *_RESIZE_REST,
    ),
    "RandomChoiceResize": (
        translated("scales", None, "model.input.resize.short_train"),
        *_RESIZE_REST,
    ),
    "RandomResize": (
        translated("scale", None, "model.input.resize.short_train", "model.input.resize.long_train"),
        translated("ratio_range", None, "data.augment.scale_jitter"),
        *_RESIZE_REST,
    ),
    "RandomFlip": (
        translated("prob", None, "data.augment.flip"),
        translated("direction", "horizontal", "data.augment.flip", "data.augment.vertical_flip"),
        *_idle(_RUN, "swap_seg_labels"),
    ),
    "RandomCrop": (
        translated("crop_size", None, "data.augment.crop", "data.augment.crop_relative"),
        translated("crop_type", "absolute", "data.augment.crop"),
        *_idle("boxes of cropped objects are made anew", "recompute_bbox", "allow_negative_crop", "bbox_clip_border"),
    ),
    "Pad": _idle("images are padded by data_preprocessor's rule", "size", "size_divisor", "pad_to_square", "pad_val"),
    "FilterAnnotations": _idle(
        "objects that a crop leaves without area are dropped",
        *("min_gt_bbox_wh", "min_gt_mask_area", "by_box", "by_mask", "keep_empty"),
    ),
    "PackDetInputs": _idle(_RUN, "meta_keys"),
    "OptimWrapper": (
        translated("optimizer", None, "train.optimizer"),
        translated("paramwise_cfg", None, "train.weight_decay_norm", "train.bias_lr_factor"),
        translated("clip_grad", None, "train.clip"),
        translated("accumulative_counts", 1, "train.accumulate"),
        *_idle(_RUN, "loss_scale", "dtype", "use_fp64", "constructor"),
    ),
    "SGD": (
        translated("lr", 0.02, "train.lr"),
        translated("momentum", 0.0, "train.optimizer.momentum"),
        translated("weight_decay", 0.0, "train.weight_decay"),
        translated("nesterov", False, "train.optimizer.nesterov"),
    ),
    "AdamW": (
        translated("lr", 0.001, "train.lr"),
        translated("betas", (0.9, 0.999), "train.optimizer.betas"),
        translated("weight_decay", 0.01, "train.weight_decay"),
    ),
    "paramwise_cfg": (
        translated("bias_lr_mult", 1.0, "train.bias_lr_factor"),
        translated("bias_decay_mult", 1.0, "train.weight_decay_bias"),
        translated("norm_decay_mult", 1.0, "train.weight_decay_norm"),
        translated("custom_keys", None, "train.backbone_lr_factor"),
        *_idle("this family has no such layers", "dwconv_decay_mult", "flat_decay_mult"),
        *_idle(_RUN, "bypass_duplicate"),
        fixed("dcn_offset_lr_mult", 1.0, "offsets learn as other weights do"),
    ),
    "clip_grad": (
        translated("max_norm", 35, "train.clip_limit"),
        fixed("norm_type", 2, "gradients are clipped by their Euclidean norm"),
        *_idle(_RUN, "error_if_nonfinite"),
    ),
    "LinearLR": (
        translated("start_factor", 1 / 3, "train.schedule.warm_up.factor"),
        fixed("end_factor", 1.0, "the warm-up ends at the full rate"),
        translated("begin", 0, "train.schedule.warm_up.steps"),
        translated("end", 500, "train.schedule.warm_up.steps"),
        translated("by_epoch", True, "train.schedule.warm_up.steps"),
        *_idle(_RUN, "convert_to_iter_based", "verbose", "last_step"),
    ),
    "ConstantLR": (
        translated("factor", 1 / 3, "train.schedule.warm_up.factor"),
        translated("begin", 0, "train.schedule.warm_up.steps"),
        translated("end", 500, "train.schedule.warm_up.steps"),
        translated("by_epoch", True, "train.schedule.warm_up.steps"),
        *_idle(_RUN, "convert_to_iter_based", "verbose", "last_step"),
    ),
    "MultiStepLR": (
        translated("milestones", [], "train.schedule.decay.steps"),
        translated("gamma", 0.1, "train.schedule.decay.gamma"),
        translated("by_epoch", True, "train.schedule.decay.steps"),
        *_idle(_RUN, "begin", "end", "convert_to_iter_based", "verbose", "last_step"),
    ),
    "CosineAnnealingLR": (
        translated("eta_min", 0.0, "train.schedule.decay.final"),
        translated("eta_min_ratio", None, "train.schedule.decay.final"),
        *_idle(_RUN, "T_max", "begin", "end", "by_epoch", "convert_to_iter_based", "verbose", "last_step"),
    ),
    "EpochBasedTrainLoop": (
        translated("max_epochs", 12, "train.schedule.max_steps"),
        translated("val_interval", 1, "train.evaluate_every"),
        *_idle(_RUN, "val_begin", "dynamic_intervals"),
    ),
    "IterBasedTrainLoop": (
        translated("max_iters", 90000, "train.schedule.max_steps"),
        translated("val_interval", 1000, "train.evaluate_every"),
        *_idle(_RUN, "val_begin", "dynamic_intervals"),
    ),
    "CheckpointHook": (
        translated("interval", 1, "train.checkpoint_every"),
        translated("by_epoch", True, "train.checkpoint_every"),
        translated("max_keep_ckpts", -1, "train.keep_checkpoints"),
        *_idle(_RUN, "save_best", "rule", "out_dir", "save_last", "greater_keys", "type", "priority"),
    ),
    "LoggerHook": (
        translated("interval", 10, "train.log_every"),
        *_idle(_RUN, "ignore_last", "interval_exp_name", "out_dir", "out_suffix", "keep_local", "log_metric_by_epoch"),
    ),
    "auto_scale_lr": (
        translated("base_batch_size", 16, "train.reference_batch"),
        *_idle("the rate follows train.batch by train.reference_batch", "enable"),
    ),
}

TOP: dict[str, Key] = {
    key.path: key
    for key in (
        translated("model", None, "model"),
        translated("train_dataloader", None, "data.train", "train.batch"),
        translated("val_dataloader", None, "data.val"),
        translated("test_dataloader", None, "model.input.resize"),
        translated("optim_wrapper", None, "train.optimizer", "train.lr"),
        translated("param_scheduler", None, "train.schedule"),
        translated("train_cfg", None, "train.schedule.max_steps"),
        translated("default_hooks", None, "train.checkpoint_every", "train.log_every"),
        translated("auto_scale_lr", None, "train.reference_batch"),
        translated("load_from", None, "train.weights"),
        translated("randomness", None, "train.seed"),
        *_idle("is read where the dataloaders use it", "train_pipeline", "test_pipeline", "val_pipeline"),
        *_idle(
            "is read where the dataloaders use it", "dataset_type", "data_root", "backend_args", "classes", "metainfo"
        ),
        *_idle("evaluation has its own settings here", "val_evaluator", "test_evaluator", "val_cfg", "test_cfg"),
        *_idle("is only used with --tta; here test.augment says it", "tta_model", "tta_pipeline"),
        *_idle(_RUN, "default_scope", "env_cfg", "vis_backends", "visualizer", "log_processor", "log_level", "resume"),
        *_idle(_RUN, "work_dir", "launcher", "custom_imports", "experiment_name", "cfg", "resume_from", "gpu_ids"),
        *_idle(
            _RUN, "seed", "dist_params", "workflow", "opencv_num_threads", "mp_start_method", "device", "auto_resume"
        ),
        idle("custom_hooks", None, _LEFT_OUT),
    )
}
