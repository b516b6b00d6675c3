"""Feature pyramid network: semantics from coarse levels, detail from fine ones."""

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from boxwright.errors import ConfigError
from boxwright.models.layers import ConvNorm, init_convolutions, init_xavier
from boxwright.models.norms import Norm

Fuse = Literal["sum", "avg"]
Source = Literal["input", "lateral", "output"]


class MaxPoolLevels(nn.Module):
    """Coarser levels that are every second cell of the one before. No weights."""

    source: Source = "output"

    def __init__(self, *, levels: Sequence[str] = ("p6",)) -> None:
        super().__init__()
        self.levels = tuple(levels)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The last level, (N, C, H, W) -> {level: (N, C, ceil(H / 2), ceil(W / 2))}, each half of the one before."""
        made = {}
        for level in self.levels:
            made[level] = x = F.max_pool2d(x, kernel_size=1, stride=2)
        return made


class ConvLevels(nn.Module):
    """Coarser levels by 3x3 convolutions of stride 2, each from the one before.

    The first reads what `source` names: the last level of the backbone ("input"), the last lateral map after
    fusing, or the last output. `relu_between` puts a ReLU before each but the first.

    Keys: p6.weight, p6.bias (or p6.norm.*), p7...
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        levels: Sequence[str] = ("p6", "p7"),
        source: Source,
        relu_between: bool,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.source: Source = source
        self.relu_between = relu_between
        for level in self.levels:
            self.add_module(level, ConvNorm(in_channels, out_channels, kernel_size=3, stride=2, norm=norm))
            in_channels = out_channels
        init_convolutions(self, init_xavier)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, in_channels, H, W) -> {level: (N, out_channels, ceil(H / 2), ceil(W / 2))}, and so on by halves."""
        made: dict[str, Tensor] = {}
        for level in self.levels:
            made[level] = x = self.get_submodule(level)(F.relu(x) if made and self.relu_between else x)
        return made


class FPN(nn.Module):
    """1x1 lateral convolutions, fused from coarse to fine, then a 3x3 convolution per level.

    Level cN of the backbone becomes pN. `out_channels` and `out_strides` describe the levels that `forward`
    returns, those of `extra` included.

    Keys: lateral.c2.weight, output.p2.weight, ... with .bias, or with .norm.* where there is a norm; those of
    `extra` under extra.: extra.p6.weight, ...
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
        """`in_channels` and `in_strides`: those of the levels to use, fine to coarse, as the backbone has them."""
        super().__init__()
        if not in_channels:
            raise ConfigError("neck has no input levels; name at least one level of the backbone")
        self.in_levels = tuple(in_channels)
        levels = [_pyramid_level(level) for level in self.in_levels]
        lateral_norm = norm if norm_on_lateral else None
        self.lateral = nn.ModuleDict(
            {
                level: ConvNorm(channels, out_channels, kernel_size=1, norm=lateral_norm)
                for level, channels in in_channels.items()
            }
        )
        self.output = nn.ModuleDict(
            {level: ConvNorm(out_channels, out_channels, kernel_size=3, norm=norm) for level in levels}
        )
        self.fuse: Fuse = fuse
        for part in (self.lateral, self.output):
            init_convolutions(part, init_xavier)
        self.extra = extra
        self.out_strides = {_pyramid_level(level): in_strides[level] for level in self.in_levels}
        stride = in_strides[self.in_levels[-1]]
        for level in extra.levels if extra is not None else ():
            self.out_strides[level] = stride = stride * 2
        self.out_channels = dict.fromkeys(self.out_strides, out_channels)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{cN: (N, C, H, W)} -> {pN: (N, out_channels, H, W)}, fine to coarse, then the extra levels."""
        laterals = self.fuse_down({level: self.lateral[level](features[level]) for level in self.in_levels})
        outputs = self.refine(laterals)
        if self.extra is not None:
            last = self.in_levels[-1]
            ends = {"input": features[last], "lateral": laterals[last], "output": outputs[_pyramid_level(last)]}
            outputs |= self.extra(ends[self.extra.source])
        return outputs

    def fuse_down(self, laterals: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add to each lateral map, in place, the fused one above it, each cell repeated to the finer size."""
        for fine, coarse in zip(self.in_levels[-2::-1], self.in_levels[:0:-1], strict=True):
            # By size and not by 2: a map of odd size has a coarser one of ceil(size / 2).
            laterals[fine] += F.interpolate(laterals[coarse], size=laterals[fine].shape[-2:], mode="nearest")
            if self.fuse == "avg":
                laterals[fine] /= 2
        return laterals

    def refine(self, laterals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{cN: fused} -> {pN: output}."""
        return {_pyramid_level(level): self.output[_pyramid_level(level)](x) for level, x in laterals.items()}


def _pyramid_level(level: str) -> str:
    """c4 -> p4."""
    return "p" + level.removeprefix("c")
