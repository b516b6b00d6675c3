"""Path aggregation: a feature pyramid with a second path, from fine to coarse."""

from collections.abc import Mapping

from torch import Tensor, nn

from boxwright.models.fpn import FPN, ConvLevels, Fuse, MaxPoolLevels
from boxwright.models.layers import ConvNorm, init_convolutions, init_xavier
from boxwright.models.norms import Norm


class PAFPN(FPN):
    """FPN whose outputs are then added upwards: each level gets the one below it, shrunk by a stride-2 convolution.

    Keys: those of FPN, and for every level but the finest down.p3.weight (from p2 to p3) and path.p3.weight (the last
    convolution of p3), with .bias or .norm.*.
    """

    def __init__(
        self,
        *,
        in_channels: Mapping[str, int],
        in_strides: Mapping[str, int],
        out_channels: int = 256,
        norm: Norm | None = None,
        norm_on_lateral: bool = True,
        fuse: Fuse = "sum",
        extra: MaxPoolLevels | ConvLevels | None = None,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            in_strides=in_strides,
            out_channels=out_channels,
            norm=norm,
            norm_on_lateral=norm_on_lateral,
            fuse=fuse,
            extra=extra,
        )
        coarser = list(self.output)[1:]
        self.down = nn.ModuleDict(
            {level: ConvNorm(out_channels, out_channels, kernel_size=3, stride=2, norm=norm) for level in coarser}
        )
        self.path = nn.ModuleDict(
            {level: ConvNorm(out_channels, out_channels, kernel_size=3, norm=norm) for level in coarser}
        )
        for part in (self.down, self.path):
            init_convolutions(part, init_xavier)

    def refine(self, laterals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{cN: fused} -> {pN: output}."""
        outputs = super().refine(laterals)
        below: Tensor | None = None
        for level, x in outputs.items():
            if below is None:
                below = x
                continue
            x += self.down[level](below)
            outputs[level], below = self.path[level](x), x
        return outputs
