"""The common modules of Detectron2's LazyConfig zoo as facts: users import from them and leave them behind."""

from collections.abc import Callable
from typing import Any

_RGB_MEAN, _RGB_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
_BGR_MEAN, _BGR_STD = [103.530, 116.280, 123.675], [1.0, 1.0, 1.0]
_PYRAMID = ["p2", "p3", "p4", "p5"]
_BOX_SHAPE = {"_target_": "ShapeSpec", "channels": 256, "height": 7, "width": 7}


def zoo_module(path: str) -> dict[str, Any] | None:
    """The names of `common/models/mask_rcnn_fpn.py` and its like; each call gives fresh ones, free to change."""
    parts = path.replace("\\", "/").strip("./").split("/")
    name = "/".join(parts[parts.index("common") + 1 :]) if "common" in parts else "/".join(parts[-2:])
    maker = _MODULES.get(name)
    return maker() if maker else None


def _call(target: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": target, **arguments}


def _train() -> dict[str, Any]:
    train = {
        "output_dir": "./output",
        "init_checkpoint": "",
        "max_iter": 90000,
        "amp": {"enabled": False},
        "ddp": {"broadcast_buffers": False, "find_unused_parameters": False, "fp16_compression": False},
        "checkpointer": {"period": 5000, "max_to_keep": 100},
        "eval_period": 5000,
        "log_period": 20,
        "device": "cuda",
    }
    return {"train": train}


def _optim() -> dict[str, Any]:
    decay = _call("get_default_optimizer_params", weight_decay_norm=0.0)
    adam_decay = _call("get_default_optimizer_params", base_lr="${..lr}", weight_decay_norm=0.0)
    return {
        "SGD": _call("torch.optim.SGD", params=decay, lr=0.02, momentum=0.9, weight_decay=1e-4),
        "AdamW": _call("torch.optim.AdamW", params=adam_decay, lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    }


def _schedule(times: int) -> dict[str, Any]:
    """`times` x 90,000 steps of 16 images; from 3x on the last 60,000 and 20,000 have the lower rates."""
    last = times * 90000
    milestones = [60000, 80000, 90000] if times <= 2 else [last - 60000, last - 20000, last]
    scheduler = _call("MultiStepParamScheduler", values=[1.0, 0.1, 0.01], milestones=milestones)
    warm_up = {"warmup_length": 1000 / last, "warmup_method": "linear", "warmup_factor": 0.001}
    return _call("WarmupParamScheduler", scheduler=scheduler, **warm_up)


def _schedules() -> dict[str, Any]:
    return {f"lr_multiplier_{times}x": _schedule(times) for times in (1, 2, 3, 6, 9)}


def _constants() -> dict[str, Any]:
    constants = {"imagenet_rgb256_mean": list(_RGB_MEAN), "imagenet_rgb256_std": list(_RGB_STD)}
    return {"constants": constants | {"imagenet_bgr256_mean": list(_BGR_MEAN), "imagenet_bgr256_std": list(_BGR_STD)}}


def _coco() -> dict[str, Any]:
    scales = (640, 672, 704, 736, 768, 800)
    train_mapper = _call(
        "DatasetMapper",
        is_train=True,
        augmentations=[
            _call("ResizeShortestEdge", short_edge_length=scales, sample_style="choice", max_size=1333),
            _call("RandomFlip", horizontal=True),
        ],
        image_format="BGR",
        use_instance_mask=True,
    )
    test_mapper = _call(
        "DatasetMapper",
        is_train=False,
        augmentations=[_call("ResizeShortestEdge", short_edge_length=800, max_size=1333)],
        image_format="${...train.mapper.image_format}",
    )
    train = _call(
        "build_detection_train_loader",
        dataset=_call("get_detection_dataset_dicts", names="coco_2017_train"),
        mapper=train_mapper,
        total_batch_size=16,
        num_workers=4,
    )
    test = _call(
        "build_detection_test_loader",
        dataset=_call("get_detection_dataset_dicts", names="coco_2017_val", filter_empty=False),
        mapper=test_mapper,
        num_workers=4,
    )
    evaluator = _call("COCOEvaluator", dataset_name="${..test.dataset.names}")
    return {"dataloader": {"train": train, "test": test, "evaluator": evaluator}}


def _coco_keypoint() -> dict[str, Any]:
    module = _coco()
    train, test = module["dataloader"]["train"], module["dataloader"]["test"]
    train["dataset"] |= {"min_keypoints": 1, "names": "keypoints_coco_2017_train"}
    test["dataset"]["names"] = "keypoints_coco_2017_val"
    train["mapper"] |= {"use_instance_mask": False, "use_keypoint": True, "keypoint_hflip_indices": None}
    return module


def _resnet(features: list[str]) -> dict[str, Any]:
    return _call(
        "ResNet",
        stem=_call("BasicStem", in_channels=3, out_channels=64, norm="FrozenBN"),
        stages=_call("ResNet.make_default_stages", depth=50, stride_in_1x1=True, norm="FrozenBN"),
        out_features=features,
    )


def _matcher(thresholds: list[float], *, low_quality: bool) -> dict[str, Any]:
    labels = [0, -1, 1] if len(thresholds) == 2 else [0, 1]
    return _call("Matcher", thresholds=thresholds, labels=labels, allow_low_quality_matches=low_quality)


def _rpn(features: list[str], channels: int, sizes: list[list[int]], pre: Any, post: Any) -> dict[str, Any]:
    strides = [2 ** int(name[-1]) for name in features]
    generator = _call("DefaultAnchorGenerator", sizes=sizes, aspect_ratios=[0.5, 1.0, 2.0], strides=strides, offset=0.0)
    return _call(
        "RPN",
        in_features=features,
        head=_call("StandardRPNHead", in_channels=channels, num_anchors=len(sizes[0]) * 3),
        anchor_generator=generator,
        anchor_matcher=_matcher([0.3, 0.7], low_quality=True),
        box2box_transform=_call("Box2BoxTransform", weights=[1.0, 1.0, 1.0, 1.0]),
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_topk=pre,
        post_nms_topk=post,
        nms_thresh=0.7,
    )


def _pooler(size: int, scales: tuple[float, ...] = (1 / 4, 1 / 8, 1 / 16, 1 / 32)) -> dict[str, Any]:
    return _call("ROIPooler", output_size=size, scales=scales, sampling_ratio=0, pooler_type="ROIAlignV2")


def _predictor(classes: str, weights: tuple[int, ...] = (10, 10, 5, 5), **more: Any) -> dict[str, Any]:
    return _call(
        "FastRCNNOutputLayers",
        input_shape=_call("ShapeSpec", channels=1024),
        test_score_thresh=0.05,
        box2box_transform=_call("Box2BoxTransform", weights=weights),
        num_classes=classes,
        **more,
    )


def _rcnn(backbone: dict[str, Any], rpn: dict[str, Any], heads: dict[str, Any]) -> dict[str, Any]:
    model = _call(
        "GeneralizedRCNN",
        backbone=backbone,
        proposal_generator=rpn,
        roi_heads=heads,
        pixel_mean=list(_BGR_MEAN),
        pixel_std=list(_BGR_STD),
        input_format="BGR",
    )
    return {"model": model}


def _heads(target: str, **parts: Any) -> dict[str, Any]:
    matcher = _matcher([0.5], low_quality=False)
    return _call(
        target, num_classes=80, batch_size_per_image=512, positive_fraction=0.25, proposal_matcher=matcher, **parts
    )


def _mask_rcnn_fpn() -> dict[str, Any]:
    fpn = _call(
        "FPN",
        bottom_up=_resnet(["res2", "res3", "res4", "res5"]),
        in_features="${.bottom_up.out_features}",
        out_channels=256,
        top_block=_call("LastLevelMaxPool"),
    )
    sizes = [[32], [64], [128], [256], [512]]
    heads = _heads(
        "StandardROIHeads",
        box_in_features=list(_PYRAMID),
        box_pooler=_pooler(7),
        box_head=_call("FastRCNNConvFCHead", input_shape=dict(_BOX_SHAPE), conv_dims=[], fc_dims=[1024, 1024]),
        box_predictor=_predictor("${..num_classes}"),
        mask_in_features=list(_PYRAMID),
        mask_pooler=_pooler(14),
        mask_head=_call("MaskRCNNConvUpsampleHead", num_classes="${..num_classes}", conv_dims=[256] * 5),
    )
    return _rcnn(fpn, _rpn([*_PYRAMID, "p6"], 256, sizes, (2000, 1000), (1000, 1000)), heads)


def _mask_rcnn_c4() -> dict[str, Any]:
    res5 = _call(
        "ResNet.make_stage",
        block_class="BottleneckBlock",
        num_blocks=3,
        stride_per_block=[2, 1, 1],
        in_channels=1024,
        bottleneck_channels=512,
        out_channels=2048,
        norm="FrozenBN",
        stride_in_1x1=True,
    )
    heads = _heads(
        "Res5ROIHeads",
        in_features=["res4"],
        pooler=_pooler(14, (1 / 16,)),
        res5=res5,
        box_predictor=_predictor("${..num_classes}"),
        mask_head=_call("MaskRCNNConvUpsampleHead", num_classes="${..num_classes}", conv_dims=[256]),
    )
    rpn = _rpn(["res4"], 1024, [[32, 64, 128, 256, 512]], (12000, 6000), (2000, 1000))
    return _rcnn(_resnet(["res4"]), rpn, heads)


def _keypoint_rcnn_fpn() -> dict[str, Any]:
    module = _mask_rcnn_fpn()
    model, heads = module["model"], module["model"]["roi_heads"]
    for name in ("mask_in_features", "mask_pooler", "mask_head"):
        del heads[name]
    head = _call("KRCNNConvDeconvUpsampleHead", num_keypoints=17, conv_dims=[512] * 8, loss_normalizer="visible")
    heads |= {"num_classes": 1, "keypoint_in_features": list(_PYRAMID), "keypoint_pooler": _pooler(14)}
    heads["keypoint_head"] = head
    heads["box_predictor"]["smooth_l1_beta"] = 0.5
    model["proposal_generator"]["post_nms_topk"] = (1500, 1000)
    return module


def _cascade_rcnn() -> dict[str, Any]:
    module = _mask_rcnn_fpn()
    heads = module["model"]["roi_heads"]
    head = heads.pop("box_head")
    for name in ("box_predictor", "proposal_matcher"):
        del heads[name]
    heads["_target_"] = "CascadeROIHeads"
    heads["box_heads"] = [dict(head) for _ in range(3)]
    heads["box_predictors"] = [
        _predictor("${...num_classes}", (10 * n, 10 * n, 5 * n, 5 * n), cls_agnostic_bbox_reg=True) for n in (1, 2, 3)
    ]
    heads["proposal_matchers"] = [_matcher([iou], low_quality=False) for iou in (0.5, 0.6, 0.7)]
    return module


def _retinanet() -> dict[str, Any]:
    levels = ["p3", "p4", "p5", "p6", "p7"]
    fpn = _call(
        "FPN",
        bottom_up=_resnet(["res3", "res4", "res5"]),
        in_features=["res3", "res4", "res5"],
        out_channels=256,
        top_block=_call("LastLevelP6P7", in_channels=2048, out_channels="${..out_channels}"),
    )
    generator = _call(
        "DefaultAnchorGenerator",
        sizes=[[size * 2 ** (octave / 3) for octave in range(3)] for size in (32, 64, 128, 256, 512)],
        aspect_ratios=[0.5, 1.0, 2.0],
        strides=[8, 16, 32, 64, 128],
        offset=0.0,
    )
    head = _call("RetinaNetHead", num_classes="${..num_classes}", conv_dims=[256] * 4, prior_prob=0.01, num_anchors=9)
    model = _call(
        "RetinaNet",
        backbone=fpn,
        head=head,
        anchor_generator=generator,
        box2box_transform=_call("Box2BoxTransform", weights=[1.0, 1.0, 1.0, 1.0]),
        anchor_matcher=_matcher([0.4, 0.5], low_quality=True),
        num_classes=80,
        head_in_features=levels,
        focal_loss_alpha=0.25,
        focal_loss_gamma=2.0,
        pixel_mean=list(_BGR_MEAN),
        pixel_std=list(_BGR_STD),
        input_format="BGR",
    )
    return {"model": model}


_MODULES: dict[str, Callable[[], dict[str, Any]]] = {
    "train.py": _train,
    "optim.py": _optim,
    "coco_schedule.py": _schedules,
    "data/constants.py": _constants,
    "data/coco.py": _coco,
    "data/coco_keypoint.py": _coco_keypoint,
    "models/mask_rcnn_fpn.py": _mask_rcnn_fpn,
    "models/mask_rcnn_c4.py": _mask_rcnn_c4,
    "models/keypoint_rcnn_fpn.py": _keypoint_rcnn_fpn,
    "models/cascade_rcnn.py": _cascade_rcnn,
    "models/retinanet.py": _retinanet,
}
