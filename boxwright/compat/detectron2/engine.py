"""`DefaultPredictor`: one picture in, instances out."""

from types import SimpleNamespace

import numpy as np
import torch

from boxwright.compat.detectron2.config import CfgNode, to_config
from boxwright.compat.detectron2.data import MetadataCatalog
from boxwright.compat.detectron2.structures import Instances, to_instances, to_proposals
from boxwright.engine.detector import Detector
from boxwright.engine.loading import load
from boxwright.interop.download import fetch_model
from boxwright.interop.zoo.models import find_model, is_model_name


class DefaultPredictor:
    """The model of `cfg` with the weights of `cfg.MODEL.WEIGHTS`: a file, or the address of a published model, which is
    downloaded once. Without weights they are random.

    `model` is Boxwright's Detector.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg.clone()
        self.model: Detector = load(to_config(cfg), _weights(cfg.MODEL.WEIGHTS), device=_device(cfg.MODEL.DEVICE))
        self.metadata: SimpleNamespace = MetadataCatalog.get(next(iter(cfg.DATASETS.TEST), "__unused"))
        if self.model.class_names and not hasattr(self.metadata, "thing_classes"):
            self.metadata.thing_classes = list(self.model.class_names)
        self.input_format = cfg.INPUT.FORMAT

    def __call__(self, original_image: np.ndarray) -> dict[str, Instances]:
        """(H, W, 3) uint8 in blue, green, red -> {"instances": ...}, or {"proposals": ...} for an RPN alone."""
        found = self.model(np.ascontiguousarray(original_image[:, :, ::-1]))
        if not self.model.config.model.finds:
            return {"proposals": to_proposals(found)}
        return {"instances": to_instances(found)}


def _weights(named: str) -> str | None:
    if not named:
        return None
    return str(fetch_model(find_model(named))) if is_model_name(named) else named


def _device(named: str) -> str:
    """Detectron2's default is "cuda"; where there is none the CPU does the same work."""
    return "auto" if named == "cuda" and not torch.cuda.is_available() else named
