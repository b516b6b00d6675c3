"""EfficientNet classifiers of timm, of the lukemelas lineage and of torchvision -> our backbone.

Blocks are counted from 0 through the whole network here; timm and torchvision count within a stage.
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from boxwright.interop.tables.rename import Names, Pair, State
from boxwright.interop.torchvision.backbones import inverted_residual_pairs

LUKEMELAS: tuple[Pair, ...] = (
    ("_conv_stem.{*p}", "backbone.stem.{*p}"),
    ("_bn0.{*p}", "backbone.stem.norm.{*p}"),
    ("_blocks.{b}._expand_conv.{*p}", "backbone.blocks.{b}.expand.{*p}"),
    ("_blocks.{b}._bn0.{*p}", "backbone.blocks.{b}.expand.norm.{*p}"),
    ("_blocks.{b}._depthwise_conv.{*p}", "backbone.blocks.{b}.depthwise.{*p}"),
    ("_blocks.{b}._bn1.{*p}", "backbone.blocks.{b}.depthwise.norm.{*p}"),
    ("_blocks.{b}._se_reduce.{*p}", "backbone.blocks.{b}.squeeze.reduce.{*p}"),
    ("_blocks.{b}._se_expand.{*p}", "backbone.blocks.{b}.squeeze.expand.{*p}"),
    ("_blocks.{b}._project_conv.{*p}", "backbone.blocks.{b}.project.{*p}"),
    ("_blocks.{b}._bn2.{*p}", "backbone.blocks.{b}.project.norm.{*p}"),
    ("_conv_head.{*p}", None),
    ("_bn1.{*p}", None),
    ("_fc.{*p}", None),
)


def from_efficientnet(state: Mapping[str, Tensor]) -> State:
    """Names of timm, of efficientnet_pytorch or of torchvision -> ours."""
    keys = list(state)
    if "_conv_stem.weight" in state:
        return Names("EfficientNet (lukemelas)", LUKEMELAS).to_ours(state)
    if "conv_stem.weight" in state:
        return Names("timm EfficientNet", _timm_pairs(keys)).to_ours(state)
    return Names("torchvision EfficientNet", _torchvision_pairs(keys)).to_ours(state)


def is_efficientnet(keys: Iterable[str]) -> bool:
    """Whether the names are those of an EfficientNet's classifier."""
    return any(
        key in ("_conv_stem.weight", "conv_stem.weight") or re.fullmatch(r"features\.1\.0\.block\.0\.0\.weight", key)
        for key in keys
    )


def _positions(keys: list[str], pattern: str) -> dict[tuple[int, int], int]:
    """(stage, block) -> number of the block in the whole network."""
    found = {(int(m[1]), int(m[2])) for key in keys if (m := re.match(pattern, key))}
    return {place: number for number, place in enumerate(sorted(found))}


def _timm_pairs(keys: list[str]) -> tuple[Pair, ...]:
    pairs: list[Pair] = [
        ("conv_stem.{*p}", "backbone.stem.{*p}"),
        ("bn1.{*p}", "backbone.stem.norm.{*p}"),
        ("conv_head.{*p}", None),
        ("bn2.{*p}", None),
        ("classifier.{*p}", None),
    ]
    for (stage, block), number in _positions(keys, r"blocks\.(\d+)\.(\d+)\.").items():
        theirs, ours = f"blocks.{stage}.{block}", f"backbone.blocks.{number}"
        has_expansion = f"{theirs}.conv_pwl.weight" in keys
        chain = ("expand", "conv_pw"), ("depthwise", "conv_dw"), ("project", "conv_pwl" if has_expansion else "conv_pw")
        for norm, (part, conv) in enumerate(chain if has_expansion else chain[1:], start=1):
            pairs.append((f"{theirs}.{conv}.{{*p}}", f"{ours}.{part}.{{*p}}"))
            pairs.append((f"{theirs}.bn{norm}.{{*p}}", f"{ours}.{part}.norm.{{*p}}"))
        pairs.append((f"{theirs}.se.conv_reduce.{{*p}}", f"{ours}.squeeze.reduce.{{*p}}"))
        pairs.append((f"{theirs}.se.conv_expand.{{*p}}", f"{ours}.squeeze.expand.{{*p}}"))
    return tuple(pairs)


def _torchvision_pairs(keys: list[str]) -> tuple[Pair, ...]:
    pairs: list[Pair] = [
        ("features.0.0.{*p}", "backbone.stem.{*p}"),
        ("features.0.1.{*p}", "backbone.stem.norm.{*p}"),
        ("classifier.{i}.{*p}", None),
    ]
    places = _positions(keys, r"features\.(\d+)\.(\d+)\.block\.")
    for (stage, block), number in places.items():
        expanded = f"features.{stage}.{block}.block.3.0.weight" in keys
        parts = ["expand"] * expanded + ["depthwise", "squeeze", "project"]
        pairs += inverted_residual_pairs(f"features.{stage}.{block}.block", f"backbone.blocks.{number}", parts)
    last = 1 + max((stage for stage, _ in places), default=0)
    pairs += [(f"features.{last}.{i}.{{*p}}", None) for i in range(2)]
    return tuple(pairs)
