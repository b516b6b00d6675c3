"""ResNet and ResNeXt, from 18 to 152 layers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from boxwright import ops
from boxwright.errors import ConfigError
from boxwright.models.backbones.backbone import Backbone, check_freeze_at
from boxwright.models.backbones.stage import Stage
from boxwright.models.layers import ConvNorm, FrozenNorm, freeze, init_convolutions, init_msra
from boxwright.models.norms import Norm

LEVELS = ("c2", "c3", "c4", "c5")
STEM_CHANNELS = 64
NUM_BLOCKS = {  # depth -> blocks in c2, c3, c4, c5
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


@dataclass(frozen=True, kw_only=True)
class Deform:
    """How 3x3 convolutions deform: version 1, or 2 with `modulated`. Each of `groups` groups has offsets of its own."""

    modulated: bool = False
    groups: int = 1


class DeformConvNorm(ConvNorm):
    """3x3 convolution whose taps move by offsets that another convolution, `offset`, reads from the same input.

    Keys: weight, norm.*, offset.weight, offset.bias. The G groups and 9 taps make 18 G offset channels, in the order
    group, tap, (y, x); a modulated one adds 9 G channels of mask logits after them.
    Starts as the plain convolution (halved, if modulated): offset is zero.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        deform: Deform,
        stride: int,
        dilation: int,
        groups: int,
        norm: Norm | None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size=3,
            stride=stride,
            dilation=dilation,
            groups=groups,
            bias=False,
            norm=norm,
            activation="relu",
        )
        self.modulated = deform.modulated
        self.num_offsets = 18 * deform.groups
        num_logits = 9 * deform.groups if deform.modulated else 0
        self.offset = nn.Conv2d(
            in_channels, self.num_offsets + num_logits, 3, stride=stride, padding=dilation, dilation=dilation
        )
        self.reset_offset()

    def reset_offset(self) -> None:
        """To zero: to be called again after an initialisation that draws weights for every convolution."""
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """At the offsets, in cells of `x`, that its own convolution reads from `x`; masks are between 0 and 1."""
        moves = self.offset(x)
        offset = moves[:, : self.num_offsets]
        mask = moves[:, self.num_offsets :].sigmoid() if self.modulated else None
        return ops.deform_conv2d(
            x,
            offset,
            weight,
            bias,
            mask,
            stride=self.stride[0],
            padding=self.dilation[0],
            dilation=self.dilation[0],
        )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: the block of ResNet-18 and 34.

    Keys: conv1, conv2, and shortcut where the shape changes; each .weight and .norm.*.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, dilation: int, norm: Norm | None) -> None:
        super().__init__()
        self.conv1 = ConvNorm(
            in_channels,
            out_channels,
            kernel_size=3,
            stride=stride,
            dilation=dilation,
            bias=False,
            norm=norm,
            activation="relu",
        )
        self.conv2 = ConvNorm(out_channels, out_channels, kernel_size=3, bias=False, norm=norm, activation="relu")
        self.shortcut = _make_shortcut(in_channels, out_channels, stride=stride, norm=norm)

    @property
    def last_norm(self) -> nn.Module | None:
        """The norm before the sum with the shortcut; `zero_init_residual` sets its weight to 0. None without norms."""
        return self.conv2.norm

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H / stride, W / stride)."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        out: Tensor = self.conv2(self.conv1(x), shortcut)
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 around a shortcut: the block from ResNet-50 on.

    Keys: conv1, conv2, conv3, and shortcut where the shape changes; each .weight and .norm.*;
    conv2.offset.weight and .bias where conv2 is deformable.
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        *,
        stride: int,
        dilation: int,
        groups: int,
        stride_in_1x1: bool,
        norm: Norm | None,
        deform: Deform | None,
    ) -> None:
        super().__init__()
        stride1, stride2 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = ConvNorm(
            in_channels, mid_channels, kernel_size=1, stride=stride1, bias=False, norm=norm, activation="relu"
        )
        if deform is not None:
            self.conv2: ConvNorm = DeformConvNorm(
                mid_channels, mid_channels, deform=deform, stride=stride2, dilation=dilation, groups=groups, norm=norm
            )
        else:
            self.conv2 = ConvNorm(
                mid_channels,
                mid_channels,
                kernel_size=3,
                stride=stride2,
                dilation=dilation,
                groups=groups,
                bias=False,
                norm=norm,
                activation="relu",
            )
        self.conv3 = ConvNorm(mid_channels, out_channels, kernel_size=1, bias=False, norm=norm, activation="relu")
        self.shortcut = _make_shortcut(in_channels, out_channels, stride=stride, norm=norm)

    @property
    def last_norm(self) -> nn.Module | None:
        """The norm before the sum with the shortcut; `zero_init_residual` sets its weight to 0. None without norms."""
        return self.conv3.norm

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H / stride, W / stride)."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        out: Tensor = self.conv3(self.conv2(self.conv1(x)), shortcut)
        return out


def _make_shortcut(in_channels: int, out_channels: int, *, stride: int, norm: Norm | None) -> ConvNorm | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return ConvNorm(in_channels, out_channels, kernel_size=1, stride=stride, bias=False, norm=norm)


class ResNet(Backbone):
    """Stem (7x7 convolution and max-pool, stride 4), then the stages c2 to c5.

    Keys: stem.weight, stem.norm.*; c2.0.conv1.weight, c2.0.conv1.norm.*, c2.0.shortcut.weight, ... by level and
    block. Freezing: c1 is the stem.
    """

    def __init__(
        self,
        *,
        stem: ConvNorm,
        stages: Mapping[str, Stage],
        out_levels: Sequence[str],
        freeze_at: int = 0,
        frozen_norm: FrozenNorm = "frozen_bn",
    ) -> None:
        strides, stride = {}, 4
        for level, stage in stages.items():
            strides[level] = stride = stride * stage.stride
        channels = {level: stage.out_channels for level, stage in stages.items()}
        super().__init__(out_levels=out_levels, channels=channels, strides=strides)
        check_freeze_at(freeze_at, highest=5)
        self.stem = stem
        self.levels = tuple(stages)
        for level, stage in stages.items():
            self.add_module(level, stage)
        for part in [stem, *stages.values()][:freeze_at]:
            freeze(part, norm=frozen_norm)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) in the network frame -> {level: (N, C, H / stride, W / stride)}, fine to coarse."""
        x = F.max_pool2d(self.stem(images), kernel_size=3, stride=2, padding=1)
        features = {}
        for level in self.levels:
            x = self.get_submodule(level)(x)
            if level in self.out_levels:
                features[level] = x
        return features


def make_resnet(
    *,
    depth: int,
    norm: Norm | None,
    out_levels: Sequence[str] = LEVELS,
    groups: int = 1,
    width_per_group: int = 64,
    stride_in_1x1: bool = False,
    strides: Sequence[int] = (1, 2, 2, 2),
    dilations: Sequence[int] = (1, 1, 1, 1),
    deform: Mapping[str, Deform] | None = None,
    freeze_at: int = 0,
    frozen_norm: FrozenNorm = "frozen_bn",
    zero_init_residual: bool = False,
    checkpoint_levels: Collection[str] = (),
) -> ResNet:
    """A ResNet of 18 to 152 layers, or the ResNeXt with `groups` groups of `width_per_group` channels.

    `strides` and `dilations` are those of c2, c3, c4, c5: dilated C5 is (1, 2, 2, 1) and (1, 1, 1, 2). `deform` says
    which levels have deformable 3x3 convolutions. Stages above the highest of `out_levels` are not built.
    """
    wanted = [index for index, level in enumerate(LEVELS) if level in out_levels]
    stages = {
        level: make_stage(
            level=level,
            depth=depth,
            norm=norm,
            groups=groups,
            width_per_group=width_per_group,
            stride_in_1x1=stride_in_1x1,
            stride=strides[index],
            dilation=dilations[index],
            deform=(deform or {}).get(level),
            zero_init_residual=zero_init_residual,
            checkpoint=level in checkpoint_levels,
        )
        for index, level in enumerate(LEVELS[: max(wanted, default=3) + 1])
    }
    stem = ConvNorm(3, STEM_CHANNELS, kernel_size=7, stride=2, bias=False, norm=norm, activation="relu")
    init_msra(stem)
    return ResNet(stem=stem, stages=stages, out_levels=out_levels, freeze_at=freeze_at, frozen_norm=frozen_norm)


def make_stage(
    *,
    level: str,
    depth: int,
    norm: Norm | None,
    groups: int = 1,
    width_per_group: int = 64,
    stride_in_1x1: bool = False,
    stride: int = 2,
    dilation: int = 1,
    deform: Deform | None = None,
    zero_init_residual: bool = False,
    checkpoint: bool = False,
) -> Stage:
    """One stage alone; c5 is the per-region head of the C4 models.

    The first block has the stride, all blocks the dilation. `zero_init_residual` starts each block as its shortcut.
    """
    if depth not in NUM_BLOCKS:
        raise ConfigError(f"backbone depth is {depth}; expected {', '.join(map(str, NUM_BLOCKS))}")
    index = LEVELS.index(level)
    if depth < 50 and (groups > 1 or deform is not None):
        raise ConfigError(f"ResNet-{depth} has no grouped or deformable form; choose a depth of 50, 101 or 152")
    expansion = 1 if depth < 50 else 4
    out_channels = 64 * expansion * 2**index
    in_channels = STEM_CHANNELS if index == 0 else out_channels // 2
    blocks: dict[str, nn.Module] = {}
    for number in range(NUM_BLOCKS[depth][index]):
        first = number == 0
        block_in, block_stride = (in_channels, stride) if first else (out_channels, 1)
        if depth < 50:
            block: BasicBlock | Bottleneck = BasicBlock(
                block_in, out_channels, stride=block_stride, dilation=dilation, norm=norm
            )
        else:
            block = Bottleneck(
                block_in,
                groups * width_per_group * 2**index,
                out_channels,
                stride=block_stride,
                dilation=dilation,
                groups=groups,
                stride_in_1x1=stride_in_1x1,
                norm=norm,
                deform=deform,
            )
        _init_block(block, zero_init_residual=zero_init_residual)
        blocks[str(number)] = block
    return Stage(blocks, out_channels=out_channels, stride=stride, checkpoint=checkpoint)


def _init_block(block: BasicBlock | Bottleneck, *, zero_init_residual: bool) -> None:
    init_convolutions(block, init_msra)
    for child in block.modules():
        if isinstance(child, DeformConvNorm):
            child.reset_offset()
    if zero_init_residual and block.last_norm is not None:
        nn.init.zeros_(block.last_norm.weight)  # type: ignore[arg-type]
