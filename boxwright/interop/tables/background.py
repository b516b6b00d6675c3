"""Background moved between the first class (Detectron, torchvision) and the last (ours).

Sources with background first also hold box deltas and masks for it, which nothing reads. No model of ours has a place
for them: what is read keeps them aside under `background.`, so that a file converted here and back is the same to the
bit. Where they are unknown, as after a training here, zeros are written.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from boxwright.interop.tables.rename import State

UNREAD = "background."  # before the name of a weight: its rows of the background
DELTAS = 4  # numbers of one box

_SCORES = re.compile(r"box_(head|stages\.\d+)\.score\.(weight|bias)")
_DELTAS = re.compile(r"box_(head|stages\.\d+)\.delta\.(weight|bias)")
_MASKS = re.compile(r"mask_head\.logits\.(weight|bias)")
_KERNEL = re.compile(r"mask_head\.upsample\.weight")  # (classes, classes, k, k), the same number k x k on its diagonal
_KERNEL_BIAS = re.compile(r"mask_head\.upsample\.bias")


def background_last(state: State) -> State:
    """Our names with the source's order of classes -> our order. Class-agnostic masks, of one row, have no classes."""
    changed = dict(state)
    for name, value in state.items():
        rows = _unread_rows(name, value)
        if _SCORES.fullmatch(name):
            changed[name] = value.roll(-1, dims=0)
        elif rows:
            changed[name] = value[rows:]
            changed[UNREAD + name] = value[:rows]
        elif _KERNEL.fullmatch(name) and len(value) > 1:
            changed[name] = value[1:, 1:]
        elif _KERNEL_BIAS.fullmatch(name) and len(value) > 1:
            changed[name] = value[1:]
    return changed


def background_first(state: State) -> State:
    """The inverse of `background_last`."""
    is_agnostic = _class_agnostic_masks(state)
    changed = without_unread(state)
    for name, value in changed.items():
        if _SCORES.fullmatch(name):
            changed[name] = value.roll(1, dims=0)
        elif _DELTAS.fullmatch(name) or (_MASKS.fullmatch(name) and not is_agnostic):
            rows = DELTAS if _DELTAS.fullmatch(name) else 1
            background = state.get(UNREAD + name, value.new_zeros((rows, *value.shape[1:])))
            changed[name] = torch.cat((background, value))
        elif _KERNEL.fullmatch(name) and not is_agnostic:
            changed[name] = _with_one_more_channel(value)
        elif _KERNEL_BIAS.fullmatch(name) and not is_agnostic:
            changed[name] = torch.cat((value[:1], value))
    return changed


def without_unread(state: Mapping[str, Tensor]) -> State:
    """For a target that has no place for them."""
    return {name: value for name, value in state.items() if not name.startswith(UNREAD)}


def _unread_rows(name: str, value: Tensor) -> int:
    if _DELTAS.fullmatch(name):
        return DELTAS
    return int(_MASKS.fullmatch(name) is not None and len(value) > 1)


def _class_agnostic_masks(state: State) -> bool:
    """One mask row may also be the only class: there are as many classes as scores, less the background."""
    rows = next((len(value) for name, value in state.items() if _MASKS.fullmatch(name)), 0)
    scores = next((len(value) for name, value in state.items() if _SCORES.fullmatch(name)), 0)
    return rows == 1 and scores != 2


def _with_one_more_channel(kernel: Tensor) -> Tensor:
    size = len(kernel) + 1
    enlarged = kernel.new_zeros((size, size, *kernel.shape[2:]))
    enlarged[1:, 1:] = kernel
    enlarged[0, 0] = kernel[0, 0]
    return enlarged
