"""Optimisers with the parameter groups of the recipes: norms and biases apart, a slower backbone, decay by depth."""

import re
from collections import defaultdict

import torch
from torch import nn
from torch.optim import Optimizer

from boxwright.config import training

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
_BLOCK = re.compile(r"backbone\.(stem|c\d+\.\d+|blocks\.\d+|head|convs\.\d+)\.")


def make_optimizer(model: nn.Module, train: training.Train) -> Optimizer:
    """An optimiser over all that learns; frozen parameters stay out and get no state.

    Each group keeps its share of the base rate as "factor", so that a schedule can set every step's rate.
    """
    groups = parameter_groups(model, train)
    match train.optimizer:
        case training.SGD() as sgd:
            return torch.optim.SGD(groups, lr=train.lr, momentum=sgd.momentum, nesterov=sgd.nesterov, fused=True)
        case training.AdamW() as adam:
            return torch.optim.AdamW(groups, lr=train.lr, betas=adam.betas, fused=True)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """The base rate of the next step; each group gets its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def parameter_groups(model: nn.Module, train: training.Train) -> list[dict[str, object]]:
    """Parameters of equal rate and decay together, in the order of their first; shared ones once."""
    norms = {
        id(p) for module in model.modules() if isinstance(module, _NORMS) for p in module.parameters(recurse=False)
    }
    depths = _depths(model) if train.layer_decay is not None else {}
    members: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members[_rate_and_decay(name, id(parameter) in norms, depths, train)].append(parameter)
    return [
        {"params": parameters, "factor": factor, "lr": train.lr * factor, "weight_decay": decay}
        for (factor, decay), parameters in members.items()
    ]


def _rate_and_decay(name: str, is_norm: bool, depths: dict[str, int], train: training.Train) -> tuple[float, float]:
    factor, decay = 1.0, train.weight_decay
    if is_norm:
        decay = train.weight_decay_norm
    elif name.endswith(".bias"):
        factor *= train.bias_lr_factor
        if train.weight_decay_bias is not None:
            decay = train.weight_decay_bias
    if name.startswith("backbone."):
        factor *= train.backbone_lr_factor
    if train.layer_decay is not None and _block(name) in depths:
        factor *= train.layer_decay ** (len(depths) - depths[_block(name)])
    return factor, decay


def _depths(model: nn.Module) -> dict[str, int]:
    """Block of the backbone -> its position from the input."""
    blocks = dict.fromkeys(_block(name) for name, _ in model.named_parameters())
    return {block: depth for depth, block in enumerate(block for block in blocks if block)}


def _block(name: str) -> str:
    match = _BLOCK.match(name)
    return match[1] if match else ""
