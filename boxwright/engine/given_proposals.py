"""Proposals from a results file, for models that take them from outside, such as Fast R-CNN."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from boxwright.config import schema
from boxwright.errors import ConfigError
from boxwright.evaluation.detections import read_detections
from boxwright.evaluation.ground_truth import GroundTruth
from boxwright.geometry.boxes import xywh_to_xyxy

Given = Mapping[int | str, Tensor]  # (P, 4) boxes of each image by its id, best first


def read_proposals(path: str | Path, truth: GroundTruth) -> Given:
    """COCO results, as evaluating an RPN alone saves them -> the boxes of every image of `truth`."""
    table = read_detections(path, truth)
    order = np.lexsort((-table.scores, table.image))
    boxes = xywh_to_xyxy(torch.from_numpy(table.boxes_xywh[order])).float()
    ends = np.searchsorted(table.image[order], np.arange(len(truth.image_ids) + 1))
    return {image_id: boxes[ends[i] : ends[i + 1]] for i, image_id in enumerate(truth.image_ids)}


def check_proposals(model: schema.Model, path: str | Path | None) -> None:
    """Whether a model that takes proposals gets some, and no other does."""
    takes_some = isinstance(model, schema.RCNN) and model.box_head is not None
    if path is not None and not takes_some:
        raise ConfigError("the model takes no proposals from outside; only a two-stage detector does")
    if path is None and isinstance(model, schema.RCNN) and model.proposals.kind == "precomputed":
        raise ConfigError(
            "the model takes its proposals from outside: give a COCO results file of them (--proposals FILE), as "
            "`boxwright evaluate RPN --data DATA --save FILE` writes it"
        )
