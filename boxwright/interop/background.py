"""Background moved between the first class (Detectron, torchvision) and the last (ours).

Sources with background first also hold box deltas and masks for it that nothing reads. They are cut off on the way in
and written as zeros on the way out.
"""

import re

import torch
from torch import Tensor

from .rename import State

_SCORES = re.compile(r"box_(head|stages\.\d+)\.score\.(weight|bias)")
_DELTAS = re.compile(r"box_(head|stages\.\d+)\.delta\.(weight|bias)")
_MASKS = re.compile(r"mask_head\.logits\.(weight|bias)")
DELTAS = 4  # numbers of one box


def background_last(state: State) -> State:
    """Our names with the source's order of classes -> our order. Class-agnostic masks, of one row, have no classes."""
    changed = dict(state)
    for name, value in state.items():
        if _SCORES.fullmatch(name):
            changed[name] = value.roll(-1, dims=0)
        elif _DELTAS.fullmatch(name):
            changed[name] = value[DELTAS:]
        elif _MASKS.fullmatch(name) and len(value) > 1:
            changed[name] = value[1:]
    return changed


def background_first(state: State) -> State:
    """The inverse of `background_last`, with zeros for what the source never reads."""
    agnostic_masks = _class_agnostic_masks(state)
    changed = dict(state)
    for name, value in state.items():
        if _SCORES.fullmatch(name):
            changed[name] = value.roll(1, dims=0)
        elif _DELTAS.fullmatch(name):
            changed[name] = _with_zero_rows(value, DELTAS)
        elif _MASKS.fullmatch(name) and not agnostic_masks:
            changed[name] = _with_zero_rows(value, 1)
    return changed


def _class_agnostic_masks(state: State) -> bool:
    """One mask row may also be the only class: there are as many classes as scores, less the background."""
    rows = next((len(value) for name, value in state.items() if _MASKS.fullmatch(name)), 0)
    scores = next((len(value) for name, value in state.items() if _SCORES.fullmatch(name)), 0)
    return rows == 1 and scores != 2


def _with_zero_rows(value: Tensor, rows: int) -> Tensor:
    return torch.cat((value.new_zeros((rows, *value.shape[1:])), value))
