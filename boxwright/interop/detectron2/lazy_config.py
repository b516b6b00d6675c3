"""Reads Detectron2's LazyConfig files, and the YAML that Detectron2 writes of them."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from boxwright.config.load import validate
from boxwright.config.schema import Config
from boxwright.errors import ConfigError
from boxwright.interop.detectron2.config import translate_detectron2
from boxwright.interop.detectron2.keys import KEYS
from boxwright.interop.detectron2.lazy_keys import MODELS, RUN
from boxwright.interop.detectron2.lazy_model import LazyModel
from boxwright.interop.detectron2.lazy_syntax import TARGET, read_lazy_text, resolve_references
from boxwright.interop.tables.keys import ConfigReport, Mistakes, get, put
from boxwright.interop.tables.typed_nodes import Node, Reading, open_node
from boxwright.interop.tables.yacs import YacsTree
from boxwright.interop.texts.work import Work

_FOREIGN = ("RegNet", "MViT", "ViT", "SimpleFeaturePyramid", "SwinTransformer", "FCOS", "PanopticFPN")
_UNKNOWN = dict.fromkeys(_FOREIGN, "which is not in the family") | {
    "ClassificationNet": "which classifies whole images and detects nothing",
    "MMDetDetector": "which wraps an mmdetection model: read its detector=dict(...) as an mmdetection config",
}


def read_lazy(text: str, *, source: str, path: Path | None) -> tuple[Config, ConfigReport]:
    """Our settings from the text of a LazyConfig .py file; `path` is the file that the user named, if it is one."""
    names = read_lazy_text(text, source=source, folder=path and path.parent, work=Work(path))
    return read_lazy_tree(names, source=source)


def read_lazy_tree(tree: Mapping[str, Any], *, source: str) -> tuple[Config, ConfigReport]:
    """Our settings from nested dictionaries with `_target_`s."""
    reader = _LazyReader(resolve_references(dict(tree), source=source), source)
    return reader.read()


class _LazyReader:
    def __init__(self, tree: dict[str, Any], source: str) -> None:
        self.tree = tree
        self.source = source
        self.mistakes = Mistakes(source)
        self.report = ConfigReport(source=source, dialect="detectron2_lazy")
        self.settings = YacsTree(KEYS)
        self.extra: dict[str, Any] = {}  # what the YAML settings cannot say, by our path

    def read(self) -> tuple[Config, ConfigReport]:
        reading = Reading(table=MODELS | RUN, tag=TARGET, mistakes=self.mistakes, report=self.report, unknown=_UNKNOWN)
        kinds = ("GeneralizedRCNN", "ProposalNetwork", "RetinaNet")
        if self.tree.get("model") is None:
            raise ConfigError(f"{self.source}: has no model: it is a part for other configs, not a whole one")
        with reading.guarded():
            model = open_node(self.tree.get("model"), path="model", kinds=kinds, reading=reading)
            if model:
                LazyModel(self.settings, self.mistakes).read(model)
            self.run(reading)
        self.mistakes.raise_if_any()
        config, known = translate_detectron2(
            self.settings, self.mistakes, source=self.source, dialect="detectron2_lazy"
        )
        self.report.weights = known.weights
        self._name_our_settings()
        return self._with_extra(config), self.report

    def _name_our_settings(self) -> None:
        """In the report: our setting in the place of Detectron2's."""
        ours: dict[str, str] = {key.path: ", ".join(key.ours) or key.reason for key in KEYS}
        self.report.translated = [
            (path, ", ".join(ours.get(name, name) for name in names.split(", ")))
            for path, names in self.report.translated
        ]

    def _with_extra(self, config: Config) -> Config:
        if not self.extra:
            return config
        content = config.model_dump(mode="json")
        for path, value in self.extra.items():
            put(content, path, value)
        return validate(content, where=self.source)

    def set(self, path: str, value: Any) -> None:
        self.settings.assign(path, value, self.mistakes)

    def run(self, reading: Reading) -> None:
        parts = {name: self.tree.get(name) for name in ("train", "dataloader", "optimizer", "lr_multiplier")}
        if parts["train"]:
            self.train(open_node(parts["train"], path="train", kinds=("train",), reading=reading))
        if parts["dataloader"]:
            self.data(open_node(parts["dataloader"], path="dataloader", kinds=("dataloader",), reading=reading))
        if parts["optimizer"]:
            kinds = ("SGD", "AdamW")
            self.optimizer(open_node(parts["optimizer"], path="optimizer", kinds=kinds, reading=reading))
        if parts["lr_multiplier"]:
            schedules = ("WarmupParamScheduler", "MultiStepParamScheduler", "CosineParamScheduler")
            self.schedule(open_node(parts["lr_multiplier"], path="lr_multiplier", kinds=schedules, reading=reading))

    def train(self, node: Node | None) -> None:
        if node is None:
            return
        self.set("MODEL.WEIGHTS", node["init_checkpoint"] or "")
        self.set("SOLVER.MAX_ITER", node["max_iter"])
        self.set("TEST.EVAL_PERIOD", node["eval_period"])
        self.set("SOLVER.AMP.ENABLED", bool((node["amp"] or {}).get("enabled", False)))
        self.set("SOLVER.CHECKPOINT_PERIOD", (node["checkpointer"] or {}).get("period", 5000))

    def optimizer(self, node: Node | None) -> None:
        if node is None:
            return
        self.set("SOLVER.BASE_LR", node["lr"])
        self.set("SOLVER.WEIGHT_DECAY", node["weight_decay"])
        if node.kind == "SGD":
            self.set("SOLVER.MOMENTUM", node["momentum"])
            self.set("SOLVER.NESTEROV", node["nesterov"])
        else:
            self.extra["train.optimizer"] = {"kind": "adamw", "betas": list(node["betas"])}
        params = node.node("params", "get_default_optimizer_params")
        if params:
            decay = params["weight_decay_norm"]
            self.set("SOLVER.WEIGHT_DECAY_NORM", node["weight_decay"] if decay is None else decay)
            self.set("SOLVER.BIAS_LR_FACTOR", params["bias_lr_factor"])
            self.set("SOLVER.WEIGHT_DECAY_BIAS", params["weight_decay_bias"])

    def schedule(self, node: Node | None) -> None:
        if node is None:
            return
        last = get(self.settings.tree, "SOLVER.MAX_ITER")
        inner: Node | None = node
        if node.kind == "WarmupParamScheduler":
            self.set("SOLVER.WARMUP_ITERS", round(node["warmup_length"] * last))
            self.set("SOLVER.WARMUP_FACTOR", node["warmup_factor"])
            self.set("SOLVER.WARMUP_METHOD", node["warmup_method"])
            self.set("SOLVER.RESCALE_INTERVAL", node["rescale_interval"])
            inner = node.node("scheduler", "MultiStepParamScheduler", "CosineParamScheduler")
        else:
            self.set("SOLVER.WARMUP_ITERS", 0)
        if inner is not None and inner.kind == "MultiStepParamScheduler":
            self.steps(inner, last)
        elif inner is not None:
            self.set("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR")
            base = get(self.settings.tree, "SOLVER.BASE_LR")
            self.set("SOLVER.BASE_LR_END", base * inner["end_value"] / inner["start_value"])

    def steps(self, node: Node, last: int) -> None:
        """Milestones count updates of which there are `num_updates` (or the last milestone) in the whole run."""
        values, milestones = list(node["values"]), list(node["milestones"])
        updates = node["num_updates"] or (milestones[-1] if milestones else last)
        factors = {round(after / before, 6) for before, after in pairwise(values)}
        if len(factors) > 1 or values[:1] != [1.0]:
            node.mistake("values", f"is {values}; the rate starts at 1 and falls by one factor here")
        steps = [round(milestone * last / updates) for milestone in milestones[: len(values) - 1]]
        self.set("SOLVER.STEPS", tuple(steps))
        self.set("SOLVER.GAMMA", factors.pop() if factors else 0.1)

    def data(self, node: Node | None) -> None:
        train = node.node("train", "build_detection_train_loader") if node else None
        test = node.node("test", "build_detection_test_loader") if node else None
        if train:
            self.set("SOLVER.IMS_PER_BATCH", train["total_batch_size"])
            self.set("DATALOADER.ASPECT_RATIO_GROUPING", train["aspect_ratio_grouping"])
            self.set("DATALOADER.NUM_WORKERS", train["num_workers"])
            self.sampler(train)
            if dataset := train.node("dataset", "get_detection_dataset_dicts", group="DATASETS.TRAIN"):
                self.set("DATASETS.TRAIN", _names(dataset["names"]))
                self.set("DATALOADER.FILTER_EMPTY_ANNOTATIONS", dataset["filter_empty"])
                self.set("MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE", dataset["min_keypoints"])
            if mapper := train.node("mapper", "DatasetMapper"):
                self.mapper(mapper, "TRAIN")
        if test:
            if dataset := test.node("dataset", "get_detection_dataset_dicts", group="DATASETS.TEST"):
                self.set("DATASETS.TEST", _names(dataset["names"]))
            if mapper := test.node("mapper", "DatasetMapper"):
                self.mapper(mapper, "TEST")

    def sampler(self, train: Node) -> None:
        if train["sampler"] is None:
            return
        sampler = train.node("sampler", "RepeatFactorTrainingSampler")
        factors = sampler.node("repeat_factors", "repeat_factors_from_category_frequency") if sampler else None
        if factors:
            self.set("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler")
            self.set("DATALOADER.REPEAT_THRESHOLD", factors["repeat_thresh"])

    def mapper(self, node: Node, phase: str) -> None:
        if phase == "TRAIN":
            if node["image_format"] != get(self.settings.tree, "INPUT.FORMAT"):
                node.mistake("image_format", f"is {node['image_format']}, and the model's input_format is another")
            self.set("INPUT.MASK_FORMAT", node["instance_mask_format"])
            self.set("INPUT.RANDOM_FLIP", "none")
        kinds = ("ResizeShortestEdge", "RandomFlip", "ResizeScale", "FixedSizeCrop", "RandomCrop")
        for change in node.nodes("augmentations", *(kinds if phase == "TRAIN" else kinds[:1])):
            self.change(change, phase)

    def change(self, node: Node, phase: str) -> None:
        match node.kind:
            case "ResizeShortestEdge":
                short = node["short_edge_length"]
                first = short if isinstance(short, int) else short[0]
                is_test = phase == "TEST"
                self.set(f"INPUT.MIN_SIZE_{phase}", first if is_test else _names(short))
                self.set(f"INPUT.MAX_SIZE_{phase}", node["max_size"])
                if not is_test and not isinstance(short, int):
                    self.set("INPUT.MIN_SIZE_TRAIN_SAMPLING", node["sample_style"])
            case "RandomFlip":
                flips = {"flip": node["prob"], "vertical_flip": 0.0}
                if node["vertical"]:
                    flips = {"flip": 0.0, "vertical_flip": node["prob"]}
                self.extra |= {f"data.augment.{name}": value for name, value in flips.items()}
            case "ResizeScale":
                height, width = node["target_height"], node["target_width"]
                if height != width:
                    node.mistake("target_width", f"is {width} and target_height {height}; a square is known")
                self.set("INPUT.MIN_SIZE_TRAIN", (height,))
                self.set("INPUT.MAX_SIZE_TRAIN", height)
                self.extra["data.augment.scale_jitter"] = [node["min_scale"], node["max_scale"]]
            case "FixedSizeCrop":
                self.extra["data.augment.crop"] = list(node["crop_size"])
            case "RandomCrop":
                self.set("INPUT.CROP.ENABLED", True)
                self.set("INPUT.CROP.TYPE", node["crop_type"])
                self.set("INPUT.CROP.SIZE", list(node["crop_size"]))


def _names(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)
