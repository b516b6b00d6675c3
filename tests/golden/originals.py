"""What each original program calls a tensor, a loss, a class: its recordings in our terms."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from boxwright.interop.weights import to_our_names
from tests.golden.recordings import Recording


@dataclass(frozen=True)
class Original:
    """Patterns of tensor names by stage, and names of losses. Group 1 of `scores` and `deltas` is a cascade's stage."""

    features: str
    rpn_logits: str
    rpn_deltas: str
    pooled: str
    scores: str
    deltas: str
    losses: Mapping[str, str]
    background_first: bool = False
    label_offset: int = 0
    gives_probabilities: bool = False
    features_without_neck: str = ""


ORIGINALS = {
    "detectron2": Original(
        features=r"backbone/(?:p\d|res\d)",
        rpn_logits=r"(?:proposal_generator\.rpn_head|head)/0/\d",
        rpn_deltas=r"(?:proposal_generator\.rpn_head|head)/1/\d",
        pooled=r"roi_heads\.(?:box_)?pooler",
        scores=r"roi_heads\.box_predictor(?:\.(\d))?/0",
        deltas=r"roi_heads\.box_predictor(?:\.(\d))?/1",
        losses={
            r"loss_rpn_cls": "loss_rpn_class",
            r"loss_rpn_loc": "loss_rpn_box",
            r"loss_cls": "loss_class",
            r"loss_box_reg": "loss_box",
            r"loss_cls_stage(\d)": "loss_class_{}",
            r"loss_box_reg_stage(\d)": "loss_box_{}",
            r"loss_mask": "loss_mask",
            r"loss_keypoint": "loss_keypoint",
        },
    ),
    "torchvision": Original(
        features=r"backbone/(?:\d|pool|p\d)",
        rpn_logits=r"rpn\.head/0/\d",
        rpn_deltas=r"rpn\.head/1/\d",
        pooled=r"roi_heads\.box_roi_pool",
        scores=r"roi_heads\.box_predictor(?:\.(\d))?/0",
        deltas=r"roi_heads\.box_predictor(?:\.(\d))?/1",
        losses={
            r"loss_objectness": "loss_rpn_class",
            r"loss_rpn_box_reg": "loss_rpn_box",
            r"loss_classifier": "loss_class",
            r"loss_box_reg": "loss_box",
            r"loss_mask": "loss_mask",
            r"loss_keypoint": "loss_keypoint",
        },
        background_first=True,
        label_offset=1,
    ),
    "mmdet": Original(
        features=r"neck/\d",
        features_without_neck=r"backbone/0",
        rpn_logits=r"(?:rpn_head|bbox_head)/0/\d",
        rpn_deltas=r"(?:rpn_head|bbox_head)/1/\d",
        pooled=r"roi_head\.bbox_roi_extractor(?:\.0)?",
        scores=r"roi_head\.bbox_head(?:\.(\d))?/0",
        deltas=r"roi_head\.bbox_head(?:\.(\d))?/1",
        losses={
            r"loss_rpn_cls": "loss_rpn_class",
            r"loss_rpn_bbox": "loss_rpn_box",
            r"loss_cls": "loss_class",
            r"loss_bbox": "loss_box",
            r"s(\d)\.loss_cls": "loss_class_{}",
            r"s(\d)\.loss_bbox": "loss_box_{}",
            r"loss_mask": "loss_mask",
        },
    ),
    "detectron_pytorch": Original(
        features=r"Conv_Body/\d",
        rpn_logits=r"RPN\.FPN_RPN_cls_score(?:#\d)?",
        rpn_deltas=r"RPN\.FPN_RPN_bbox_pred(?:#\d)?",
        pooled=r"no such tensor",
        scores=r"Box_Outs/0()",
        deltas=r"Box_Outs/1()",
        losses={
            r"loss_rpn_cls(?:_fpn\d)?": "loss_rpn_class",
            r"loss_rpn_bbox(?:_fpn\d)?": "loss_rpn_box",
            r"loss_cls": "loss_class",
            r"loss_bbox": "loss_box",
            r"loss_mask": "loss_mask",
            r"loss_kps": "loss_keypoint",
        },
        background_first=True,
        label_offset=1,
        gives_probabilities=True,
    ),
}


def losses_of(recording: Recording) -> dict[str, float]:
    """The recorded losses under our names; those of single levels are added up."""
    found: dict[str, float] = {}
    for name, value in recording.meta["losses"].items():
        for pattern, ours in ORIGINALS[recording.program].losses.items():
            if match := re.fullmatch(pattern, name):
                ours = ours.format(int(match[1]) + 1) if match.groups() else ours
                found[ours] = found.get(ours, 0.0) + value
    return found


def gradient_norms_of(recording: Recording) -> dict[str, float]:
    """The recorded norm of the gradient of each parameter under our names; 0 where there was none."""
    shapes = recording.shapes()
    numbered = {name: torch.full((*s[:1], *(1 for _ in s[1:])), float(i)) for i, (name, s) in enumerate(shapes)}
    theirs = {name: shapes[int(value.flatten()[-1])][0] for name, value in to_our_names(numbered, where="")[1].items()}
    norms = recording.meta["grad_norms"]
    return {ours: norms[name] or 0.0 for ours, name in theirs.items() if name in norms}


def as_recorded(values: Tensor, shape: list[int]) -> Tensor:
    """(1, cells x anchors[, 4]) of ours -> the (1, channels, H, W) of the originals."""
    height, width = shape[2:]
    return values.reshape(1, height, width, -1).permute(0, 3, 1, 2)


def scores_as_recorded(logits: Tensor, original: Original) -> Tensor:
    ordered = logits.roll(1, dims=1) if original.background_first else logits
    return ordered.softmax(dim=1) if original.gives_probabilities else ordered


def deltas_as_recorded(deltas: Tensor, original: Original) -> tuple[Tensor, int]:
    """The deltas in the recorded layout, and how many columns at the front belong to background and mean nothing."""
    flat = deltas.flatten(1)
    if not original.background_first:
        return flat, 0
    return torch.cat((flat.new_zeros(len(flat), 4), flat), dim=1), 4


Lookup = Callable[[str], list[str]]
