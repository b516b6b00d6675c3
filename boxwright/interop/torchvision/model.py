"""A torchvision builder with its arguments as our settings, as plain data."""

from boxwright.config.conventions import TORCHVISION
from boxwright.interop.tables.keys import Settings

_EPOCH = 7330  # COCO's 117,266 images with objects in batches of 16


class TorchvisionModel:
    """Our settings from a builder's complete arguments."""

    def __init__(self, arguments: Settings, family: str, body: str, version: int, classes: int) -> None:
        self.a = arguments
        self.family = family
        self.is_mobile = body == "mobilenet"
        self.is_v2 = version == 2
        self.classes = arguments["num_classes"] or classes
        self.is_trained = arguments["weights"] is not None or arguments["weights_backbone"] is not None

    def sections(self) -> Settings:
        """Our settings, each section by its name."""
        model = self.retinanet() if self.family == "retinanet" else self.rcnn()
        return {"model": model, "data": self.data(), "train": self.train(), "test": self.test()}

    def rcnn(self) -> Settings:
        """Our `model` settings of a two-stage detector."""
        return {
            "kind": "rcnn",
            **self.shared(),
            "neck": {
                "kind": "fpn",
                "in_levels": ["c5", "c6"] if self.is_mobile else ["c2", "c3", "c4", "c5"],
                "norm": {"kind": "bn"} if self.is_v2 else {"kind": "none"},
                "top": "max_pool",
            },
            "anchors": {
                "sizes": [[32, 64, 128, 256, 512]] * 3 if self.is_mobile else [[32], [64], [128], [256], [512]],
                "aspect_ratios": [[0.5, 1.0, 2.0]],
            },
            "proposals": self.rpn(),
            "box_head": self.box_head(),
            "mask_head": self.mask_head() if self.family == "mask" else None,
            "keypoint_head": self.keypoint_head() if self.family == "keypoint" else None,
        }

    def shared(self) -> Settings:
        """What all detectors of the family have."""
        return {
            "num_classes": self.classes - 1,  # torchvision counts the background
            "conventions": TORCHVISION.model_dump(),
            "input": self.input(),
            "backbone": self.backbone(),
        }

    def input(self) -> Settings:
        """Our `model.input`: channels, mean, deviation, sizes."""
        a = self.a
        short = list(a["min_size"]) if isinstance(a["min_size"], list | tuple) else [a["min_size"]]
        resize = {
            "method": "torch",
            "short_train": short,
            "short_test": short[-1],
            "long_train": a["max_size"],
            "long_test": a["max_size"],
        }
        return {
            "channels": "rgb",
            "value_range": 1,
            "mean": tuple(a["image_mean"] or (0.485, 0.456, 0.406)),
            "std": tuple(a["image_std"] or (0.229, 0.224, 0.225)),
            "resize": resize,
            "pad_to": a["size_divisible"],
        }

    def backbone(self) -> Settings:
        """Frozen norms with trained weights, and eps 0 in the first models; otherwise real batch norms."""
        layers = 6 if self.is_mobile else 5
        trainable = self.a["trainable_backbone_layers"]
        if not self.is_trained:
            trainable = layers
        elif trainable is None:
            trainable = 3
        norm: Settings = {"kind": "bn"}
        if self.is_trained and not self.is_v2:
            is_first = self.a["weights"] in ("DEFAULT", "COCO_V1") and not self.is_mobile
            norm = {"kind": "frozen_bn", "eps": 0.0 if is_first else 1e-5}
        kind: Settings = {"kind": "mobilenet_v3_large"} if self.is_mobile else {"kind": "resnet", "depth": 50}
        return {**kind, "norm": norm, "frozen_stages": layers - trainable}

    def rpn(self) -> Settings:
        """Our `model.proposals`, made by an RPN."""
        a = self.a
        return {
            "kind": "rpn",
            "conv_channels": [-1, -1] if self.is_v2 else [-1],
            "matching": {
                "positive_iou": a["rpn_fg_iou_thresh"],
                "negative_iou": a["rpn_bg_iou_thresh"],
                "low_quality": True,
            },
            "sampling": {"size": a["rpn_batch_size_per_image"], "positive_fraction": a["rpn_positive_fraction"]},
            "pre_nms_top_k": {"train": a["rpn_pre_nms_top_n_train"], "test": a["rpn_pre_nms_top_n_test"]},
            "post_nms_top_k": {"train": a["rpn_post_nms_top_n_train"], "test": a["rpn_post_nms_top_n_test"]},
            "nms_iou": a["rpn_nms_thresh"],
            "score_threshold": a["rpn_score_thresh"],
            "min_size": 1e-3,
            "box_loss": {"kind": "smooth_l1", "beta": 1 / 9},
        }

    def pooling(self, size: int) -> Settings:
        """How regions are pooled for a head."""
        levels = ["p5", "p6"] if self.is_mobile else ["p2", "p3", "p4", "p5"]
        return {"kind": "align", "size": size, "sampling_ratio": 2, "aligned": False, "levels": levels}

    def box_head(self) -> Settings:
        """Our `model.box_head`."""
        a = self.a
        features: Settings = {"kind": "conv_fc", "convs": [], "fcs": [1024, 1024]}
        if self.is_v2:
            features = {"kind": "conv_fc", "convs": [256] * 4, "fcs": [1024], "norm": {"kind": "bn"}}
        return {
            "features": features,
            "pooling": self.pooling(7),
            "box_weights": tuple(a["bbox_reg_weights"] or (10.0, 10.0, 5.0, 5.0)),
            "matching": {"positive_iou": a["box_fg_iou_thresh"], "negative_iou": a["box_bg_iou_thresh"]},
            "sampling": {"size": a["box_batch_size_per_image"], "positive_fraction": a["box_positive_fraction"]},
            "box_loss": {"kind": "smooth_l1", "beta": 1 / 9},
        }

    def mask_head(self) -> Settings:
        """Our `model.mask_head`, None without one."""
        norm = {"kind": "bn"} if self.is_v2 else {"kind": "none"}
        return {"convs": [256] * 4, "norm": norm, "upsample_channels": 256, "pooling": self.pooling(14)}

    def keypoint_head(self) -> Settings:
        """Our `model.keypoint_head`, None without one."""
        return {
            "num_keypoints": self.a["num_keypoints"] or 17,
            "convs": [512] * 8,
            "deconv": True,
            "upsample": 2,
            "pooling": self.pooling(14),
        }

    def retinanet(self) -> Settings:
        """Our `model` settings of a RetinaNet."""
        a = self.a
        sizes = [[size, int(size * 2 ** (1 / 3)), int(size * 2 ** (2 / 3))] for size in (32, 64, 128, 256, 512)]
        neck = {"kind": "fpn", "in_levels": ["c3", "c4", "c5"], "top": "p6p7", "top_relu": "between"}
        return {
            "kind": "retinanet",
            **self.shared(),
            "neck": neck | {"top_input": "c5" if self.is_v2 else "p5"},
            "anchors": {"sizes": sizes, "aspect_ratios": [[0.5, 1.0, 2.0]]},
            "convs": [256] * 4,
            "head_norm": {"kind": "gn", "groups": 32} if self.is_v2 else {"kind": "none"},
            "matching": {
                "positive_iou": a["fg_iou_thresh"],
                "negative_iou": a["bg_iou_thresh"],
                "low_quality": True,
            },
            "box_loss": {"kind": "giou"} if self.is_v2 else {"kind": "smooth_l1", "beta": 0.0},
            "loss_average": "per_image",
            "pre_nms_top_k": a["topk_candidates"],
        }

    def data(self) -> Settings:
        """Our `data` settings."""
        return {"augment": {"flip": 0.5}, "min_keypoints": 10 if self.family == "keypoint" else 0}

    def train(self) -> Settings:
        """torchvision's references: 26 epochs of COCO in batches of 16, the rate divided by ten after 16 and 22."""
        decay = {"kind": "steps", "steps": [16 * _EPOCH, 22 * _EPOCH], "gamma": 0.1}
        warm_up = {"kind": "linear", "steps": 1000, "factor": 0.001}
        return {
            "batch": 16,
            "reference_batch": 16,
            "lr": 0.01 if self.family == "retinanet" else 0.02,
            "weight_decay": 1e-4,
            "weight_decay_norm": 1e-4,
            "schedule": {"max_steps": 26 * _EPOCH, "decay": decay, "warm_up": warm_up},
            "weights": self.start(),
        }

    def start(self) -> str | None:
        """The weights that a training starts from: those of the backbone, None with a detector's or with none."""
        if self.a["weights"] is not None or self.a["weights_backbone"] is None:
            return None
        return "torchvision/mobilenet_v3_large" if self.is_mobile else "torchvision/resnet50"

    def test(self) -> Settings:
        """Our `test` settings."""
        a = self.a
        names = ("score_thresh", "nms_thresh", "detections_per_img")
        score, nms, most = (a[name if self.family == "retinanet" else f"box_{name}"] for name in names)
        return {"score_threshold": score, "nms": "hard", "nms_iou": nms, "max_detections": most}
