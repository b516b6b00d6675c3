"""ImageNet classifiers of torchvision, mmcls and open-mmlab -> our backbones. The tables are the documentation.

Classifiers are dropped, but for VGG's two hidden layers, which box heads start from.
"""

from collections.abc import Mapping

from torch import Tensor

from boxwright.interop.tables.rename import Names, Pair, State
from boxwright.interop.torchvision.backbones import mobilenet_pairs, resnet_pairs

_MMCLS = "backbone."  # before every name of its backbones; the classifier is head.fc
_VGG_CONVS = {1: (0, 2), 2: (5, 7), 3: (10, 12, 14), 4: (17, 19, 21), 5: (24, 26, 28)}  # entries, by group


def from_imagenet(state: Mapping[str, Tensor]) -> State | None:
    """The backbone's weights under our names; None where this is no classifier of those sources."""
    if "backbone.layer1.0.conv1.weight" in state or "backbone.conv1.conv.weight" in state:
        state = {name.removeprefix(_MMCLS): value for name, value in state.items()}
    if "layer1.0.conv1.weight" in state:
        return resnet_names().to_ours(state)
    if "conv1.conv.weight" in state:
        return Names("mmcls MobileNetV3", _mmcls_mobilenet()).to_ours(state)
    if "features.4.block.2.fc1.weight" in state:
        pairs = (*mobilenet_pairs("features", "backbone"), ("classifier.{i}.{*p}", None))
        return Names("torchvision MobileNetV3", pairs).to_ours(state)
    if "features.28.weight" in state:
        return Names("VGG16", _vgg()).to_ours(state)
    return None


def resnet_names() -> Names:
    """torchvision's names, and those with group norm in the place of batch norm."""
    plain = resnet_pairs("", "backbone")
    group = tuple((theirs.replace("bn", "gn"), ours) for theirs, ours in plain if "bn" in theirs)
    return Names("ResNet", (*plain, *group, ("fc.{*p}", None), ("head.fc.{*p}", None)))


def _mmcls_mobilenet() -> tuple[Pair, ...]:
    parts = (("expand_conv", "expand"), ("depthwise_conv", "depthwise"), ("linear_conv", "project"))
    last = 16  # the 1x1 convolution that ends the network
    pairs: list[Pair] = [*_conv_module("conv1", "stem"), *_conv_module(f"layer{last}", "head")]
    for i in range(1, last):
        for theirs, ours in parts:
            pairs += _conv_module(f"layer{i}.{theirs}", f"blocks.{i - 1}.{ours}")
        pairs.append((f"layer{i}.se.conv1.conv.{{*p}}", f"backbone.blocks.{i - 1}.squeeze.reduce.{{*p}}"))
        pairs.append((f"layer{i}.se.conv2.conv.{{*p}}", f"backbone.blocks.{i - 1}.squeeze.expand.{{*p}}"))
    return (*pairs, ("head.layers.{i}.fc.{*p}", None), ("head.layers.{i}.{*p}", None), ("head.fc.{*p}", None))


def _conv_module(theirs: str, ours: str) -> tuple[Pair, ...]:
    return (
        (f"{theirs}.conv.{{*p}}", f"backbone.{ours}.{{*p}}"),
        (f"{theirs}.bn.{{*p}}", f"backbone.{ours}.norm.{{*p}}"),
    )


def _vgg() -> tuple[Pair, ...]:
    convs = tuple(
        (f"features.{entry}.{{*p}}", f"backbone.c{group}.conv{number}.{{*p}}")
        for group, entries in _VGG_CONVS.items()
        for number, entry in enumerate(entries, start=1)
    )
    hidden = (("classifier.0.{*p}", "box_head.fcs.0.{*p}"), ("classifier.3.{*p}", "box_head.fcs.1.{*p}"))
    return (*convs, *hidden, ("classifier.6.{*p}", None))
