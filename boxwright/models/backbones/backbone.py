"""What every backbone promises: images in, feature maps by level name out."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from boxwright.errors import ConfigError


class Backbone(nn.Module):
    """Base of the backbones.

    Levels are called c1, c2, ... from fine to coarse. `out_channels` and `out_strides` tell, for each level that
    `forward` returns, its channels and how many pixels of the network frame one cell stands for.

    `freeze_at=k`, in every backbone, stops everything up to level ck from learning; 0 freezes nothing.
    """

    def __init__(self, *, out_levels: Sequence[str], channels: Mapping[str, int], strides: Mapping[str, int]) -> None:
        """`channels` and `strides` describe all levels that the architecture has; `out_levels` are those wanted."""
        super().__init__()
        unknown = [level for level in out_levels if level not in channels]
        if unknown or not out_levels:
            raise ConfigError(f"backbone levels are {list(out_levels)}; expected some of {', '.join(channels)}")
        self.out_levels = tuple(level for level in channels if level in out_levels)
        self.out_channels = {level: channels[level] for level in self.out_levels}
        self.out_strides = {level: strides[level] for level in self.out_levels}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) in the network frame -> {level: (N, C, H / stride, W / stride)}, fine to coarse."""
        raise NotImplementedError


def check_freeze_at(freeze_at: int, *, highest: int) -> None:
    """A ConfigError unless `freeze_at` is 0 to `highest`."""
    if not 0 <= freeze_at <= highest:
        raise ConfigError(f"backbone freeze_at is {freeze_at}; expected 0 (nothing) to {highest} (everything)")
