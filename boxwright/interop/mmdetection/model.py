"""The model of an mmdetection config: from its dictionaries to our `model` section, as plain data."""

from typing import Any

from boxwright.config.conventions import MMDETECTION
from boxwright.interop.mmdetection.parts import (
    box_loss,
    box_weights,
    class_loss,
    matching,
    nms_iou,
    norm,
    pooling,
    sampling,
    selection,
)
from boxwright.interop.tables.keys import Settings
from boxwright.interop.tables.typed_nodes import Node

_SHARED = {"Shared2FCBBoxHead": (0, 2), "Shared4Conv1FCBBoxHead": (4, 1)}
_TOP_INPUTS = {"on_input": "c5", "on_lateral": "lateral", "on_output": "p5"}
_UPSAMPLINGS = {"deconv": "deconv", "bilinear": "bilinear"}


class MmModel:
    """Works out the `model` and `test` sections from the node of `model`."""

    def __init__(self, model: Node) -> None:
        self.model = model
        self.weights: str | None = None
        self.train_cfg = self._part("train_cfg")
        self.test_cfg = self._part("test_cfg")
        self.order = "ratio_major"
        self.mask_targets = "bitmaps"

    def _part(self, name: str) -> Node:
        found = self.model.node(name, name, group="model")
        return found or Node({}, path=name, kind=name, group="model", reading=self.model.reading)

    def sections(self) -> tuple[Settings, Settings]:
        """Our `model` and `test` settings."""
        if self.model.kind == "RetinaNet":
            return self.retinanet(), selection(self.test_cfg)
        return self.rcnn()

    def rcnn(self) -> tuple[Settings, Settings]:
        """Our `model` and `test` settings of a two-stage detector."""
        backbone = self.model.node("backbone", "ResNet", "ResNeXt", group="model.backbone")
        heads = None
        if self.model.kind != "RPN":
            heads = self.model.node("roi_head", "StandardRoIHead", "CascadeRoIHead", group="model.box_head")
        neck, levels = self.neck(backbone)
        box_head, mask_head, test, classes = self.heads(heads, levels)
        proposals = self.proposals()
        changes = {"anchor_order": self.order, "mask_targets": self.mask_targets}
        if mask_head:
            changes["region_frame"] = "network"
        model = {
            "kind": "rcnn",
            "num_classes": classes,
            "conventions": MMDETECTION.model_dump() | changes,
            "input": self.input(),
            "backbone": self.backbone(backbone),
            "neck": neck,
            "proposals": proposals.pop("part"),
            "box_head": box_head,
            "mask_head": mask_head,
        }
        return model | proposals, test

    def input(self) -> Settings:
        """The rest of the section, the resizing, stands in the data pipelines."""
        node = self.model.node("data_preprocessor", "DetDataPreprocessor")
        if node is None:
            self.model.mistake("data_preprocessor", "must be given: mean, std and the order of the channels")
            return {}
        mean, std = node["mean"], node["std"]
        return {
            "channels": "rgb" if node["bgr_to_rgb"] else "bgr",
            "value_range": 255,
            "mean": tuple(mean) if mean else (0.0, 0.0, 0.0),
            "std": tuple(std) if std else (1.0, 1.0, 1.0),
            "pad_to": node["pad_size_divisor"],
        }

    def backbone(self, node: Node | None) -> Settings:
        """Our `model.backbone`."""
        if node is None:
            return {}
        plain = {
            "kind": "resnet",
            "depth": node["depth"],
            "stride_in_1x1": node["style"] == "caffe",
            "norm": norm(node, "model.backbone.norm", is_eval=node["norm_eval"]),
            "frozen_stages": node["frozen_stages"] + 1,
            "dilated_c5": self.is_dilated(node),
            "deformable": self.deformable(node),
            "zero_init_residual": node["zero_init_residual"],
        }
        if node["style"] not in ("pytorch", "caffe"):
            node.mistake("style", f"is {node['style']!r}; known are pytorch and caffe")
        if node.kind == "ResNeXt":
            plain |= {"groups": node["groups"], "width_per_group": node["base_width"]}
        self.weights = node["pretrained"]
        if node["init_cfg"] is not None and not isinstance(node["init_cfg"], list):
            initial = node.node("init_cfg", "Pretrained")
            self.weights = initial["checkpoint"] if initial else None
        return plain

    def is_dilated(self, node: Node) -> bool:
        """Whether the last stage keeps the resolution of the one before it."""
        stages = node["num_stages"]
        strides, dilations = tuple(node["strides"])[:stages], tuple(node["dilations"])[:stages]
        plain = ((1, 2, 2, 2)[:stages], (1, 1, 1, 1)[:stages])
        if stages in (3, 4) and (strides, dilations) == plain:
            return False
        if (strides, dilations) != ((1, 2, 2, 1), (1, 1, 1, 2)):
            node.mistake("strides", f"are {strides} with dilations {dilations}; only the last stage can be dilated")
        return True

    def deformable(self, node: Node) -> Settings | None:
        """Our deformable convolutions of the backbone, by stage."""
        flags = list(node["stage_with_dcn"])
        dcn = node.node("dcn", "DCN", "DCNv2") if node["dcn"] is not None else None
        if dcn is None or not any(flags):
            return None
        if flags[0]:
            node.mistake("stage_with_dcn", f"is {flags}; the last three stages can be deformable")
        groups = dcn["deformable_groups"] if "deformable_groups" in dcn else dcn["deform_groups"]
        stages = [f"c{index + 2}" for index, flag in enumerate(flags) if flag and index]
        return {"version": 2 if dcn.kind == "DCNv2" else 1, "stages": stages, "groups": groups}

    def neck(self, backbone: Node | None) -> tuple[Settings, list[str] | None]:
        """Our neck, and the one level that is read without an FPN."""
        outputs = list(backbone["out_indices"]) if backbone else [0, 1, 2, 3]
        if self.model["neck"] is None and backbone:
            level = f"c{outputs[-1] + 2}"
            if level not in ("c4", "c5") or len(outputs) != 1:
                self.model.mistake("backbone.out_indices", f"is {outputs}; without a neck it is (2,) or (3,)")
                level = "c4"
            return {"kind": "none", "level": level}, [level]
        node = self.model.node("neck", "FPN", "PAFPN", group="model.neck") if self.model["neck"] else None
        if node is None:
            return {}, None
        used = outputs[node["start_level"] :]
        plain = {
            "kind": "fpn" if node.kind == "FPN" else "pafpn",
            "in_levels": [f"c{index + 2}" for index in used],
            "channels": node["out_channels"],
            "norm": norm(node, "model.neck.norm"),
            "norm_on_lateral": not node["no_norm_on_lateral"],
            **self.neck_top(node, node["num_outs"] - len(used)),
        }
        return plain, None

    def neck_top(self, node: Node, extra: int) -> Settings:
        """How levels above the backbone's last are made."""
        convs = node["add_extra_convs"]
        if not convs:
            tops: tuple[str, ...] = ("none", "max_pool")
        else:
            tops = ("none", "p6", "p6p7")
        if not 0 <= extra < len(tops):
            node.mistake("num_outs", f"is {node['num_outs']}: {extra} extra levels, and 0 to {len(tops) - 1} are known")
            extra = 0
        source = "on_input" if convs in (True, False) else convs
        if source not in _TOP_INPUTS:
            node.mistake("add_extra_convs", f"is {convs!r}; known are {', '.join(_TOP_INPUTS)}")
        relu = "between" if node["relu_before_extra_convs"] else "never"
        return {"top": tops[extra], "top_input": _TOP_INPUTS.get(source, "c5"), "top_relu": relu}

    def anchors(self, head: Node) -> Settings:
        """Our `model.anchors`."""
        node = head.node("anchor_generator", "AnchorGenerator", group="model.anchors")
        if node is None:
            return {"sizes": [[32.0]]}
        self.order = "ratio_major" if node["scale_major"] else "size_major"
        strides = [stride[0] if isinstance(stride, list | tuple) else stride for stride in node["strides"]]
        bases = node["base_sizes"] or strides
        scales = node["scales"]
        if node["octave_base_scale"] is not None and node["scales_per_octave"] is not None:
            octaves = node["scales_per_octave"]
            scales = [node["octave_base_scale"] * 2 ** (octave / octaves) for octave in range(octaves)]
        if not scales or len(bases) != len(strides):
            node.mistake("scales", "must be given, or octave_base_scale and scales_per_octave")
            scales = [8]
        sizes = [[float(base * scale) for scale in scales] for base in bases]
        return {"sizes": sizes, "aspect_ratios": [list(node["ratios"])], "offset": node["center_offset"]}

    def proposals(self) -> Settings:
        """Our `model.proposals`."""
        head = self.model["rpn_head"] if "rpn_head" in self.model.keys else None
        if head is None:
            return {"part": {"kind": "precomputed", "top_k": {"train": 2000, "test": 1000}}}
        node = self.model.node("rpn_head", "RPNHead", group="model.proposals")
        train = self.train_cfg.node("rpn", "train_part", group="model.proposals")
        test = self.test_cfg.node("rpn", "proposal_part", group="model.proposals")
        kept = self.train_cfg.node("rpn_proposal", "proposal_part") if self.train_cfg["rpn_proposal"] else test
        if train is None or test is None or kept is None:
            self.model.mistake("train_cfg.rpn", "and test_cfg.rpn must be given with an rpn_head")
        if node is None or train is None or test is None or kept is None:
            return {"part": {"kind": "rpn"}}
        loss = {"type": "SmoothL1Loss", "beta": 1 / 9}
        part = {
            "kind": "rpn",
            "conv_channels": [node["feat_channels"]] * node["num_convs"],
            "score": self.rpn_score(node),
            "box_weights": box_weights(node, "model.proposals"),
            "matching": matching(train, "model.proposals"),
            "sampling": sampling(train, "model.proposals")[0],
            "pre_nms_top_k": {"train": kept["nms_pre"], "test": test["nms_pre"]},
            "post_nms_top_k": {"train": _kept(kept), "test": _kept(test)},
            "nms_iou": self.same(kept, test),
            "min_size": test["min_bbox_size"],
            "box_loss": box_loss(node, "model.proposals.box_loss", loss),
            "class_loss_weight": (node["loss_cls"] or {}).get("loss_weight", 1.0),
        }
        if kept["min_bbox_size"] != test["min_bbox_size"]:
            kept.mistake("min_bbox_size", "differs from the one of test_cfg; here both are one setting")
        return {"part": part, "anchors": self.anchors(node)}

    def rpn_score(self, node: Node) -> str:
        """The RPN's loss of scores: one logit an anchor."""
        loss = node.node("loss_cls", "CrossEntropyLoss", group="model.proposals") if node["loss_cls"] else None
        if loss and not loss["use_sigmoid"]:
            return "softmax"
        return "sigmoid"

    def same(self, train: Node, test: Node) -> float:
        """The overlap of the proposals' NMS, which training and tests share here."""
        threshold = nms_iou(test, "model.proposals")
        if train is not test and nms_iou(train, "model.proposals") != threshold:
            train.mistake("nms", "has another threshold than that of test_cfg; here both are one setting")
        return threshold

    def heads(
        self, node: Node | None, levels: list[str] | None
    ) -> tuple[Settings | None, Settings | None, Settings, int]:
        """The box head, the mask head, which detections are kept, and the number of classes."""
        test = self.test_cfg.node("rcnn", "test_part", group="test") if self.test_cfg["rcnn"] else None
        chosen = selection(test) if test else {}
        if test:
            chosen["mask_threshold"] = test["mask_thr_binary"]
        if node is None:
            return None, None, chosen, 1
        train = self.train_cfg.nodes("rcnn", "train_part", group="model.box_head")
        heads = node.nodes("bbox_head", "Shared2FCBBoxHead", "Shared4Conv1FCBBoxHead", "ConvFCBBoxHead", "BBoxHead")
        if not train or not heads:
            if not train or not node["bbox_head"]:
                node.mistake("", "needs a bbox_head and train_cfg.rcnn")
            return None, None, chosen, 1
        box_head = self.box_head(node, heads[0], train[0], levels)
        if node.kind == "CascadeRoIHead":
            box_head["cascade"] = self.cascade(node, heads, train)
        has_mask = node["mask_head"] is not None
        return box_head, self.mask_head(node, levels) if has_mask else None, chosen, heads[0]["num_classes"]

    def box_head(self, node: Node, head: Node, train: Node, levels: list[str] | None) -> Settings:
        """Our `model.box_head`."""
        taken, joins = sampling(train, "model.box_head")
        return {
            "features": self.box_features(node, head),
            "pooling": pooling(node, "bbox_roi_extractor", "model.box_head.pooling", levels=levels),
            "class_agnostic": head["reg_class_agnostic"],
            "box_weights": box_weights(head, "model.box_head"),
            "matching": matching(train, "model.box_head"),
            "sampling": taken,
            "use_ground_truth": joins,
            "class_loss": class_loss(head, "model.box_head.class_loss"),
            "box_loss": box_loss(head, "model.box_head.box_loss", {"type": "SmoothL1Loss"}),
        }

    def box_features(self, node: Node, head: Node) -> Settings:
        """The layers between the pooled regions and the box head's outputs."""
        shared = node.node("shared_head", "ResLayer") if node["shared_head"] is not None else None
        if head.kind == "BBoxHead":
            if shared is None or not head["with_avg_pool"]:
                head.mistake("with_avg_pool", "must be True, and there must be a shared_head, for a plain BBoxHead")
            return {"kind": "res5"}
        if shared is not None:
            node.mistake("shared_head", "goes with a plain BBoxHead only")
        if head.kind == "ConvFCBBoxHead":
            convs, fcs = head["num_shared_convs"], head["num_shared_fcs"]
        else:
            convs, fcs = _SHARED[head.kind]
        return {
            "kind": "conv_fc",
            "convs": [head["conv_out_channels"]] * convs,
            "fcs": [head["fc_out_channels"]] * fcs,
            "norm": norm(head, "model.box_head.features.norm") if convs else {"kind": "none"},
        }

    def cascade(self, node: Node, heads: list[Node], train: list[Node]) -> list[Settings]:
        """The settings of a box head with several stages."""
        weights = list(node["stage_loss_weights"])
        if not len(heads) == len(train) == len(weights) == node["num_stages"]:
            node.mistake("bbox_head", f"are {len(heads)}, train_cfg.rcnn {len(train)}, num_stages {node['num_stages']}")
            return []
        stages = []
        for index, (head, part) in enumerate(zip(heads, train, strict=True)):
            match = matching(part, "model.box_head")
            if match.get("positive_iou") != match.get("negative_iou"):
                part.mistake("assigner", "has two thresholds; a stage of a cascade has one here")
            if index and _alike(head) != _alike(heads[0]):
                head.mistake("", "differs from the first; the stages of a cascade are alike but for their boxes")
            stages.append(
                {
                    "positive_iou": match.get("positive_iou"),
                    "box_weights": box_weights(head, "model.box_head"),
                    "loss_weight": weights[index],
                }
            )
        return stages

    def mask_head(self, node: Node, levels: list[str] | None) -> Settings:
        """Our `model.mask_head`, None without one."""
        is_shared = node["mask_roi_extractor"] is None
        heads = node.nodes("mask_head", "FCNMaskHead", group="model.mask_head")
        if not heads:
            return {}
        head = heads[0]
        if any(dict(other.content) != dict(head.content) for other in heads[1:]):
            node.mistake("mask_head", "differ; the stages' mask heads are alike here")
        if is_shared and node["shared_head"] is None:
            node.mistake("mask_roi_extractor", "is None without a shared_head")
        name = "bbox_roi_extractor" if is_shared else "mask_roi_extractor"
        upsampling = head["upsample_cfg"] or {"type": None}
        kind = upsampling.get("type")
        if kind not in (*_UPSAMPLINGS, None) or upsampling.get("scale_factor", 2) != 2:
            head.mistake("upsample_cfg", f"is {upsampling}; known are deconv and bilinear by 2, and none")
        return {
            "features": "box" if is_shared else "own",
            "convs": [head["conv_out_channels"]] * head["num_convs"],
            "norm": norm(head, "model.mask_head.norm"),
            "upsample": _UPSAMPLINGS.get(kind or "", "none"),
            "upsample_channels": head["conv_out_channels"],
            "pooling": pooling(node, name, "model.mask_head.pooling", levels=levels),
            "class_agnostic": bool(head["class_agnostic"]),
            "per_stage": node.kind == "CascadeRoIHead",
            "loss_weight": (head["loss_mask"] or {}).get("loss_weight", 1.0),
        }

    def retinanet(self) -> Settings:
        """Our `model` settings of a RetinaNet."""
        backbone = self.model.node("backbone", "ResNet", "ResNeXt", group="model.backbone")
        head = self.model.node("bbox_head", "RetinaHead", group="model")
        neck, _ = self.neck(backbone)
        if head is None or neck.get("kind") == "none":
            if not self.model["bbox_head"] or neck:
                self.model.mistake("bbox_head", "and an FPN make a RetinaNet")
            return {}
        anchors = self.anchors(head)
        loss = head.node("loss_cls", "FocalLoss", group="model.class_loss")
        focal = {"alpha": loss["alpha"], "gamma": loss["gamma"], "weight": loss["loss_weight"]} if loss else {}
        return {
            "kind": "retinanet",
            "num_classes": head["num_classes"],
            "conventions": MMDETECTION.model_dump() | {"anchor_order": self.order},
            "input": self.input(),
            "backbone": self.backbone(backbone),
            "neck": neck,
            "anchors": anchors,
            "convs": [head["feat_channels"]] * head["stacked_convs"],
            "head_norm": norm(head, "model.head_norm"),
            "box_weights": box_weights(head, "model"),
            "matching": matching(self.train_cfg, "model"),
            "class_loss": focal,
            "box_loss": box_loss(head, "model.box_loss", {"type": "SmoothL1Loss", "beta": 1 / 9}),
            "loss_average": "positives",
            "pre_nms_top_k": self.test_cfg["nms_pre"],
        }


def _kept(node: Node) -> Any:
    return node["max_per_img"] if node["max_num"] is None else node["max_num"]


def _alike(head: Node) -> dict[str, Any]:
    return {name: value for name, value in head.content.items() if name != "bbox_coder"}
