"""The model of a Detectron2 config: from its complete settings to our `model` section, as plain data."""

from typing import Any

from boxwright.config.conventions import DETECTRON2
from boxwright.interop.tables.keys import Mistakes
from boxwright.interop.tables.yacs import YacsTree

_NORMS: dict[str, dict[str, Any]] = {
    "": {"kind": "none"},
    "FrozenBN": {"kind": "frozen_bn"},
    "BN": {"kind": "bn"},
    "GN": {"kind": "gn"},
    "SyncBN": {"kind": "sync_bn"},
    "nnSyncBN": {"kind": "sync_bn"},
    "naiveSyncBN": {"kind": "sync_bn"},
}
_POOLERS: dict[str, dict[str, Any]] = {
    "ROIAlignV2": {"kind": "align", "aligned": True},
    "ROIAlign": {"kind": "align", "aligned": False},
    "ROIPool": {"kind": "pool"},
}
_BACKBONES = {
    "build_resnet_backbone": "none",
    "build_resnet_fpn_backbone": "max_pool",
    "build_retinanet_resnet_fpn_backbone": "p6p7",
}
_IOU_LOSSES = ("giou", "diou", "ciou")


class Detectron2Model:
    """Works out the `model` section; wrong combinations are collected as mistakes."""

    def __init__(self, settings: YacsTree, mistakes: Mistakes) -> None:
        self.c = settings
        self.mistakes = mistakes
        self.top = self._top()
        self.has_fpn = self.top != "none"
        self.is_retinanet = settings["MODEL.META_ARCHITECTURE"] == "RetinaNet"
        self.is_precomputed = settings["MODEL.PROPOSAL_GENERATOR.NAME"] == "PrecomputedProposals"

    def section(self) -> dict[str, Any]:
        """Our `model` settings."""
        match self.c["MODEL.META_ARCHITECTURE"]:
            case "GeneralizedRCNN":
                return self.rcnn()
            case "ProposalNetwork":
                return self.rcnn() | {"box_head": None, "mask_head": None, "keypoint_head": None}
            case "RetinaNet":
                return self.retinanet()
            case "PanopticFPN" | "SemanticSegmentor" as other:
                why = "panoptic and semantic segmentation are not in the family"
            case other:
                why = "known are GeneralizedRCNN, ProposalNetwork, RetinaNet"
        self.mistakes.add("MODEL.META_ARCHITECTURE", f"is {other}; {why}")
        return {}

    def shared(self) -> dict[str, Any]:
        """What both kinds of detector have."""
        c = self.c
        targets = {"polygon": "polygons", "bitmask": "bitmaps"}
        if c["INPUT.MASK_FORMAT"] not in targets:
            self.mistakes.add("INPUT.MASK_FORMAT", f"is {c['INPUT.MASK_FORMAT']!r}; known are polygon and bitmask")
        targets_here = targets.get(c["INPUT.MASK_FORMAT"], "polygons")
        return {
            "conventions": DETECTRON2.model_dump() | {"mask_targets": targets_here},
            "input": self.input(),
            "backbone": self.backbone(),
            "neck": self.neck(),
            "anchors": self.anchors(),
        }

    def rcnn(self) -> dict[str, Any]:
        """Our `model` settings of a two-stage detector."""
        c = self.c
        has_heads = c["MODEL.META_ARCHITECTURE"] == "GeneralizedRCNN"
        return {
            "kind": "rcnn",
            "num_classes": c["MODEL.ROI_HEADS.NUM_CLASSES"],
            **self.shared(),
            "proposals": self.proposals(),
            "box_head": self.box_head() if has_heads else None,
            "mask_head": self.mask_head() if has_heads and c["MODEL.MASK_ON"] else None,
            "keypoint_head": self.keypoint_head() if has_heads and c["MODEL.KEYPOINT_ON"] else None,
        }

    def _top(self) -> str:
        name = self.c["MODEL.BACKBONE.NAME"]
        if name not in _BACKBONES:
            self.mistakes.add("MODEL.BACKBONE.NAME", f"is {name!r}; known are {', '.join(_BACKBONES)}")
        return _BACKBONES.get(name, "none")

    def input(self) -> dict[str, Any]:
        """Our `model.input`: channels, mean, deviation, sizes."""
        c = self.c
        short, channels = c["INPUT.MIN_SIZE_TRAIN"], {"BGR": "bgr", "RGB": "rgb"}.get(c["INPUT.FORMAT"])
        if channels is None:
            self.mistakes.add("INPUT.FORMAT", f"is {c['INPUT.FORMAT']!r}; known are BGR and RGB")
        if c["INPUT.MIN_SIZE_TEST"] == 0:
            self.mistakes.add("INPUT.MIN_SIZE_TEST", "is 0 (images as they are); give the size to resize to")
        resize = {
            "method": "pillow",
            "short_train": [short] if isinstance(short, int) else list(short),
            "short_train_mode": c["INPUT.MIN_SIZE_TRAIN_SAMPLING"],
            "short_test": c["INPUT.MIN_SIZE_TEST"] or 800,
            "long_train": c["INPUT.MAX_SIZE_TRAIN"],
            "long_test": c["INPUT.MAX_SIZE_TEST"],
        }
        mean, std = tuple(c["MODEL.PIXEL_MEAN"]), tuple(c["MODEL.PIXEL_STD"])
        pad_to = 2 ** _level(c["MODEL.FPN.IN_FEATURES"][-1]) if self.has_fpn else 1
        return {"channels": channels or "bgr", "mean": mean, "std": std, "resize": resize, "pad_to": pad_to}

    def norm(self, path: str) -> dict[str, Any]:
        """Our norm by the source's name."""
        name = self.c[path]
        if name not in _NORMS:
            self.mistakes.add(path, f"is {name!r}; known are {', '.join(filter(None, _NORMS))} and ''")
        return _NORMS.get(name, _NORMS[""])

    def backbone(self) -> dict[str, Any]:
        """Our `model.backbone`."""
        c, group = self.c, "MODEL.RESNETS"
        depth, dilation = c[f"{group}.DEPTH"], c[f"{group}.RES5_DILATION"]
        width = 64 if depth in (18, 34) else 256
        if c[f"{group}.RES2_OUT_CHANNELS"] != width:
            self.mistakes.add(f"{group}.RES2_OUT_CHANNELS", f"is {c[f'{group}.RES2_OUT_CHANNELS']}; expected {width}")
        if dilation not in (1, 2):
            self.mistakes.add(f"{group}.RES5_DILATION", f"is {dilation}; 1 and 2 are known")
        return {
            "kind": "resnet",
            "depth": depth,
            "groups": c[f"{group}.NUM_GROUPS"],
            "width_per_group": c[f"{group}.WIDTH_PER_GROUP"],
            "stride_in_1x1": c[f"{group}.STRIDE_IN_1X1"],
            "norm": self.norm(f"{group}.NORM"),
            "frozen_stages": c["MODEL.BACKBONE.FREEZE_AT"],
            "dilated_c5": dilation == 2,
            "deformable": self.deformable(),
        }

    def deformable(self) -> dict[str, Any] | None:
        """Our deformable convolutions of the backbone, by stage."""
        c, group = self.c, "MODEL.RESNETS"
        flags = list(c[f"{group}.DEFORM_ON_PER_STAGE"])
        if not any(flags):
            return None
        if flags[0] or len(flags) != 4:
            self.mistakes.add(f"{group}.DEFORM_ON_PER_STAGE", f"is {flags}; res3, res4 and res5 can be deformable")
        return {
            "version": 2 if c[f"{group}.DEFORM_MODULATED"] else 1,
            "stages": [f"c{index + 2}" for index, flag in enumerate(flags) if flag and index],
            "groups": c[f"{group}.DEFORM_NUM_GROUPS"],
        }

    def neck(self) -> dict[str, Any]:
        """Our `model.neck`."""
        c = self.c
        if not self.has_fpn:
            features = c["MODEL.RESNETS.OUT_FEATURES"]
            if len(features) != 1:
                self.mistakes.add("MODEL.RESNETS.OUT_FEATURES", f"is {features}; without an FPN one level is read")
            self._same_level("MODEL.RPN.IN_FEATURES", features)
            self._same_level("MODEL.ROI_HEADS.IN_FEATURES", features)
            return {"kind": "none", "level": features[0].replace("res", "c")}
        levels = list(c["MODEL.FPN.IN_FEATURES"])
        return {
            "kind": "fpn",
            "in_levels": [level.replace("res", "c") for level in levels],
            "channels": c["MODEL.FPN.OUT_CHANNELS"],
            "fuse": c["MODEL.FPN.FUSE_TYPE"],
            "norm": self.norm("MODEL.FPN.NORM"),
            "top": self._neck_top(levels),
            "top_input": "c5",
            "top_relu": "between",
        }

    def _same_level(self, path: str, features: list[str]) -> None:
        is_unused = (
            self.c["MODEL.META_ARCHITECTURE"] == "ProposalNetwork" if "ROI_HEADS" in path else self.is_precomputed
        )
        if is_unused:
            return
        if list(self.c[path]) != list(features):
            self.mistakes.add(path, f"is {self.c[path]}; without an FPN it is the backbone's level, {features}")

    def _neck_top(self, levels: list[str]) -> str:
        """An FPN whose extra level is in no IN_FEATURES has none here."""
        path = "MODEL.RETINANET.IN_FEATURES" if self.is_retinanet else "MODEL.RPN.IN_FEATURES"
        used, last = [_level(name) for name in self.c[path]], _level(levels[-1])
        given = [_level(name) for name in levels]
        extra = {"max_pool": 1, "p6p7": 2}[self.top]
        if self.is_precomputed and not self.is_retinanet:
            return self.top
        if used == given and self.top == "max_pool":
            return "none"
        if used != [*given, *range(last + 1, last + 1 + extra)]:
            self.mistakes.add(path, f"is {self.c[path]}; every level of the FPN is read here, from p{given[0]}")
        return self.top

    def anchors(self) -> dict[str, Any]:
        """Our `model.anchors`."""
        c, group = self.c, "MODEL.ANCHOR_GENERATOR"
        return {
            "sizes": _lists(c[f"{group}.SIZES"]),
            "aspect_ratios": _lists(c[f"{group}.ASPECT_RATIOS"]),
            "offset": c[f"{group}.OFFSET"],
        }

    def proposals(self) -> dict[str, Any]:
        """Our `model.proposals`."""
        name = self.c["MODEL.PROPOSAL_GENERATOR.NAME"]
        if name not in ("RPN", "PrecomputedProposals"):
            self.mistakes.add("MODEL.PROPOSAL_GENERATOR.NAME", f"is {name!r}; known are RPN and PrecomputedProposals")
        if self.c["MODEL.LOAD_PROPOSALS"] is not (name == "PrecomputedProposals"):
            self.mistakes.add("MODEL.LOAD_PROPOSALS", f"is {self.c['MODEL.LOAD_PROPOSALS']}, which does not fit {name}")
        return self.precomputed() if name == "PrecomputedProposals" else self.rpn()

    def precomputed(self) -> dict[str, Any]:
        """Our `model.proposals`, read from a file."""
        c, group = self.c, "DATASETS.PRECOMPUTED_PROPOSAL_TOPK"
        return {
            "kind": "precomputed",
            "top_k": {"train": c[f"{group}_TRAIN"], "test": c[f"{group}_TEST"]},
            "min_size": c["MODEL.PROPOSAL_GENERATOR.MIN_SIZE"],
        }

    def rpn(self) -> dict[str, Any]:
        """Our `model.proposals`, made by an RPN."""
        c, group = self.c, "MODEL.RPN"
        low, high = c[f"{group}.IOU_THRESHOLDS"]
        border, weight = c[f"{group}.BOUNDARY_THRESH"], c[f"{group}.LOSS_WEIGHT"]
        box_loss = self.box_loss(f"{group}.BBOX_REG_LOSS_TYPE", f"{group}.SMOOTH_L1_BETA")
        return {
            "kind": "rpn",
            "conv_channels": list(c[f"{group}.CONV_DIMS"]),
            "box_weights": tuple(c[f"{group}.BBOX_REG_WEIGHTS"]),
            "matching": {
                "positive_iou": high,
                "negative_iou": low,
                "low_quality": True,
                "inside_border": float(border) if border >= 0 else None,
            },
            "sampling": {
                "size": c[f"{group}.BATCH_SIZE_PER_IMAGE"],
                "positive_fraction": c[f"{group}.POSITIVE_FRACTION"],
            },
            "pre_nms_top_k": {
                "train": c[f"{group}.PRE_NMS_TOPK_TRAIN"],
                "test": c[f"{group}.PRE_NMS_TOPK_TEST"],
            },
            "post_nms_top_k": {
                "train": c[f"{group}.POST_NMS_TOPK_TRAIN"],
                "test": c[f"{group}.POST_NMS_TOPK_TEST"],
            },
            "nms_iou": c[f"{group}.NMS_THRESH"],
            "min_size": c["MODEL.PROPOSAL_GENERATOR.MIN_SIZE"],
            "box_loss": box_loss | {"weight": c[f"{group}.BBOX_REG_LOSS_WEIGHT"] * weight},
            "class_loss_weight": weight,
        }

    def box_loss(self, kind_path: str, beta_path: str) -> dict[str, Any]:
        """Our loss of boxes."""
        kind = self.c[kind_path]
        if kind == "smooth_l1":
            return {"kind": "smooth_l1", "beta": self.c[beta_path]}
        if kind not in _IOU_LOSSES:
            self.mistakes.add(kind_path, f"is {kind!r}; known are smooth_l1, {', '.join(_IOU_LOSSES)}")
        return {"kind": kind if kind in _IOU_LOSSES else "giou"}

    def box_head(self) -> dict[str, Any]:
        """Our `model.box_head`."""
        c, group, heads = self.c, "MODEL.ROI_BOX_HEAD", "MODEL.ROI_HEADS"
        thresholds = c[f"{heads}.IOU_THRESHOLDS"]
        if len(thresholds) != len(c[f"{heads}.IOU_LABELS"]) - 1:
            self.mistakes.add(f"{heads}.IOU_THRESHOLDS", f"is {thresholds}: one fewer than IOU_LABELS is needed")
        loss = self.box_loss(f"{group}.BBOX_REG_LOSS_TYPE", f"{group}.SMOOTH_L1_BETA")
        return {
            "features": self.box_features(),
            "pooling": self.pooling(group),
            "class_agnostic": c[f"{group}.CLS_AGNOSTIC_BBOX_REG"],
            "box_weights": tuple(c[f"{group}.BBOX_REG_WEIGHTS"]),
            "matching": {"positive_iou": thresholds[-1], "negative_iou": thresholds[0]},
            "sampling": {
                "size": c[f"{heads}.BATCH_SIZE_PER_IMAGE"],
                "positive_fraction": c[f"{heads}.POSITIVE_FRACTION"],
            },
            "use_ground_truth": c[f"{heads}.PROPOSAL_APPEND_GT"],
            "class_loss": {"kind": "sigmoid_cross_entropy" if c[f"{group}.USE_SIGMOID_CE"] else "cross_entropy"},
            "box_loss": loss | {"weight": c[f"{group}.BBOX_REG_LOSS_WEIGHT"]},
            "cascade": self.cascade() if c[f"{heads}.NAME"] == "CascadeROIHeads" else [],
        }

    def box_features(self) -> dict[str, Any]:
        """The layers between the pooled regions and the box head's outputs."""
        c, group, name = self.c, "MODEL.ROI_BOX_HEAD", self.c["MODEL.ROI_HEADS.NAME"]
        if name == "Res5ROIHeads":
            if c["MODEL.KEYPOINT_ON"]:
                self.mistakes.add("MODEL.KEYPOINT_ON", "is True: Res5ROIHeads have no keypoint head")
            return {"kind": "res5"}
        if name not in ("StandardROIHeads", "CascadeROIHeads"):
            known = "Res5ROIHeads, StandardROIHeads, CascadeROIHeads"
            self.mistakes.add("MODEL.ROI_HEADS.NAME", f"is {name!r}; known are {known}")
        if c[f"{group}.NAME"] != "FastRCNNConvFCHead":
            self.mistakes.add(f"{group}.NAME", f"is {c[f'{group}.NAME']!r}; FastRCNNConvFCHead is known")
        return {
            "kind": "conv_fc",
            "convs": [c[f"{group}.CONV_DIM"]] * c[f"{group}.NUM_CONV"],
            "fcs": [c[f"{group}.FC_DIM"]] * c[f"{group}.NUM_FC"],
            "norm": self.norm(f"{group}.NORM"),
        }

    def cascade(self) -> list[dict[str, Any]]:
        """The settings of a box head with several stages."""
        c, group = self.c, "MODEL.ROI_BOX_CASCADE_HEAD"
        weights, ious = c[f"{group}.BBOX_REG_WEIGHTS"], c[f"{group}.IOUS"]
        if len(weights) != len(ious):
            self.mistakes.add(f"{group}.IOUS", f"has {len(ious)} stages and BBOX_REG_WEIGHTS {len(weights)}")
        return [{"positive_iou": iou, "box_weights": tuple(weight)} for iou, weight in zip(ious, weights, strict=False)]

    def pooling(self, group: str) -> dict[str, Any]:
        """How regions are pooled for a head."""
        c, kind = self.c, self.c[f"{group}.POOLER_TYPE"]
        if kind not in _POOLERS:
            self.mistakes.add(f"{group}.POOLER_TYPE", f"is {kind!r}; known are {', '.join(_POOLERS)}")
        return {
            **_POOLERS.get(kind, {}),
            "size": c[f"{group}.POOLER_RESOLUTION"],
            "sampling_ratio": c[f"{group}.POOLER_SAMPLING_RATIO"],
            "levels": [level.replace("res", "c") for level in c["MODEL.ROI_HEADS.IN_FEATURES"]],
            "canonical_size": 224,
            "canonical_level": 4,
        }

    def mask_head(self) -> dict[str, Any]:
        """Our `model.mask_head`, None without one."""
        c, group = self.c, "MODEL.ROI_MASK_HEAD"
        is_res5 = c["MODEL.ROI_HEADS.NAME"] == "Res5ROIHeads"
        return {
            "features": "box" if is_res5 else "own",
            "convs": [c[f"{group}.CONV_DIM"]] * c[f"{group}.NUM_CONV"],
            "norm": self.norm(f"{group}.NORM"),
            "upsample": "deconv",
            "upsample_channels": c[f"{group}.CONV_DIM"],
            "pooling": self.pooling("MODEL.ROI_BOX_HEAD" if is_res5 else group),
            "class_agnostic": c[f"{group}.CLS_AGNOSTIC_MASK"],
        }

    def keypoint_head(self) -> dict[str, Any]:
        """Our `model.keypoint_head`, None without one."""
        c, group = self.c, "MODEL.ROI_KEYPOINT_HEAD"
        visible = c[f"{group}.NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS"]
        return {
            "num_keypoints": c[f"{group}.NUM_KEYPOINTS"],
            "convs": list(c[f"{group}.CONV_DIMS"]),
            "deconv": True,
            "upsample": 2,
            "pooling": self.pooling(group),
            "loss_weight": c[f"{group}.LOSS_WEIGHT"],
            "loss_average": "visible" if visible else "sampled",
        }

    def retinanet(self) -> dict[str, Any]:
        """Our `model` settings of a RetinaNet."""
        c, group = self.c, "MODEL.RETINANET"
        low, high = c[f"{group}.IOU_THRESHOLDS"]
        if not self.has_fpn:
            self.mistakes.add("MODEL.BACKBONE.NAME", "has no FPN, which a RetinaNet needs")
        return {
            "kind": "retinanet",
            "num_classes": c[f"{group}.NUM_CLASSES"],
            **self.shared(),
            "convs": [c["MODEL.FPN.OUT_CHANNELS"]] * c[f"{group}.NUM_CONVS"],
            "head_norm": self.norm(f"{group}.NORM"),
            "prior_probability": c[f"{group}.PRIOR_PROB"],
            "box_weights": tuple(c[f"{group}.BBOX_REG_WEIGHTS"]),
            "matching": {"positive_iou": high, "negative_iou": low, "low_quality": True},
            "class_loss": {"alpha": c[f"{group}.FOCAL_LOSS_ALPHA"], "gamma": c[f"{group}.FOCAL_LOSS_GAMMA"]},
            "box_loss": self.box_loss(f"{group}.BBOX_REG_LOSS_TYPE", f"{group}.SMOOTH_L1_LOSS_BETA"),
            "loss_average": "moving",
            "pre_nms_top_k": c[f"{group}.TOPK_CANDIDATES_TEST"],
        }


def _level(name: str) -> int:
    """5 of "res5", "c5" or "p5"."""
    return int(name.lstrip("respc"))


def _lists(values: Any) -> list[list[float]]:
    """One list per level; a flat list is one for all."""
    return [list(value) if isinstance(value, list | tuple) else [value] for value in values]
