"""The model that a LazyConfig file describes, written into the tree of Detectron2's YAML settings."""

import re
from typing import Any

from boxwright.interop.tables.keys import Mistakes
from boxwright.interop.tables.typed_nodes import Node
from boxwright.interop.tables.yacs import YacsTree

_BOX, _MASK, _KEYPOINT = "MODEL.ROI_BOX_HEAD", "MODEL.ROI_MASK_HEAD", "MODEL.ROI_KEYPOINT_HEAD"
_NORM_NAMES = {
    "FrozenBatchNorm2d": "FrozenBN",
    "NaiveSyncBatchNorm": "SyncBN",
    "SyncBatchNorm": "SyncBN",
    "BatchNorm2d": "BN",
    "GroupNorm": "GN",
}


class LazyModel:
    """Fills `settings` from the nodes of `model`. The YAML settings then have one meaning, written once."""

    def __init__(self, settings: YacsTree, mistakes: Mistakes) -> None:
        self.settings = settings
        self.mistakes = mistakes

    def set(self, path: str, value: Any) -> None:
        """Sets a setting of Detectron2's YAML form."""
        self.settings.assign(path, value, self.mistakes)

    def copy(self, node: Node, *names: str) -> None:
        """Arguments that are YAML settings under another name."""
        for name in names:
            self.set(node.keys[name].ours[0].replace("*", node.group), node[name])

    def norm(self, node: Node, name: str) -> str:
        """A norm by its name, its class or a function that makes it."""
        value = node[name]
        if value is None:
            return ""
        words = [_NORM_NAMES[word] for word in _NORM_NAMES if re.search(rf"\b{word}\b", str(value))]
        return words[0] if words else str(value)

    def read(self, model: Node) -> None:
        """Reads the whole model."""
        self.set("MODEL.META_ARCHITECTURE", model.kind)
        self.copy(model, "pixel_mean", "pixel_std")
        if "input_format" in model.keys:
            self.set("INPUT.FORMAT", model["input_format"] or "BGR")
            self.set("VIS_PERIOD", model["vis_period"])
        if model.kind == "RetinaNet":
            self.retinanet(model)
        elif rpn := model.node("proposal_generator", "RPN", group="MODEL.RPN"):
            self.rpn(rpn)
        if backbone := model.node("backbone", "FPN", "ResNet"):
            self.backbone(backbone, is_retinanet=model.kind == "RetinaNet")
        if model.kind == "GeneralizedRCNN":
            heads = model.node("roi_heads", "StandardROIHeads", "Res5ROIHeads", "CascadeROIHeads")
            if heads:
                self.heads(heads)

    def backbone(self, node: Node, *, is_retinanet: bool) -> None:
        """Reads the backbone, with its pyramid if it has one."""
        resnet: Node | None = node
        self.set("MODEL.BACKBONE.NAME", "build_resnet_backbone")
        if node.kind == "FPN":
            top = node.node("top_block", "LastLevelP6P7" if is_retinanet else "LastLevelMaxPool")
            if top is None and node["top_block"] is None:
                node.mistake("top_block", "is None; an FPN has an extra level here")
            name = "build_retinanet_resnet_fpn_backbone" if is_retinanet else "build_resnet_fpn_backbone"
            self.set("MODEL.BACKBONE.NAME", name)
            self.copy(node, "in_features", "out_channels", "fuse_type")
            self.set("MODEL.FPN.NORM", self.norm(node, "norm"))
            resnet = node.node("bottom_up", "ResNet")
        if resnet:
            self.resnet(resnet)

    def resnet(self, node: Node) -> None:
        """Reads a ResNet."""
        stem, stages = node.node("stem", "BasicStem"), node.node("stages", "make_default_stages")
        self.copy(node, "out_features", "freeze_at")
        if stem and stages:
            self.copy(stem, "out_channels")
            self.copy(stages, "depth", "stride_in_1x1")
            self.set("MODEL.RESNETS.RES2_OUT_CHANNELS", 64 if stages["depth"] in (18, 34) else 256)
            norm = self.norm(stages, "norm")
            if self.norm(stem, "norm") != norm:
                stem.mistake("norm", f"is {stem['norm']}, and the stages have {stages['norm']}; here both are one")
            self.set("MODEL.RESNETS.NORM", norm)

    def rpn(self, node: Node) -> None:
        """Reads the RPN."""
        names = ("in_features", "batch_size_per_image", "positive_fraction", "nms_thresh", "min_box_size")
        self.copy(node, *names, "anchor_boundary_thresh", "box_reg_loss_type", "smooth_l1_beta")
        for name in ("pre_nms_topk", "post_nms_topk"):
            train, test = node[name]
            self.set(f"MODEL.RPN.{name.upper()}_TRAIN", train)
            self.set(f"MODEL.RPN.{name.upper()}_TEST", test)
        if head := node.node("head", "StandardRPNHead"):
            self.copy(head, "conv_dims")
        if generator := node.node("anchor_generator", "DefaultAnchorGenerator"):
            self.anchors(generator)
        self.matcher(node, "anchor_matcher", "MODEL.RPN")
        self.deltas(node, "box2box_transform", "MODEL.RPN")
        weights = _loss_weights(node["loss_weight"], "loss_rpn_cls", "loss_rpn_loc")
        self.set("MODEL.RPN.LOSS_WEIGHT", weights[0])
        self.set("MODEL.RPN.BBOX_REG_LOSS_WEIGHT", weights[1] / weights[0] if weights[0] else weights[1])

    def anchors(self, node: Node) -> None:
        """Reads the anchors."""
        ratios = node["aspect_ratios"]
        is_flat = bool(ratios) and not isinstance(ratios[0], list | tuple)
        self.copy(node, "sizes", "offset")
        self.set("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", [list(ratios)] if is_flat else ratios)

    def matcher(self, node: Node, name: str, group: str) -> None:
        """Reads the thresholds and labels of a Matcher."""
        if matcher := node.node(name, "Matcher", group=group):
            self.copy(matcher, "thresholds", "labels")

    def deltas(self, node: Node, name: str, group: str) -> None:
        """Reads the weights of a Box2BoxTransform."""
        if transform := node.node(name, "Box2BoxTransform", group=group):
            self.set(f"{group}.BBOX_REG_WEIGHTS", tuple(float(weight) for weight in transform["weights"]))

    def pooler(self, node: Node, name: str, group: str) -> None:
        """Reads a ROIPooler."""
        if pooler := node.node(name, "ROIPooler", group=group):
            self.copy(pooler, "output_size", "sampling_ratio", "pooler_type")

    def heads(self, node: Node) -> None:
        """Reads the heads of the regions."""
        self.set("MODEL.ROI_HEADS.NAME", node.kind)
        self.copy(node, "num_classes", "batch_size_per_image", "positive_fraction", "proposal_append_gt")
        if node.kind == "Res5ROIHeads":
            self.copy(node, "in_features")
            self.pooler(node, "pooler", _BOX)
            node.node("res5", "make_stage")
        else:
            self.copy(node, "box_in_features", "train_on_pred_boxes")
            self.pooler(node, "box_pooler", _BOX)
            self.keypoints(node)
        self.masks(node)
        if node.kind == "CascadeROIHeads":
            self.cascade(node)
            return
        self.matcher(node, "proposal_matcher", "MODEL.ROI_HEADS")
        if node.kind == "StandardROIHeads" and (head := node.node("box_head", "FastRCNNConvFCHead")):
            self.box_head(head)
        if predictor := node.node("box_predictor", "FastRCNNOutputLayers", group=_BOX):
            self.predictor(predictor)
            self.deltas(predictor, "box2box_transform", _BOX)

    def cascade(self, node: Node) -> None:
        """Reads a box head of several stages."""
        heads = node.nodes("box_heads", "FastRCNNConvFCHead")
        predictors = node.nodes("box_predictors", "FastRCNNOutputLayers", group="MODEL.ROI_BOX_CASCADE_HEAD")
        matchers = node.nodes("proposal_matchers", "Matcher", group="MODEL.ROI_BOX_CASCADE_HEAD")
        if not heads or not len(heads) == len(predictors) == len(matchers):
            node.mistake("box_heads", f"are {len(heads)}, predictors {len(predictors)}, matchers {len(matchers)}")
            return
        for name, nodes in (("box_heads", heads), ("box_predictors", predictors)):
            if any(_without_weights(other.content) != _without_weights(nodes[0].content) for other in nodes[1:]):
                node.mistake(name, "differ; the stages of a cascade are alike here, but for IoU and box weights")
        self.box_head(heads[0])
        self.predictor(predictors[0])
        transforms = [p.node("box2box_transform", "Box2BoxTransform") for p in predictors]
        weights = tuple(tuple(float(w) for w in transform["weights"]) for transform in transforms if transform)
        self.set("MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS", weights)
        self.set("MODEL.ROI_BOX_CASCADE_HEAD.IOUS", tuple(matcher["thresholds"][0] for matcher in matchers))

    def box_head(self, node: Node) -> None:
        """Reads the box head's layers."""
        self.set(f"{_BOX}.NAME", node.kind)
        self.set(f"{_BOX}.NORM", self.norm(node, "conv_norm"))
        for name, kind in (("conv_dims", "CONV"), ("fc_dims", "FC")):
            self.layers(node, name, list(node[name]), f"{_BOX}.NUM_{kind}", f"{_BOX}.{kind}_DIM")

    def layers(self, node: Node, name: str, widths: list[int], number_path: str, width_path: str) -> None:
        """The YAML settings know layers of one width."""
        if len(set(widths)) > 1:
            node.mistake(name, f"is {widths}; the layers have one width here")
        self.set(number_path, len(widths))
        if widths:
            self.set(width_path, widths[0])

    def predictor(self, node: Node) -> None:
        """Reads the outputs of a box head, and which boxes are kept."""
        names = ("test_score_thresh", "test_nms_thresh", "test_topk_per_image", "cls_agnostic_bbox_reg")
        self.copy(node, *names, "smooth_l1_beta", "box_reg_loss_type", "use_fed_loss", "use_sigmoid_ce")
        classes, boxes = _loss_weights(node["loss_weight"], "loss_cls", "loss_box_reg")
        if classes != 1:
            node.mistake("loss_weight", f"weighs classes by {classes}, which the YAML settings cannot say")
        self.set(f"{_BOX}.BBOX_REG_LOSS_WEIGHT", boxes)

    def masks(self, node: Node) -> None:
        """Reads the mask head."""
        head = node.node("mask_head", "MaskRCNNConvUpsampleHead")
        self.set("MODEL.MASK_ON", head is not None)
        if head is None:
            return
        if node.kind != "Res5ROIHeads":
            self.pooler(node, "mask_pooler", _MASK)
            self.same_levels(node, "mask_in_features")
        widths = list(head["conv_dims"])
        self.layers(head, "conv_dims", widths, f"{_MASK}.NUM_CONV", f"{_MASK}.CONV_DIM")
        self.set(f"{_MASK}.NUM_CONV", len(widths) - 1)  # the last is the upsampling
        self.set(f"{_MASK}.NORM", self.norm(head, "conv_norm"))
        self.set(f"{_MASK}.CLS_AGNOSTIC_MASK", head["num_classes"] == 1 and node["num_classes"] != 1)

    def keypoints(self, node: Node) -> None:
        """Reads the keypoint head."""
        head = node.node("keypoint_head", "KRCNNConvDeconvUpsampleHead")
        self.set("MODEL.KEYPOINT_ON", head is not None)
        if head is None:
            return
        self.pooler(node, "keypoint_pooler", _KEYPOINT)
        self.same_levels(node, "keypoint_in_features")
        self.copy(head, "num_keypoints", "conv_dims", "loss_weight")
        if head["loss_normalizer"] != "visible":
            head.mistake("loss_normalizer", f"is {head['loss_normalizer']}; 'visible' is known")

    def same_levels(self, node: Node, name: str) -> None:
        """Notes a mistake where a head reads other levels than the box head."""
        if list(node[name] or ()) != list(node["box_in_features"]):
            node.mistake(name, f"is {node[name]}; the heads read the levels of box_in_features here")

    def retinanet(self, node: Node) -> None:
        """Reads a RetinaNet."""
        names = ("num_classes", "focal_loss_alpha", "focal_loss_gamma", "smooth_l1_beta", "box_reg_loss_type")
        self.copy(node, *names, "test_score_thresh", "test_topk_candidates", "test_nms_thresh")
        self.copy(node, "max_detections_per_image")
        self.set("MODEL.RETINANET.IN_FEATURES", node["head_in_features"])
        if head := node.node("head", "RetinaNetHead"):
            self.copy(head, "prior_prob")
            self.set("MODEL.RETINANET.NORM", self.norm(head, "norm"))
            widths = list(head["conv_dims"])
            if len(set(widths)) > 1:
                head.mistake("conv_dims", f"is {widths}; the layers have one width here")
            self.set("MODEL.RETINANET.NUM_CONVS", len(widths))
        if generator := node.node("anchor_generator", "DefaultAnchorGenerator"):
            self.anchors(generator)
        self.matcher(node, "anchor_matcher", "MODEL.RETINANET")
        self.deltas(node, "box2box_transform", "MODEL.RETINANET")


def _loss_weights(value: Any, classes: str, boxes: str) -> tuple[float, float]:
    if isinstance(value, dict):
        return float(value.get(classes, 1.0)), float(value.get(boxes, 1.0))
    return float(value), float(value)


def _without_weights(content: Any) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in ("box2box_transform", "input_shape")}
