"""MobileNetV3-Large as a backbone."""

from collections.abc import Sequence

from torch import Tensor, nn

from boxwright.models.backbones.backbone import Backbone, check_freeze_at
from boxwright.models.backbones.inverted_residual import InvertedResidual, round_channels
from boxwright.models.backbones.stage import run_block
from boxwright.models.layers import Activation, ConvNorm, FrozenNorm, freeze, init_convolutions, init_msra_per_group
from boxwright.models.norms import Norm

BLOCKS: tuple[tuple[int, int, int, bool, Activation, int], ...] = (
    # kernel size, expanded channels, out channels, squeeze-and-excite, activation, stride
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hardswish", 2),
    (3, 200, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 480, 112, True, "hardswish", 1),
    (3, 672, 112, True, "hardswish", 1),
    (5, 672, 160, True, "hardswish", 2),
    (5, 960, 160, True, "hardswish", 1),
    (5, 960, 160, True, "hardswish", 1),
)
STEM_CHANNELS = 16
HEAD_CHANNELS = 960
# Where a level is read, as a position in stem, blocks, head: the first block of each stride, and the head.
HEAD_POSITION = len(BLOCKS) + 1
POSITIONS = {"c1": 0, "c2": 2, "c3": 4, "c4": 7, "c5": 13, "c6": HEAD_POSITION}
CHANNELS = {"c1": 16, "c2": 24, "c3": 40, "c4": 80, "c5": 160, "c6": HEAD_CHANNELS}
STRIDES = {"c1": 2, "c2": 4, "c3": 8, "c4": 16, "c5": 32, "c6": 32}


class MobileNetV3Large(Backbone):
    """Stem, 15 inverted residuals, and the 1x1 convolution to 960 channels that ends the network, here `head`.

    A level is the output of the *first* block with its stride: c2 to c5; c1 is the stem's output, c6 the head's,
    whose stride is that of c5. The detectors use c5 and c6.

    Keys: stem.weight, stem.norm.*; blocks.0.depthwise.weight, ... with the parts of `InvertedResidual`;
    head.weight, head.norm.*.
    Freezing: freeze_at=k stops all that comes before the first block of c(k+1), 6 stops everything.
    """

    def __init__(
        self,
        *,
        norm: Norm,
        out_levels: Sequence[str] = ("c5", "c6"),
        freeze_at: int = 0,
        frozen_norm: FrozenNorm = "frozen_bn",
        checkpoint: bool = False,
    ) -> None:
        super().__init__(out_levels=out_levels, channels=CHANNELS, strides=STRIDES)
        check_freeze_at(freeze_at, highest=6)
        end = max(POSITIONS[level] for level in self.out_levels)
        self.stem = ConvNorm(3, STEM_CHANNELS, kernel_size=3, stride=2, bias=False, norm=norm, activation="hardswish")
        self.blocks = nn.ModuleList(_make_blocks(norm=norm)[: min(end, len(BLOCKS))])
        self.head: ConvNorm | None = None
        if end == HEAD_POSITION:
            self.head = ConvNorm(
                BLOCKS[-1][2], HEAD_CHANNELS, kernel_size=1, bias=False, norm=norm, activation="hardswish"
            )
        self.checkpoint = checkpoint
        self.level_after = {POSITIONS[level]: level for level in self.out_levels}
        init_convolutions(self, init_msra_per_group)
        first_learning = (0, *list(POSITIONS.values())[1:], HEAD_POSITION + 1)[freeze_at]
        for part in self._parts()[:first_learning]:
            freeze(part, norm=frozen_norm)

    def _parts(self) -> list[nn.Module]:
        return [self.stem, *self.blocks, *([] if self.head is None else [self.head])]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) in the network frame -> {level: (N, C, H / stride, W / stride)}, fine to coarse."""
        x, features = images, {}
        for position, part in enumerate(self._parts()):
            x = run_block(part, x, checkpointed=self.checkpoint)
            if position in self.level_after:
                features[self.level_after[position]] = x
        return features


def _make_blocks(*, norm: Norm) -> list[InvertedResidual]:
    blocks, in_channels = [], STEM_CHANNELS
    for kernel_size, expanded, out_channels, has_squeeze, activation, stride in BLOCKS:
        block = InvertedResidual(
            in_channels,
            expanded,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            squeezed_channels=round_channels(expanded // 4) if has_squeeze else 0,
            norm=norm,
            activation=activation,
            squeeze_activation="relu",
            gate="hardsigmoid",
        )
        blocks.append(block)
        in_channels = out_channels
    return blocks
