"""EfficientNet B0 to B7 as a backbone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from boxwright.errors import ConfigError
from boxwright.models.backbones.backbone import Backbone, check_freeze_at
from boxwright.models.backbones.inverted_residual import InvertedResidual, Padding, make_padded_conv, round_channels
from boxwright.models.backbones.stage import Stage, run_block
from boxwright.models.layers import ConvNorm, FrozenNorm, freeze, init_convolutions, init_msra_per_group
from boxwright.models.norms import Norm

EfficientNetPadding = Literal["same", "same_nominal", "symmetric"]

LEVELS = ("c1", "c2", "c3", "c4", "c5")
VARIANTS = {  # B<n> -> width, depth, size of the images it was designed for
    0: (1.0, 1.0, 224),
    1: (1.0, 1.1, 240),
    2: (1.1, 1.2, 260),
    3: (1.2, 1.4, 300),
    4: (1.4, 1.8, 380),
    5: (1.6, 2.2, 456),
    6: (1.8, 2.6, 528),
    7: (2.0, 3.1, 600),
}
STAGES = (  # of B0: expansion, kernel size, stride, channels, number of blocks
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of a variant: `out_stride` counts from the image, `in_size` is for an image of the design size."""

    in_channels: int
    out_channels: int
    expansion: int
    kernel_size: int
    stride: int
    out_stride: int
    in_size: int


def plan_blocks(variant: int) -> list[Block]:
    """All blocks of B<variant> in order, without the stem."""
    if variant not in VARIANTS:
        raise ConfigError(f"backbone variant is {variant}; expected 0 to 7 (B0 to B7)")
    width, depth, image_size = VARIANTS[variant]
    in_channels, out_stride, size = round_channels(32 * width), 2, math.ceil(image_size / 2)
    blocks = []
    for expansion, kernel_size, stage_stride, channels, repeats in STAGES:
        for number in range(math.ceil(repeats * depth)):
            stride = stage_stride if number == 0 else 1
            out_stride *= stride
            block = Block(
                in_channels=in_channels,
                out_channels=round_channels(channels * width),
                expansion=expansion,
                kernel_size=kernel_size,
                stride=stride,
                out_stride=out_stride,
                in_size=size,
            )
            blocks.append(block)
            in_channels, size = block.out_channels, math.ceil(size / stride)
    return blocks


def last_blocks(plan: Sequence[Block]) -> dict[str, int]:
    """Level -> index of the last block with its stride: c1 stride 2, ... c5 stride 32."""
    return {f"c{int(math.log2(block.out_stride))}": index for index, block in enumerate(plan)}


class EfficientNet(Backbone):
    """Stem and blocks; a level is the output of the last block with its stride.

    Keys: stem.weight, stem.norm.*; blocks.0.depthwise.weight, blocks.0.depthwise.norm.*, ... with the parts of
    `InvertedResidual`; blocks are counted from 0 through the whole network.
    Freezing: c1 is the stem and the blocks of stride 2.
    """

    def __init__(
        self,
        *,
        stem: ConvNorm,
        blocks: Sequence[InvertedResidual],
        plan: Sequence[Block],
        out_levels: Sequence[str],
        freeze_at: int = 0,
        frozen_norm: FrozenNorm = "frozen_bn",
        checkpoint: bool = False,
    ) -> None:
        """`plan` describes the whole network, `blocks` may stop after the highest level wanted."""
        last = last_blocks(plan)
        channels = {level: plan[index].out_channels for level, index in last.items()}
        strides = {level: plan[index].out_stride for level, index in last.items()}
        super().__init__(out_levels=out_levels, channels=channels, strides=strides)
        check_freeze_at(freeze_at, highest=len(LEVELS))
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.checkpoint = checkpoint
        self.level_after = {last[level]: level for level in self.out_levels}
        if freeze_at:
            for part in [stem, *blocks[: last[f"c{freeze_at}"] + 1]]:
                freeze(part, norm=frozen_norm)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) in the network frame -> {level: (N, C, H / stride, W / stride)}, fine to coarse."""
        x = self.stem(images)
        features = {}
        for index, block in enumerate(self.blocks):
            x = run_block(block, x, checkpointed=self.checkpoint)
            if index in self.level_after:
                features[self.level_after[index]] = x
        return features


def make_efficientnet(
    *,
    variant: int,
    norm: Norm,
    padding: EfficientNetPadding = "same",
    out_levels: Sequence[str] = ("c2", "c3", "c4", "c5"),
    freeze_at: int = 0,
    frozen_norm: FrozenNorm = "frozen_bn",
    drop_path: float = 0.0,
    checkpoint: bool = False,
) -> EfficientNet:
    """B<variant> up to the highest of `out_levels`.

    padding="same"          TensorFlow's, from the size of each input
    padding="same_nominal"  TensorFlow's for an image of the variant's design size, whatever the input; maps of
                            another parity than the design's are read one cell off, or come out one cell smaller
    padding="symmetric"     torchvision's

    `drop_path` is the stochastic depth at the end of the whole network; block i of n has i / n of it.
    """
    plan = plan_blocks(variant)
    last = last_blocks(plan)
    end = max((last[level] for level in out_levels if level in last), default=-1) + 1
    stem = make_padded_conv(
        3,
        plan[0].in_channels,
        kernel_size=3,
        stride=2,
        norm=norm,
        activation="silu",
        padding=_plain_padding(padding),
        nominal_size=VARIANTS[variant][2] if padding == "same_nominal" else None,
    )
    init_msra_per_group(stem)
    return EfficientNet(
        stem=stem,
        blocks=_make_blocks(plan, range(end), norm=norm, padding=padding, drop_path=drop_path),
        plan=plan,
        out_levels=out_levels,
        freeze_at=freeze_at,
        frozen_norm=frozen_norm,
        checkpoint=checkpoint,
    )


def make_region_stage(
    *,
    variant: int,
    norm: Norm,
    padding: EfficientNetPadding = "same",
    drop_path: float = 0.0,
    checkpoint: bool = False,
) -> Stage:
    """The blocks after the last one of stride 16, as the per-region stage of the C4 models.

    Keys keep the numbers that the blocks have in the network: 22.expand.weight, ... for B4.
    """
    plan = plan_blocks(variant)
    indices = range(last_blocks(plan)["c4"] + 1, len(plan))
    blocks = _make_blocks(plan, indices, norm=norm, padding=padding, drop_path=drop_path)
    return Stage(
        {str(index): block for index, block in zip(indices, blocks, strict=True)},
        out_channels=plan[-1].out_channels,
        stride=2,
        checkpoint=checkpoint,
    )


def _make_blocks(
    plan: Sequence[Block], indices: range, *, norm: Norm, padding: EfficientNetPadding, drop_path: float
) -> list[InvertedResidual]:
    blocks = []
    for index in indices:
        block = plan[index]
        made = InvertedResidual(
            block.in_channels,
            block.in_channels * block.expansion,
            block.out_channels,
            kernel_size=block.kernel_size,
            stride=block.stride,
            squeezed_channels=block.in_channels // 4,
            norm=norm,
            activation="silu",
            squeeze_activation="silu",
            gate="sigmoid",
            padding=_plain_padding(padding),
            nominal_size=block.in_size if padding == "same_nominal" else None,
            drop_path=drop_path * index / len(plan),
        )
        init_convolutions(made, init_msra_per_group)
        blocks.append(made)
    return blocks


def _plain_padding(padding: EfficientNetPadding) -> Padding:
    return "symmetric" if padding == "symmetric" else "same"
