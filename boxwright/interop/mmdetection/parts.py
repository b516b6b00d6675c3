"""Small parts that several places of an mmdetection model have: norms, losses, coders, poolings, samplers."""

from math import log2
from typing import Any

from boxwright.interop.tables.keys import Settings
from boxwright.interop.tables.typed_nodes import Node

_IOU_LOSSES = {"IoULoss": "iou", "GIoULoss": "giou", "DIoULoss": "diou", "CIoULoss": "ciou"}
_BOX_LOSSES = ("L1Loss", "SmoothL1Loss", *_IOU_LOSSES)


def norm(node: Node, group: str, *, is_eval: bool | None = None) -> Settings:
    """The norm of `node`. `is_eval` says whether batch norms keep their statistics while training (backbones)."""
    if node["norm_cfg"] is None:
        return {"kind": "none"}
    found = node.node("norm_cfg", "BN", "SyncBN", "MMSyncBN", "naiveSyncBN", "GN", group=group)
    if found is None:
        return {"kind": "none"}
    if found.kind == "GN":
        return {"kind": "gn", "groups": found["num_groups"], "eps": found["eps"]}
    if not found["requires_grad"]:
        if not is_eval:
            found.mistake("requires_grad", "is False, and statistics go on; frozen norms have norm_eval=True")
        return {"kind": "frozen_bn", "eps": found["eps"]}
    common = {"eps": found["eps"], "momentum": found["momentum"]}
    if is_eval:
        return {"kind": "bn", "statistics": "eval", **common}
    return {"kind": "bn" if found.kind == "BN" else "sync_bn", **common}


def box_loss(node: Node, group: str, default: Settings) -> Settings:
    """The box loss; IoU losses need decoded boxes, the others deltas."""
    loss = _opened(node, "loss_bbox", default, _BOX_LOSSES, group)
    if loss is None:
        return {"kind": "smooth_l1"}
    is_iou = loss.kind in _IOU_LOSSES
    if node["reg_decoded_bbox"] is not is_iou:
        node.mistake("reg_decoded_bbox", f"is {node['reg_decoded_bbox']}, which does not go with {loss.kind}")
    if is_iou:
        return {"kind": _IOU_LOSSES[loss.kind], "weight": loss["loss_weight"]}
    beta = loss["beta"] if loss.kind == "SmoothL1Loss" else 0.0
    return {"kind": "smooth_l1", "beta": beta, "weight": loss["loss_weight"]}


def class_loss(node: Node, group: str) -> Settings:
    """A box head's class loss."""
    loss = _opened(node, "loss_cls", {"type": "CrossEntropyLoss"}, ("CrossEntropyLoss", "FocalLoss"), group)
    if loss is None:
        return {"kind": "cross_entropy"}
    if loss.kind == "FocalLoss":
        return {"kind": "focal", "alpha": loss["alpha"], "gamma": loss["gamma"], "weight": loss["loss_weight"]}
    kind = "sigmoid_cross_entropy" if loss["use_sigmoid"] else "cross_entropy"
    return {"kind": kind, "weight": loss["loss_weight"]}


def box_weights(node: Node, group: str) -> tuple[float, ...]:
    """Ours multiply the deltas, mmdetection's standard deviations divide them."""
    coder = _opened(node, "bbox_coder", {"type": "DeltaXYWHBBoxCoder"}, ("DeltaXYWHBBoxCoder",), group)
    if coder is None:
        return (1.0, 1.0, 1.0, 1.0)
    return tuple(round(1.0 / deviation, 12) for deviation in coder["target_stds"])


def matching(node: Node, group: str) -> Settings:
    """The assigner of `node`, and which anchors take part."""
    assigner = node.node("assigner", "MaxIoUAssigner", group=group)
    if assigner is None:
        node.mistake("assigner", "must be given")
        return {}
    negative = assigner["neg_iou_thr"]
    low, high = (0.0, negative) if isinstance(negative, int | float) else negative
    share, border = assigner["ignore_iof_thr"], node["allowed_border"]
    return {
        "positive_iou": assigner["pos_iou_thr"],
        "negative_iou": high,
        "negative_iou_low": low,
        "low_quality": assigner["match_low_quality"],
        "low_quality_iou": assigner["min_pos_iou"] if assigner["match_low_quality"] else 0.0,
        "inside_border": float(border) if border >= 0 else None,
        "crowd_share": share if share > 0 else None,
    }


def sampling(node: Node, group: str) -> tuple[Settings, bool]:
    """The sampler, and whether ground truth joins the proposals."""
    sampler = node.node("sampler", "RandomSampler", "OHEMSampler", "PseudoSampler", group=group)
    if sampler is None or sampler.kind == "PseudoSampler":
        return {"kind": "all"}, False
    kind = "ohem" if sampler.kind == "OHEMSampler" else "random"
    plain = {"kind": kind, "size": sampler["num"], "positive_fraction": sampler["pos_fraction"]}
    return plain, bool(sampler["add_gt_as_proposals"])


def pooling(node: Node, name: str, group: str, *, levels: list[str] | None) -> Settings:
    """A region extractor. `levels` are given where there is no FPN."""
    extractor = node.node(name, "SingleRoIExtractor", group=group)
    layer = extractor.node("roi_layer", "RoIAlign", "RoIPool") if extractor else None
    if extractor is None or layer is None:
        return {}
    strides = [int(stride) for stride in extractor["featmap_strides"]]
    finest = int(log2(strides[0]))
    size = layer["out_size"] or layer["output_size"]
    plain = {
        "kind": "align" if layer.kind == "RoIAlign" else "pool",
        "size": size[0] if isinstance(size, list | tuple) else size,
        "levels": levels or [f"p{int(log2(stride))}" for stride in strides],
        "canonical_size": extractor["finest_scale"],
        "canonical_level": finest,
    }
    if layer.kind == "RoIAlign":
        samples = layer["sampling_ratio"] if layer["sample_num"] is None else layer["sample_num"]
        plain |= {"sampling_ratio": samples, "aligned": layer["aligned"]}
    return plain


def nms_iou(node: Node, group: str) -> float:
    """The threshold of plain NMS, in its present or its former spelling."""
    if "nms_thr" in node.keys and node["nms_thr"] is not None:
        return float(node["nms_thr"])
    nms = node.node("nms", "nms", group=group)
    return float(_threshold(nms)) if nms else 0.7


def selection(node: Node) -> Settings:
    """How detections are chosen from scores: a `test_cfg` part as our `test` section."""
    nms = node.node("nms", "nms", "soft_nms", group="test")
    plain: Settings = {"score_threshold": node["score_thr"], "max_detections": node["max_per_img"], "nms": "hard"}
    if nms is None:
        return plain
    plain |= {"nms_iou": _threshold(nms), "nms_class_agnostic": nms["class_agnostic"]}
    if nms.kind == "soft_nms":
        method = nms["method"]
        if method not in ("linear", "gaussian"):
            nms.mistake("method", f"is {method!r}; known are linear and gaussian")
            method = "linear"
        plain |= {"nms": method, "nms_sigma": nms["sigma"], "soft_min_score": nms["min_score"]}
    return plain


def _threshold(nms: Node) -> Any:
    return nms["iou_threshold"] if nms["iou_thr"] is None else nms["iou_thr"]


def _opened(node: Node, name: str, default: Settings, kinds: tuple[str, ...], group: str) -> Node | None:
    """The dictionary under `name`, or mmdetection's default for it."""
    if node[name] is None:
        return Node(default, path=node.at(name), kind=default["type"], group=group, reading=node.reading, quiet=True)
    return node.node(name, *kinds, group=group)
