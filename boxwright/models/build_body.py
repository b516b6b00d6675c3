"""Backbones, necks and norms from their settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from torch import nn

from boxwright.config import norms, parts
from boxwright.config.conventions import Conventions
from boxwright.errors import ConfigError
from boxwright.models.backbones.backbone import Backbone
from boxwright.models.backbones.efficientnet import make_efficientnet, make_region_stage
from boxwright.models.backbones.mobilenet import MobileNetV3Large
from boxwright.models.backbones.resnet import LEVELS, Deform, make_resnet, make_stage
from boxwright.models.backbones.stage import Stage
from boxwright.models.backbones.vgg import VGG16
from boxwright.models.fpn import FPN, ConvLevels, MaxPoolLevels, Source
from boxwright.models.layers import FrozenNorm
from boxwright.models.norms import Norm
from boxwright.models.pafpn import PAFPN


@dataclass(frozen=True)
class Body:
    """A backbone and its neck, and what the levels that come out are like, fine to coarse."""

    backbone: Backbone
    neck: nn.Module | None
    channels: Mapping[str, int]
    strides: Mapping[str, int]

    def check_levels(self, levels: Sequence[str], *, where: str) -> None:
        """A ConfigError, which begins with `where`, if there are no `levels` or one of them does not come out."""
        unknown = [level for level in levels if level not in self.strides]
        if unknown or not levels:
            raise ConfigError(f"{where} is {list(levels)}; this body gives {', '.join(self.strides)}")

    def channels_of(self, levels: Sequence[str], *, where: str) -> int:
        """The channels of each map of `levels`; a ConfigError if they differ, or as in `check_levels`."""
        self.check_levels(levels, where=where)
        found = {self.channels[level] for level in levels}
        if len(found) != 1:
            raise ConfigError(f"{where}: the levels have {sorted(found)} channels; one head needs the same for all")
        return found.pop()


def build_body(
    backbone: parts.Backbone, neck: parts.Neck, conventions: Conventions, *, checkpoint: bool = False
) -> Body:
    """`checkpoint`: activations of the backbone's stages are computed anew in the backward pass, not kept; VGG-16 keeps
    them all the same."""
    out_levels = [neck.level] if isinstance(neck, parts.NoNeck) else neck.in_levels
    frozen_norm: FrozenNorm = "frozen_bn" if conventions.frozen_norm == "constant" else "unchanged"
    made = _build_backbone(backbone, out_levels, frozen_norm=frozen_norm, checkpoint=checkpoint)
    if isinstance(neck, parts.NoNeck):
        return Body(made, None, made.out_channels, made.out_strides)
    pyramid = _build_neck(neck, made)
    return Body(made, pyramid, pyramid.out_channels, pyramid.out_strides)


def _build_backbone(
    settings: parts.Backbone, out_levels: Sequence[str], *, frozen_norm: FrozenNorm, checkpoint: bool
) -> Backbone:
    match settings:
        case parts.ResNet():
            return _build_resnet(settings, out_levels, frozen_norm=frozen_norm, checkpoint=checkpoint)
        case parts.EfficientNet():
            return make_efficientnet(
                variant=settings.variant,
                norm=_wanted_norm(settings.norm, "efficientnet"),
                padding=settings.padding,
                out_levels=out_levels,
                freeze_at=settings.frozen_stages,
                frozen_norm=frozen_norm,
                checkpoint=checkpoint,
            )
        case parts.MobileNetV3():
            return MobileNetV3Large(
                norm=_wanted_norm(settings.norm, "mobilenet_v3_large"),
                out_levels=out_levels,
                freeze_at=settings.frozen_stages,
                frozen_norm=frozen_norm,
                checkpoint=checkpoint,
            )
        case parts.VGG16():
            return VGG16(out_levels=out_levels, freeze_at=settings.frozen_stages)
    assert_never(settings)


def _build_resnet(
    settings: parts.ResNet, out_levels: Sequence[str], *, frozen_norm: FrozenNorm, checkpoint: bool
) -> Backbone:
    deformable = settings.deformable
    deform = {}
    if deformable is not None:
        one = Deform(modulated=deformable.version == 2, groups=deformable.groups)
        deform = dict.fromkeys(deformable.stages, one)
    return make_resnet(
        depth=settings.depth,
        norm=build_norm(settings.norm),
        out_levels=out_levels,
        groups=settings.groups,
        width_per_group=settings.width_per_group,
        stride_in_1x1=settings.stride_in_1x1,
        strides=(1, 2, 2, 1 if settings.dilated_c5 else 2),
        dilations=(1, 1, 1, 2 if settings.dilated_c5 else 1),
        deform={str(level): one for level, one in deform.items()},
        freeze_at=settings.frozen_stages,
        frozen_norm=frozen_norm,
        zero_init_residual=settings.zero_init_residual,
        checkpoint_levels=LEVELS if checkpoint else (),
    )


def build_region_stage(settings: parts.Backbone, *, pooled_size: int, checkpoint: bool) -> Stage:
    """The backbone's last stage, which C4 models run on each region; it halves maps of 14 cells and leaves 7."""
    match settings:
        case parts.ResNet():
            return make_stage(
                level="c5",
                depth=settings.depth,
                norm=build_norm(settings.norm),
                groups=settings.groups,
                width_per_group=settings.width_per_group,
                stride_in_1x1=settings.stride_in_1x1,
                stride=2 if pooled_size >= 14 else 1,
                zero_init_residual=settings.zero_init_residual,
                checkpoint=checkpoint,
            )
        case parts.EfficientNet():
            return make_region_stage(
                variant=settings.variant,
                norm=_wanted_norm(settings.norm, "efficientnet"),
                padding=settings.padding,
                checkpoint=checkpoint,
            )
        case _:
            raise ConfigError(f"box_head.features res5: a {settings.kind} backbone has no stage to run on regions")


def _build_neck(settings: parts.FPN | parts.PAFPN, backbone: Backbone) -> FPN:
    make = PAFPN if isinstance(settings, parts.PAFPN) else FPN
    return make(
        in_channels={level: backbone.out_channels[level] for level in settings.in_levels},
        in_strides={level: backbone.out_strides[level] for level in settings.in_levels},
        out_channels=settings.channels,
        norm=build_norm(settings.norm),
        norm_on_lateral=settings.norm_on_lateral,
        fuse=settings.fuse,
        extra=_build_top(settings, backbone),
    )


def _build_top(settings: parts.FPN, backbone: Backbone) -> MaxPoolLevels | ConvLevels | None:
    last = settings.in_levels[-1]
    number = int(last.removeprefix("c"))
    names = [f"p{number + 1}", f"p{number + 2}"][: 2 if settings.top == "p6p7" else 1]
    if settings.top == "none":
        return None
    if settings.top == "max_pool":
        return MaxPoolLevels(levels=names)
    sources: dict[str, Source] = {"c5": "input", "p5": "output", "lateral": "lateral"}
    source = sources[settings.top_input]
    return ConvLevels(
        in_channels=backbone.out_channels[last] if source == "input" else settings.channels,
        out_channels=settings.channels,
        levels=names,
        source=source,
        relu_between=settings.top_relu == "between",
    )


def build_norm(settings: norms.Norm) -> Norm | None:
    """What makes the layers of a norm; None where there is none, and convolutions may have a bias."""
    match settings:
        case norms.NoNorm():
            return None
        case norms.FrozenBatchNorm():
            return Norm(kind="frozen_bn", eps=settings.eps)
        case norms.BatchNorm():
            return Norm(
                kind="bn",
                eps=settings.eps,
                momentum=settings.momentum,
                batch_statistics=settings.statistics == "train",
            )
        case norms.SyncBatchNorm():
            return Norm(kind="sync_bn", eps=settings.eps, momentum=settings.momentum)
        case norms.GroupNorm():
            return Norm(kind="gn", groups=settings.groups, eps=settings.eps)
    assert_never(settings)


def _wanted_norm(settings: norms.Norm, backbone: str) -> Norm:
    norm = build_norm(settings)
    if norm is None:
        raise ConfigError(f"backbone.norm is none; {backbone} exists only with a norm")
    return norm
