"""The model of a Detectron config: from its complete settings to our `model` section, as plain data."""

import re
from typing import Any

from boxwright.config.conventions import DETECTRON
from boxwright.interop.tables.keys import Mistakes
from boxwright.interop.tables.yacs import YacsTree

_BODIES = r"(?P<fpn>FPN\.(?:add_)?fpn_)?(?:ResNet\.(?:add_)?)?ResNet(?P<depth>50|101|152)_conv(?P<last>[45])_body"
_VGG = r"VGG16\.(?:add_)?VGG16_conv5_body"
_POOLINGS = {"RoIAlign": "align", "RoIPoolF": "pool", "RoIPool": "pool", "RoICrop": "crop"}
_LEVELS_MASK = {
    "mask_rcnn_fcn_head_v1up4convs": 4,
    "mask_rcnn_fcn_head_v1up4convs_gn": 4,
    "mask_rcnn_fcn_head_v1up": 2,
}


class DetectronModel:
    """Works out the `model` section; wrong combinations are collected as mistakes."""

    def __init__(self, settings: YacsTree, mistakes: Mistakes) -> None:
        self.c = settings
        self.mistakes = mistakes
        self.body = re.fullmatch(_BODIES, str(settings["MODEL.CONV_BODY"]))
        self.is_vgg = re.fullmatch(_VGG, str(settings["MODEL.CONV_BODY"])) is not None
        self.has_fpn = bool(settings["FPN.FPN_ON"])

    def section(self) -> dict[str, Any]:
        """Our `model` settings."""
        c = self.c
        if c["MODEL.TYPE"] == "retinanet" or c["RETINANET.RETINANET_ON"]:
            return self.retinanet()
        if c["MODEL.TYPE"] in ("rfcn",):
            self.mistakes.add("MODEL.TYPE", "is rfcn, which is not in the family")
        if self.has_fpn and not c["MODEL.RPN_ONLY"] and not c["FPN.MULTILEVEL_ROIS"]:
            self.mistakes.add("FPN.MULTILEVEL_ROIS", "is False: with an FPN the heads read all its levels")
        if self.has_fpn and self.has_rpn() and not c["FPN.MULTILEVEL_RPN"]:
            self.mistakes.add("FPN.MULTILEVEL_RPN", "is False: with an FPN the RPN reads all its levels")
        return {
            "kind": "rcnn",
            "num_classes": self.num_classes(),
            "conventions": DETECTRON.model_dump() | self.conventions(),
            "input": self.input(),
            "backbone": self.backbone(),
            "neck": self.neck(),
            "anchors": self.anchors(),
            "proposals": self.rpn() if self.has_rpn() else self.precomputed(),
            "box_head": None if c["MODEL.RPN_ONLY"] else self.box_head(),
            "mask_head": self.mask_head() if c["MODEL.MASK_ON"] else None,
            "keypoint_head": self.keypoint_head() if c["MODEL.KEYPOINTS_ON"] else None,
        }

    def conventions(self) -> dict[str, Any]:
        """Our `model.conventions`."""
        changes = {} if self.has_fpn else {"proposal_top_k": "image", "rpn_class_average": "sampled"}
        return changes | ({"rpn_class_average": "per_level"} if self.c["RPN.CLS_ACTIVATION"] == "softmax" else {})

    def has_rpn(self) -> bool:
        """Whether the model makes its proposals itself."""
        return bool(self.c["MODEL.RPN_ONLY"] or self.c["MODEL.FASTER_RCNN"] or self.c["RPN.RPN_ON"])

    def num_classes(self) -> int:
        """Foreground classes; Detectron.pytorch leaves the number to the data set, of which COCO is taken."""
        classes = self.c["MODEL.NUM_CLASSES"]
        if classes == -1:
            return 1 if self.c["MODEL.KEYPOINTS_ON"] else 80
        return int(classes) - 1

    def input(self) -> dict[str, Any]:
        """Our `model.input`: channels, mean, deviation, sizes."""
        c = self.c
        means = c["PIXEL_MEANS"]
        while isinstance(means, list | tuple) and len(means) == 1:
            means = means[0]
        resize = {
            "method": "opencv_scaled",
            "short_train": list(c["TRAIN.SCALES"]),
            "long_train": c["TRAIN.MAX_SIZE"],
            "short_test": c["TEST.SCALE"],
            "long_test": c["TEST.MAX_SIZE"],
        }
        pad_to = c["FPN.COARSEST_STRIDE"] if self.has_fpn else 1
        return {"channels": "bgr", "mean": tuple(means), "std": (1.0, 1.0, 1.0), "resize": resize, "pad_to": pad_to}

    def backbone(self) -> dict[str, Any]:
        """Our `model.backbone`."""
        c = self.c
        frozen = c["RESNETS.FREEZE_AT"] if "RESNETS.FREEZE_AT" in c.given else c["TRAIN.FREEZE_AT"]
        if self.is_vgg:
            return {"kind": "vgg16", "frozen_stages": frozen}
        if self.body is None:
            self.mistakes.add(
                "MODEL.CONV_BODY",
                f"is {c['MODEL.CONV_BODY']!r}; known are FPN.fpn_ResNet50_conv5_body, ResNet.ResNet50_conv4_body and "
                "their like (50, 101, 152; with or without add_), ResNet.ResNet50_conv5_body, VGG16.VGG16_conv5_body",
            )
            return {"kind": "resnet"}
        if self.has_fpn is not bool(self.body["fpn"]):
            self.mistakes.add("FPN.FPN_ON", f"is {self.has_fpn}, which does not fit {c['MODEL.CONV_BODY']}")
        return {
            "kind": "resnet",
            "depth": int(self.body["depth"]),
            "groups": c["RESNETS.NUM_GROUPS"],
            "width_per_group": c["RESNETS.WIDTH_PER_GROUP"],
            "stride_in_1x1": c["RESNETS.STRIDE_1X1"],
            "norm": self.backbone_norm(),
            "frozen_stages": frozen,
            "dilated_c5": self.is_dilated(),
        }

    def is_dilated(self) -> bool:
        """Whether the last stage keeps the resolution of the one before it."""
        dilation = self.c["RESNETS.RES5_DILATION"]
        if dilation not in (1, 2):
            self.mistakes.add("RESNETS.RES5_DILATION", f"is {dilation}; 1 and 2 are known")
        return bool(dilation == 2)

    def backbone_norm(self) -> dict[str, Any]:
        """The norm of the backbone."""
        c = self.c
        parts = {"TRANS_FUNC": ("bottleneck", "transformation"), "STEM_FUNC": ("basic", "stem")}
        parts["SHORTCUT_FUNC"] = ("basic", "shortcut")
        norms = set()
        for name, (first, last) in parts.items():
            value = c[f"RESNETS.{name}"]
            has_gn = value == f"{first}_gn_{last}"
            norms.add(has_gn)
            if not has_gn and value not in (f"{first}_bn_{last}", f"{first}_{last}"):
                self.mistakes.add(f"RESNETS.{name}", f"is {value!r}; known are the batch norm and group norm forms")
        if len(norms) > 1 or (c["RESNETS.USE_GN"] and norms == {False}):
            self.mistakes.add("RESNETS.TRANS_FUNC", "stem, blocks and shortcuts differ in their norm")
        return self.group_norm() if True in norms else {"kind": "frozen_bn"}

    def group_norm(self) -> dict[str, Any]:
        """Group norm with the groups that the source sets."""
        return {"kind": "gn", "groups": self.c["GROUP_NORM.NUM_GROUPS"], "eps": self.c["GROUP_NORM.EPSILON"]}

    def neck(self) -> dict[str, Any]:
        """Our `model.neck`."""
        c = self.c
        if not self.has_fpn:
            return {"kind": "none", "level": "c5" if self.is_vgg or (self.body and self.body["last"] == "5") else "c4"}
        lowest, highest = self.level_range()
        extra = highest - 5
        tops = ("none", "p6", "p6p7") if c["FPN.EXTRA_CONV_LEVELS"] else ("none", "max_pool")
        if not 0 <= extra < len(tops):
            self.mistakes.add("FPN.RPN_MAX_LEVEL", f"is {highest}; levels end at {4 + len(tops)} here")
            extra = 0
        return {
            "kind": "fpn",
            "in_levels": [f"c{level}" for level in range(lowest, 6)],
            "channels": c["FPN.DIM"],
            "norm": self.group_norm() if c["FPN.USE_GN"] else {"kind": "none"},
            "top": tops[extra],
            "top_input": "c5",
            "top_relu": "between",
        }

    def level_range(self) -> tuple[int, int]:
        """The finest and the coarsest level of the pyramid."""
        c = self.c
        used = [("FPN.ROI_MIN_LEVEL", "FPN.ROI_MAX_LEVEL")] if c["FPN.MULTILEVEL_ROIS"] else []
        used += [("FPN.RPN_MIN_LEVEL", "FPN.RPN_MAX_LEVEL")] if c["FPN.MULTILEVEL_RPN"] else []
        lowest, highest = min([c[low] for low, _ in used] or [2]), max([c[high] for _, high in used] or [5])
        if not 2 <= lowest <= 5:
            self.mistakes.add("FPN.RPN_MIN_LEVEL", f"is {lowest}; levels start at 2 to 5")
        return lowest, highest

    def anchors(self) -> dict[str, Any]:
        """Our `model.anchors`."""
        c = self.c
        if not self.has_fpn:
            return {"sizes": [list(c["RPN.SIZES"])], "aspect_ratios": [list(c["RPN.ASPECT_RATIOS"])]}
        lowest, highest = self.level_range()
        if self.has_rpn() and (c["FPN.RPN_MIN_LEVEL"], c["FPN.RPN_MAX_LEVEL"]) != (lowest, highest):
            self.mistakes.add("FPN.RPN_MAX_LEVEL", "the RPN reads every level of the FPN here")
        sizes = [[c["FPN.RPN_ANCHOR_START_SIZE"] * 2**step] for step in range(max(highest - lowest + 1, 1))]
        return {"sizes": sizes, "aspect_ratios": [list(c["FPN.RPN_ASPECT_RATIOS"])]}

    def rpn(self) -> dict[str, Any]:
        """Our `model.proposals`, made by an RPN."""
        c = self.c
        kept = {phase: c[f"{phase}.RPN_POST_NMS_TOP_N"] for phase in ("TRAIN", "TEST")}
        collected = {phase: int(kept[phase] * c["FPN.RPN_COLLECT_SCALE"] + 0.5) for phase in kept}
        border = c["TRAIN.RPN_STRADDLE_THRESH"]
        return {
            "kind": "rpn",
            "conv_channels": [-1 if c["RPN.OUT_DIM_AS_IN_DIM"] or self.has_fpn else c["RPN.OUT_DIM"]],
            "score": c["RPN.CLS_ACTIVATION"],
            "matching": {
                "positive_iou": c["TRAIN.RPN_POSITIVE_OVERLAP"],
                "negative_iou": c["TRAIN.RPN_NEGATIVE_OVERLAP"],
                "low_quality": True,
                "inside_border": float(border) if border >= 0 else None,
            },
            "sampling": {
                "size": c["TRAIN.RPN_BATCH_SIZE_PER_IM"],
                "positive_fraction": c["TRAIN.RPN_FG_FRACTION"],
            },
            "pre_nms_top_k": {"train": c["TRAIN.RPN_PRE_NMS_TOP_N"], "test": c["TEST.RPN_PRE_NMS_TOP_N"]},
            "post_nms_top_k": _phases(collected if self.has_fpn else kept),
            "post_nms_top_k_level": _phases(kept) if self.has_fpn else None,
            "nms_iou": self.same("RPN_NMS_THRESH"),
            "min_size": self.same("RPN_MIN_SIZE"),
            "box_loss": {"kind": "smooth_l1", "beta": 1 / 9},
        }

    def same(self, name: str) -> Any:
        """A setting that has one value here for training and test."""
        train, test = self.c[f"TRAIN.{name}"], self.c[f"TEST.{name}"]
        if train != test:
            self.mistakes.add(f"TRAIN.{name}", f"is {train} and TEST.{name} is {test}; here both are one setting")
        return test

    def precomputed(self) -> dict[str, Any]:
        """Our `model.proposals`, read from a file."""
        # In training every proposal of the file is used; at both, those under 2 pixels are left out.
        limit = self.c["TEST.PROPOSAL_LIMIT"]
        return {"kind": "precomputed", "top_k": {"train": 100_000, "test": limit}, "min_size": 2}

    def box_head(self) -> dict[str, Any]:
        """Our `model.box_head`."""
        c = self.c
        crowd_share = None if self.has_rpn() else c["TRAIN.CROWD_FILTER_THRESH"]
        return {
            "features": self.box_features(),
            "pooling": self.pooling("FAST_RCNN"),
            "class_agnostic": c["MODEL.CLS_AGNOSTIC_BBOX_REG"],
            "box_weights": c["MODEL.BBOX_REG_WEIGHTS"],
            "matching": {
                "positive_iou": c["TRAIN.FG_THRESH"],
                "negative_iou": c["TRAIN.BG_THRESH_HI"],
                "negative_iou_low": c["TRAIN.BG_THRESH_LO"],
                "crowd_share": crowd_share if crowd_share and crowd_share > 0 else None,
            },
            "sampling": {"size": c["TRAIN.BATCH_SIZE_PER_IM"], "positive_fraction": c["TRAIN.FG_FRACTION"]},
            "box_loss": {"kind": "smooth_l1", "beta": 1.0},
        }

    def box_features(self) -> dict[str, Any]:
        """The layers between the pooled regions and the box head's outputs."""
        c = self.c
        name = c["FAST_RCNN.ROI_BOX_HEAD"].rpartition(".")[2].removeprefix("add_")
        convs, fc = [c["FAST_RCNN.CONV_HEAD_DIM"]] * c["FAST_RCNN.NUM_STACKED_CONVS"], c["FAST_RCNN.MLP_HEAD_DIM"]
        match name:
            case "roi_2mlp_head":
                return {"kind": "conv_fc", "convs": [], "fcs": [fc, fc]}
            case "roi_Xconv1fc_head":
                return {"kind": "conv_fc", "convs": convs, "fcs": [fc]}
            case "roi_Xconv1fc_gn_head":
                return {"kind": "conv_fc", "convs": convs, "fcs": [fc], "norm": self.group_norm()}
            case "ResNet_roi_conv5_head":
                return {"kind": "res5"}
            case "VGG16_roi_fc_head" | "VGG16_fc_head":
                return {"kind": "conv_fc", "convs": [], "fcs": [4096, 4096]}
        known = "roi_2mlp_head, roi_Xconv1fc_head, roi_Xconv1fc_gn_head, ResNet_roi_conv5_head"
        self.mistakes.add("FAST_RCNN.ROI_BOX_HEAD", f"is {c['FAST_RCNN.ROI_BOX_HEAD']!r}; known are {known}")
        return {"kind": "conv_fc"}

    def pooling(self, group: str) -> dict[str, Any]:
        """How regions are pooled for a head."""
        c = self.c
        method = c[f"{group}.ROI_XFORM_METHOD"]
        if method not in _POOLINGS:
            self.mistakes.add(f"{group}.ROI_XFORM_METHOD", f"is {method!r}; known are {', '.join(_POOLINGS)}")
        levels = [f"p{level}" for level in range(c["FPN.ROI_MIN_LEVEL"], c["FPN.ROI_MAX_LEVEL"] + 1)]
        return {
            "kind": _POOLINGS.get(method, "align"),
            "size": c[f"{group}.ROI_XFORM_RESOLUTION"],
            "sampling_ratio": c[f"{group}.ROI_XFORM_SAMPLING_RATIO"],
            "aligned": False,
            "levels": levels if self.has_fpn else [self.neck()["level"]],
            "canonical_size": c["FPN.ROI_CANONICAL_SCALE"],
            "canonical_level": c["FPN.ROI_CANONICAL_LEVEL"],
        }

    def mask_head(self) -> dict[str, Any]:
        """Our `model.mask_head`, None without one."""
        c = self.c
        name = c["MRCNN.ROI_MASK_HEAD"].rpartition(".")[2].removeprefix("add_")
        channels, pooling = c["MRCNN.DIM_REDUCED"], self.pooling("MRCNN")
        head = {
            "features": "own",
            "convs": [],
            "dilation": c["MRCNN.DILATION"],
            "upsample": "deconv",
            "upsample_channels": channels,
            "enlarge": max(c["MRCNN.UPSAMPLE_RATIO"], 1),
            "pooling": pooling,
            "class_agnostic": not c["MRCNN.CLS_SPECIFIC_MASK"],
            "loss_weight": c["MRCNN.WEIGHT_LOSS_MASK"],
        }
        if name in _LEVELS_MASK:
            head["convs"] = [channels] * _LEVELS_MASK[name]
            head["norm"] = self.group_norm() if name.endswith("_gn") else {"kind": "none"}
            size = pooling["size"] * 2
        elif name in ("mask_rcnn_fcn_head_v0upshare", "mask_rcnn_fcn_head_v0up"):
            head |= {"features": "box"} if name.endswith("share") else {"res5": True}
            size = 14  # res5 gives 7x7 from regions of 7x7 and, by its stride, from those of 14x14
        else:
            known = [*_LEVELS_MASK, "mask_rcnn_fcn_head_v0upshare", "mask_rcnn_fcn_head_v0up"]
            self.mistakes.add("MRCNN.ROI_MASK_HEAD", f"is {name!r}; known are {', '.join(known)}")
            return head
        size *= max(c["MRCNN.UPSAMPLE_RATIO"], 1)
        if c["MRCNN.RESOLUTION"] != size:
            self.mistakes.add("MRCNN.RESOLUTION", f"is {c['MRCNN.RESOLUTION']}; the head's masks are {size} wide")
        return head

    def keypoint_head(self) -> dict[str, Any]:
        """Our `model.keypoint_head`, None without one."""
        c = self.c
        name = c["KRCNN.ROI_KEYPOINTS_HEAD"].rpartition(".")[2].removeprefix("add_")
        if name != "roi_pose_head_v1convX":
            self.mistakes.add("KRCNN.ROI_KEYPOINTS_HEAD", f"is {name!r}; roi_pose_head_v1convX is known")
        upsample, has_deconv = max(c["KRCNN.UP_SCALE"], 1), c["KRCNN.USE_DECONV_OUTPUT"]
        hidden = c["KRCNN.DECONV_DIM"] if c["KRCNN.USE_DECONV"] else None
        size = c["KRCNN.ROI_XFORM_RESOLUTION"] * upsample * (2 if has_deconv else 1) * (2 if hidden else 1)
        if c["KRCNN.HEATMAP_SIZE"] != size:
            self.mistakes.add("KRCNN.HEATMAP_SIZE", f"is {c['KRCNN.HEATMAP_SIZE']}; the head's heatmaps are {size}")
        return {
            "num_keypoints": c["KRCNN.NUM_KEYPOINTS"],
            "convs": [c["KRCNN.CONV_HEAD_DIM"]] * c["KRCNN.NUM_STACKED_CONVS"],
            "kernel": c["KRCNN.CONV_HEAD_KERNEL"],
            "hidden_deconv": hidden,
            "deconv": has_deconv,
            "deconv_kernel": c["KRCNN.DECONV_KERNEL"],
            "upsample": upsample,
            "pooling": self.pooling("KRCNN"),
            "loss_weight": c["KRCNN.LOSS_WEIGHT"],
            "loss_average": "visible" if c["KRCNN.NORMALIZE_BY_VISIBLE_KEYPOINTS"] else "sampled",
            "min_visible": 1,
        }

    def retinanet(self) -> dict[str, Any]:
        """Our `model` settings of a RetinaNet."""
        c = self.c
        lowest, highest = self.level_range()
        octaves = c["RETINANET.SCALES_PER_OCTAVE"]
        sizes = [
            [2**level * c["RETINANET.ANCHOR_SCALE"] * 2 ** (octave / octaves) for octave in range(octaves)]
            for level in range(lowest, highest + 1)
        ]
        if not self.has_fpn:
            self.mistakes.add("FPN.FPN_ON", "is False; a RetinaNet has an FPN")
        return {
            "kind": "retinanet",
            "num_classes": self.num_classes(),
            "conventions": DETECTRON.model_dump() | {"anchor_order": "size_major"},
            "input": self.input(),
            "backbone": self.backbone(),
            "neck": self.neck(),
            "anchors": {"sizes": sizes, "aspect_ratios": [list(c["RETINANET.ASPECT_RATIOS"])]},
            "convs": [c["FPN.DIM"]] * c["RETINANET.NUM_CONVS"],
            "prior_probability": c["RETINANET.PRIOR_PROB"],
            "matching": {
                "positive_iou": c["RETINANET.POSITIVE_OVERLAP"],
                "negative_iou": c["RETINANET.NEGATIVE_OVERLAP"],
                "low_quality": True,
            },
            "class_loss": {"alpha": c["RETINANET.LOSS_ALPHA"], "gamma": c["RETINANET.LOSS_GAMMA"]},
            "box_loss": {
                "kind": "smooth_l1",
                "beta": c["RETINANET.BBOX_REG_BETA"],
                "weight": c["RETINANET.BBOX_REG_WEIGHT"],
            },
            "loss_average": "positives",
            "pre_nms_top_k": c["RETINANET.PRE_NMS_TOP_N"],
        }


def _phases(values: dict[str, Any]) -> dict[str, Any]:
    return {"train": values["TRAIN"], "test": values["TEST"]}
