"""Data, training and resizing of an mmdetection config, as plain data of our schema."""

from math import ceil
from typing import Any

from boxwright.interop.mmdetection.pipeline import Pipeline
from boxwright.interop.mmdetection.run_keys import RUN
from boxwright.interop.tables.keys import Settings
from boxwright.interop.tables.typed_nodes import Node, Reading, open_node

_GPUS = 8  # the zoo's machines; a config only has the batch of one GPU
# Images with objects in the usual training sets: a config counts epochs, we count steps.
_IMAGES = (
    ("instances_train2017", 117_266),
    ("instances_train2014", 82_081),
    ("VOC2007/ImageSets/Main/trainval", 5_011),
    ("VOC2012/ImageSets/Main/trainval", 11_540),
    ("instancesonly_filtered_gtFine_train", 2_965),
    ("lvis_v1_train", 99_388),
    ("lvis_v0.5_train", 56_740),
    ("deepfashion", 8_000),
)
_COCO = 117_266
_DATASETS = (
    *("CocoDataset", "CocoPanopticDataset", "CityscapesDataset", "DeepFashionDataset", "LVISDataset", "LVISV1Dataset"),
    *("LVISV05Dataset", "VOCDataset", "XMLDataset", "CustomDataset", "BaseDetDataset"),
)


class MmRun:
    """Works out data, train, class names and the resizing from the top-level dictionaries."""

    def __init__(self, config: Settings, reading: Reading) -> None:
        self.config = config
        self.reading = reading
        self.notes = reading.report.notes
        self.images = 0
        self.batch = 0
        self.pipeline = Pipeline(reading.report)
        self.class_names: list[str] = []
        self.workers = 2
        self.data: Settings = {"augment": {}}

    def read(self) -> None:
        """Reads it all."""
        if train := self.part("train_dataloader", "dataloader"):
            self.train_data(train)
        test = self.part("test_dataloader", "dataloader") or self.part("val_dataloader", "dataloader")
        if test and test["dataset"]:
            self.test_data(test)
        self.data |= {"augment": self.pipeline.augment, "workers": self.workers}

    def part(self, name: str, *kinds: str) -> Node | None:
        """A dictionary of the config, opened by its type."""
        if not self.config.get(name):
            return None
        return open_node(self.config[name], path=name, kinds=kinds, reading=self.reading)

    def train_data(self, node: Node) -> None:
        """Reads the training set and its loader."""
        self.workers = node["num_workers"]
        per_gpu = node["batch_size"]
        auto = self.part("auto_scale_lr", "auto_scale_lr")
        self.batch = auto["base_batch_size"] if auto else per_gpu * _GPUS
        if not auto:
            self.notes.append(f"the batch is taken as {_GPUS} GPUs of {per_gpu}: the config does not say it")
        self.data["aspect_grouping"] = node["batch_sampler"] is not None
        names, images = self.dataset(node["dataset"], "train_dataloader.dataset", group="train")
        self.data["train"] = ":".join(names) or None
        self.images = images or _COCO
        if not images:
            self.notes.append(f"epochs are counted as those of COCO, {_COCO} images: set train.schedule for other data")

    def test_data(self, node: Node) -> None:
        """Reads the validation set and its loader."""
        dataset = node["dataset"]
        while isinstance(dataset, dict) and isinstance(dataset.get("dataset"), dict):
            dataset = dataset["dataset"]
        names, _ = self.dataset(dataset, node.at("dataset"), group="val")
        self.data["val"] = ":".join(names) or None

    def dataset(self, content: Any, path: str, *, group: str) -> tuple[list[str], int]:
        """The annotation files of a data set, and how many images an epoch has (0: not known)."""
        wrappers = ("RepeatDataset", "ClassBalancedDataset", "ConcatDataset", "MultiImageMixDataset")
        kind = content.get("type") if isinstance(content, dict) else None
        if kind not in wrappers:
            return self.plain_dataset(content, path, group)
        node = open_node(content, path=path, kinds=wrappers, group=group, reading=self.reading)
        if node is None:
            return [], 0
        if node.kind == "ConcatDataset":
            parts = [
                self.dataset(part, f"{path}.datasets[{index}]", group=group)
                for index, part in enumerate(node["datasets"])
            ]
            return [name for names, _ in parts for name in names], sum(images for _, images in parts)
        names, images = self.dataset(node["dataset"], f"{path}.dataset", group=group)
        if node.kind == "RepeatDataset":
            images *= node["times"]
        elif node.kind == "ClassBalancedDataset" and group == "train":
            self.data["repeat_factor"] = node["oversample_thr"]
        elif node.kind == "MultiImageMixDataset" and group == "train":
            self.pipeline.train(node["pipeline"], f"{path}.pipeline", self.reading)
        return names, images

    def plain_dataset(self, content: Any, path: str, group: str) -> tuple[list[str], int]:
        """The data set itself, inside those that wrap it."""
        plain = _known_keys(content) if isinstance(content, dict) else content
        node = open_node(plain, path=path, kinds=("CocoDataset",), group=group, reading=self.reading)
        if node is None:
            return [], 0
        root, file = str(node["data_root"] or ""), node["ann_file"]
        names = [_joined(root, str(name)) for name in ([file] if isinstance(file, str) else file or []) if name]
        if group == "train":
            self.pipeline.train(node["pipeline"], f"{path}.pipeline", self.reading)
            self.data["only_with_objects"] = bool((node["filter_cfg"] or {}).get("filter_empty_gt", False))
            self.class_names = self.classes(node)
        elif not self.pipeline.has_test:
            self.pipeline.test(node["pipeline"], f"{path}.pipeline", self.reading)
        return names, sum(_images(name) for name in names)

    def classes(self, node: Node) -> list[str]:
        """Reads the names of the classes."""
        given = (node["metainfo"] or {}).get("classes", (node["metainfo"] or {}).get("CLASSES"))
        if isinstance(given, str):
            self.notes.append(f"class names are in a file, {given}; give them as model.class_names")
            return []
        return [str(name) for name in given or []]

    def resize(self) -> Settings:
        """Our `model.input.resize`."""
        return self.pipeline.resize

    def train_section(self, start: str | None) -> Settings:
        """Our `train` settings."""
        section: Settings = {"weights": self.config.get("load_from") or start or None}
        if self.batch:
            section |= {"batch": self.batch, "reference_batch": self.batch}
        epoch = max(ceil(self.images / self.batch), 1) if self.batch else 1
        section |= self.optimizer()
        section |= self.schedule(epoch, section.get("lr", 0.02))
        section |= self.hooks(epoch)
        seed = (self.config.get("randomness") or {}).get("seed")
        return section | ({"seed": seed} if isinstance(seed, int) else {})

    def optimizer(self) -> Settings:
        """Our settings of the optimizer."""
        wrapper = self.config.get("optim_wrapper")
        if not wrapper:
            return {}
        is_amp = wrapper.get("type") == "AmpOptimWrapper"
        plain = {**wrapper, "type": "OptimWrapper"} if is_amp else wrapper
        node = open_node(plain, path="optim_wrapper", kinds=("OptimWrapper",), reading=self.reading)
        found = node.node("optimizer", "SGD", "AdamW") if node else None
        if node is None or found is None:
            return {}
        decay = found["weight_decay"]
        section: Settings = {
            "lr": found["lr"],
            "weight_decay": decay,
            "weight_decay_norm": decay,
            "precision": "fp16" if is_amp else "fp32",
            "accumulate": node["accumulative_counts"],
        }
        if found.kind == "SGD":
            optimizer = {"kind": "sgd", "momentum": found["momentum"], "nesterov": found["nesterov"]}
        else:
            optimizer = {"kind": "adamw", "betas": tuple(found["betas"])}
        section["optimizer"] = optimizer
        if node["clip_grad"] and (clip := node.node("clip_grad", "clip_grad")):
            section |= {"clip": "norm", "clip_limit": clip["max_norm"]}
        if node["paramwise_cfg"] and (params := node.node("paramwise_cfg", "paramwise_cfg")):
            section |= self.parameters(params, decay)
        return section

    def parameters(self, node: Node, decay: float) -> Settings:
        """Factors for some of the parameters."""
        section: Settings = {
            "bias_lr_factor": node["bias_lr_mult"],
            "weight_decay_norm": decay * node["norm_decay_mult"],
            "weight_decay_bias": decay * node["bias_decay_mult"] if "bias_decay_mult" in node else None,
        }
        for name, change in (node["custom_keys"] or {}).items():
            if name == "backbone" and set(change) <= {"lr_mult"}:
                section["backbone_lr_factor"] = change.get("lr_mult", 1.0)
            else:
                node.mistake(f"custom_keys.{name}", "cannot be set apart; the backbone's lr_mult can")
        return section

    def schedule(self, epoch: int, rate: float) -> Settings:
        """Our `train.schedule`."""
        kinds = ("EpochBasedTrainLoop", "IterBasedTrainLoop")
        content = self.config.get("train_cfg")
        if isinstance(content, dict) and "type" not in content:
            content = {**content, "type": "IterBasedTrainLoop" if "max_iters" in content else "EpochBasedTrainLoop"}
            if content.pop("by_epoch", True) is False:
                content["type"] = "IterBasedTrainLoop"
        loop = open_node(content, path="train_cfg", kinds=kinds, reading=self.reading) if content else None
        if loop is None:
            return {}
        is_epochs = loop.kind == "EpochBasedTrainLoop"
        last = loop["max_epochs"] * epoch if is_epochs else loop["max_iters"]
        decay: Settings = {"kind": "constant"}
        warm_up: Settings = {"steps": 0}
        schedulers = ("LinearLR", "ConstantLR", "MultiStepLR", "CosineAnnealingLR")
        content = self.config.get("param_scheduler") or []
        for index, part in enumerate([content] if isinstance(content, dict) else content):
            node = open_node(part, path=f"param_scheduler[{index}]", kinds=schedulers, reading=self.reading)
            if node is None:
                continue
            if node.kind in ("LinearLR", "ConstantLR"):
                warm_up = self.warm_up(node, epoch)
            else:
                decay = self.decay(node, epoch, rate)
        every = loop["val_interval"] * (epoch if is_epochs else 1)
        return {"schedule": {"max_steps": last, "decay": decay, "warm_up": warm_up}, "evaluate_every": every}

    def warm_up(self, node: Node, epoch: int) -> Settings:
        """Our warm-up of the rate."""
        steps = node["end"] - node["begin"]
        kind, factor = ("linear", "start_factor") if node.kind == "LinearLR" else ("constant", "factor")
        return {"kind": kind, "factor": node[factor], "steps": steps * epoch if node["by_epoch"] else steps}

    def decay(self, node: Node, epoch: int, rate: float) -> Settings:
        """Our decay of the rate."""
        if node.kind == "CosineAnnealingLR":
            ratio = node["eta_min_ratio"]
            return {"kind": "cosine", "final": node["eta_min"] / rate if ratio is None else ratio}
        unit = epoch if node["by_epoch"] else 1
        return {"kind": "steps", "gamma": node["gamma"], "steps": [step * unit for step in node["milestones"]]}

    def hooks(self, epoch: int) -> Settings:
        """Reads the hooks that have settings of ours."""
        hooks, section = self.config.get("default_hooks") or {}, {}
        if hooks.get("checkpoint"):
            node = open_node(
                hooks["checkpoint"], path="default_hooks.checkpoint", kinds=("CheckpointHook",), reading=self.reading
            )
            if node and node["interval"] > 0:
                section["checkpoint_every"] = node["interval"] * (epoch if node["by_epoch"] else 1)
            if node and node["max_keep_ckpts"] > 0:
                section["keep_checkpoints"] = node["max_keep_ckpts"]
        if hooks.get("logger"):
            node = open_node(hooks["logger"], path="default_hooks.logger", kinds=("LoggerHook",), reading=self.reading)
            section |= {"log_every": node["interval"]} if node else {}
        return section


def _known_keys(content: Settings) -> Settings:
    """A data set of any type by the keys they have in common; types of users may have more."""
    if content.get("type") in _DATASETS:
        return {**content, "type": "CocoDataset"}
    common = {key.path for key in RUN["CocoDataset"]}
    return {name: value for name, value in content.items() if name in common} | {"type": "CocoDataset"}


def _joined(root: str, name: str) -> str:
    if not root or name.startswith(("/", root)):
        return name
    return f"{root.rstrip('/')}/{name}"


def _images(name: str) -> int:
    return next((count for part, count in _IMAGES if part in name), 0)
