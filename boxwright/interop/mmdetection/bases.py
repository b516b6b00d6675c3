"""Well-known files of mmdetection's configs as facts: their names say what is in them.

Users keep one file, whose bases (`_base_/models/...`, or a whole model of the zoo) stay behind. A name is taken apart
into model, backbone, neck and schedule, and put together again from the parts below. Both spellings of names
(`faster_rcnn_r50_caffe_fpn_1x_coco`, `faster-rcnn_r50-caffe_fpn_1x_coco`) and both forms of content (mmdetection 2
and 3) exist.
"""

import re
from collections.abc import Callable
from pathlib import PurePosixPath

from boxwright.interop.mmdetection.base_models import model_file
from boxwright.interop.mmdetection.base_runs import dataset_file, old_form, runtime, schedule_file
from boxwright.interop.mmdetection.syntax import merge
from boxwright.interop.tables.keys import Settings, copied

_NAME = re.compile(
    r"(?P<model>faster|mask|cascade|cascade-mask|fast|retinanet|rpn)(-rcnn)?"
    r"_(?P<body>r18|r50|r101|x101-32x4d|x101-64x4d|x101-32x8d)(?P<caffe>-caffe)?"
    r"(?P<dcn>-m?dconv(-group4)?-c3-c5)?[_-](?P<neck>fpn|pafpn|c4|dc5)"
    r"_((?P<gn>gn-all)_)?((?P<loss>iou|giou|ciou)_)?(?P<special>soft-nms_|ohem_)?"
    r"(?P<amp>amp-)?(?P<scales>ms-640-800-|ms-poly-|ms-)?(?P<schedule>1x|2x|20e|3x)(_(?P<data>coco))?"
)
_BGR_MEAN, _BGR_STD = [103.530, 116.280, 123.675], [1.0, 1.0, 1.0]


def known_file(name: str, is_old: bool) -> Settings | None:
    """The content of a well-known file by its path, bases merged; None when it is not known."""
    path = PurePosixPath(name.replace("\\", "/").rpartition("::")[2])
    stem, folder = path.stem, path.parent.name
    makers: dict[str, Callable[[], Settings | None]] = {
        "models": lambda: model_file(_dashes(stem), is_old=is_old),
        "datasets": lambda: dataset_file(stem, is_old=is_old),
        "schedules": lambda: schedule_file(stem, is_old=is_old),
    }
    if folder in makers:
        return makers[folder]()
    if stem == "default_runtime":
        return runtime(is_old=is_old)
    return zoo_file(stem, is_old=is_old)


def zoo_file(stem: str, *, is_old: bool = False) -> Settings | None:
    """The content of a model of the zoo by the name of its config, without ending."""
    match = _NAME.fullmatch(_dashes(stem))
    if match is None:
        return None
    family, has_mask = match["model"], "mask" in match["model"]
    caffe_body = match["caffe"] is not None
    base = {"c4": "r50-caffe-c4", "dc5": "r50-caffe-dc5"}.get(match["neck"], "r50_fpn")
    middle = "" if family in ("rpn", "retinanet") else "-rcnn"
    model = model_file(f"{family}{middle}_{base}", is_old=False)
    data = dataset_file("coco_instance" if has_mask else "coco_detection", is_old=False)
    plan = schedule_file(f"schedule_{match['schedule'].replace('3x', '2x')}", is_old=False)
    if model is None or data is None or plan is None:
        return None
    config = model | data | plan | runtime(is_old=False)
    for change in _changes(match, caffe_body=caffe_body and base == "r50_fpn"):
        config = merge(change, config, source=stem)
    is_long = match["schedule"] == "3x"
    is_plainly_long = is_long and (match["gn"] or match["neck"] == "dc5" or _is_caffe_alone(match))
    if is_long and not is_plainly_long:
        config = _three_times(config)
    elif match["scales"]:
        config = _several_scales(config)
    if is_plainly_long:
        config["train_cfg"]["max_epochs"] = 36
        config["param_scheduler"][1]["milestones"] = [28, 34]
    if match["scales"] == "ms-poly-":
        _keep_polygons(config)
    if caffe_body and family == "faster" and match["scales"] == "ms-" and match["schedule"] == "2x":
        config["param_scheduler"][1]["milestones"] = [16, 23]
    if family == "retinanet":
        config["optim_wrapper"]["optimizer"]["lr"] = 0.01
    return old_form(config) if is_old else copied(config)


def _changes(match: "re.Match[str]", *, caffe_body: bool) -> list[Settings]:
    body, changes = match["body"], []
    depth = {"r18": 18, "r50": 50}.get(body, 101)
    weights = f"open-mmlab://detectron2/resnet{depth}_caffe" if match["caffe"] else f"torchvision://resnet{depth}"
    backbone: Settings = {"depth": depth, "init_cfg": {"type": "Pretrained", "checkpoint": weights}}
    if body.startswith("x101"):
        groups, width = (int(number) for number in body.removeprefix("x101-").replace("d", "").split("x"))
        source = "detectron2/resnext101_32x8d" if width == 8 else f"resnext101_{groups}x{width}d"
        backbone |= {"type": "ResNeXt", "groups": groups, "base_width": width}
        backbone["init_cfg"]["checkpoint"] = f"open-mmlab://{source}"
    if match["dcn"]:
        kind = "DCNv2" if match["dcn"].startswith("-m") else "DCN"
        groups = 4 if "group4" in match["dcn"] else 1
        dcn = {"type": kind, "deform_groups": groups, "fallback_on_stride": False}
        backbone |= {"dcn": dcn, "stage_with_dcn": (False, True, True, True)}
    changes.append({"model": {"backbone": backbone}})
    if body == "r18":
        changes.append({"model": {"neck": {"in_channels": [64, 128, 256, 512]}}})
    if caffe_body:
        changes.append(_caffe())
    if body == "x101-32x8d":
        changes.append(_bgr(std=[57.375, 57.120, 58.395], frozen=True))
    if match["neck"] == "pafpn":
        changes.append({"model": {"neck": {"type": "PAFPN"}}})
    if match["gn"]:
        changes.append(_group_norm(depth, has_mask="mask" in match["model"]))
    changes += _variants(match)
    return changes


def _variants(match: "re.Match[str]") -> list[Settings]:
    changes: list[Settings] = [{"optim_wrapper": {"type": "AmpOptimWrapper"}}] if match["amp"] else []
    if match["loss"]:
        kind, weight = {"iou": ("IoULoss", 10.0), "giou": ("GIoULoss", 10.0), "ciou": ("CIoULoss", 12.0)}[match["loss"]]
        head = {"reg_decoded_bbox": True, "loss_bbox": {"type": kind, "loss_weight": weight}}
        changes.append({"model": {"roi_head": {"bbox_head": head}}})
    if match["special"] == "soft-nms_":
        nms = {"type": "soft_nms", "iou_threshold": 0.5}
        changes.append({"model": {"test_cfg": {"rcnn": {"nms": nms}}}})
    if match["special"] == "ohem_":
        changes.append({"model": {"train_cfg": {"rcnn": {"sampler": {"type": "OHEMSampler"}}}}})
    return changes


def _caffe() -> Settings:
    change = _bgr(std=_BGR_STD, frozen=True)
    change["model"]["backbone"]["style"] = "caffe"
    return change


def _bgr(*, std: list[float], frozen: bool) -> Settings:
    pictures = {"mean": list(_BGR_MEAN), "std": list(std), "bgr_to_rgb": False}
    backbone = {"norm_cfg": {"requires_grad": False}} if frozen else {}
    return {"model": {"data_preprocessor": pictures, "backbone": backbone}}


def _group_norm(depth: int, *, has_mask: bool) -> Settings:
    norm = {"type": "GN", "num_groups": 32, "requires_grad": True}
    weights = f"open-mmlab://detectron/resnet{depth}_gn"
    change = _bgr(std=_BGR_STD, frozen=False)
    change["model"]["backbone"] = {"norm_cfg": norm, "init_cfg": {"type": "Pretrained", "checkpoint": weights}}
    head: Settings = {"type": "Shared4Conv1FCBBoxHead", "conv_out_channels": 256, "norm_cfg": norm}
    roi_head: Settings = {"bbox_head": head} | ({"mask_head": {"norm_cfg": norm}} if has_mask else {})
    change["model"] |= {"neck": {"norm_cfg": norm}, "roi_head": roi_head}
    return change


def _several_scales(config: Settings) -> Settings:
    """Shortest sides of 640, 672, ... 800."""
    scales = [(1333, side) for side in range(640, 801, 32)]
    return _resized(config, {"type": "RandomChoiceResize", "scales": scales, "keep_ratio": True})


def _three_times(config: Settings) -> Settings:
    """The 3x schedule: every image three times an epoch, 12 epochs, shortest sides from 640 to 800."""
    step = {"type": "RandomResize", "scale": [(1333, 640), (1333, 800)], "keep_ratio": True}
    config = _resized(config, step)
    loader = config["train_dataloader"]
    loader["dataset"] = {"type": "RepeatDataset", "times": 3, "dataset": loader["dataset"]}
    config["train_cfg"] = {"type": "EpochBasedTrainLoop", "max_epochs": 12, "val_interval": 1}
    warm_up, decay = config["param_scheduler"]
    config["param_scheduler"] = [warm_up, decay | {"end": 12, "milestones": [9, 11]}]
    return config


def _is_caffe_alone(match: "re.Match[str]") -> bool:
    """Models with Caffe's ResNets have schedules of their own: 36 epochs, one by one."""
    return match["caffe"] is not None and (
        match["model"] == "retinanet" or (match["model"], match["body"]) == ("mask", "r50")
    )


def _keep_polygons(config: Settings) -> None:
    dataset = config["train_dataloader"]["dataset"]
    pipeline = dataset.get("dataset", dataset)["pipeline"]
    pipeline[1] = pipeline[1] | {"poly2mask": False}


def _resized(config: Settings, step: Settings) -> Settings:
    config = copied(config)
    pipeline = config["train_dataloader"]["dataset"]["pipeline"]
    config["train_dataloader"]["dataset"]["pipeline"] = [
        step if part["type"] == "Resize" else part for part in pipeline
    ]
    config["train_pipeline"] = config["train_dataloader"]["dataset"]["pipeline"]
    return config


def _dashes(stem: str) -> str:
    """mmdetection 2's spelling of a name in that of 3."""
    stem = re.sub(r"^(faster|mask|cascade|cascade_mask|fast)_rcnn", lambda m: m[0].replace("_", "-"), stem)
    stem = re.sub(r"_caffe(?=[_-]|$)", "-caffe", stem).replace("mstrain", "ms")
    stem = re.sub(r"_(32x4d|64x4d|32x8d)", r"-\1", stem)
    stem = re.sub(r"-caffe_(c4|dc5)", r"-caffe-\1", stem)
    stem = stem.replace("-c4-", "-c4_").replace("soft_nms", "soft-nms")
    stem = re.sub(r"(?<![a-z])ms_", "ms-", stem).replace("ms-poly_", "ms-poly-").replace("640-800_", "640-800-")
    stem = re.sub(r"_fpn_(fp16_)?(m?dconv)_c3-c5(_group4)?", _deformable, stem)
    return re.sub(r"_fp16_(?=\d)", "_amp-", stem)


def _deformable(match: re.Match[str]) -> str:
    """mmdetection 2 writes deformable convolutions behind the neck, 3 behind the backbone they are in."""
    amp, kind, groups = match.groups()
    return f"-{kind}{'-group4' if groups else ''}-c3-c5_fpn{'_fp16' if amp else ''}"
