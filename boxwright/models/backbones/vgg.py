"""VGG-16 as a backbone."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from boxwright.models.backbones.backbone import Backbone, check_freeze_at
from boxwright.models.layers import ConvNorm, freeze, init_convolutions, init_msra

WIDTHS = {"c1": (64, 64), "c2": (128, 128), "c3": (256, 256, 256), "c4": (512, 512, 512), "c5": (512, 512, 512)}
CHANNELS = {level: widths[-1] for level, widths in WIDTHS.items()}
STRIDES = {"c1": 1, "c2": 2, "c3": 4, "c4": 8, "c5": 16}


class VGG16(Backbone):
    """Thirteen 3x3 convolutions in five groups; each group after the first starts with a 2x2 max-pool.

    Levels are named after the groups: c5 is conv5_3 after its ReLU, of stride 16. The pool and the two fully
    connected layers that follow it belong to the box head, which reads 7 x 7 cells of 512 channels.

    Keys: c1.conv1.weight, c1.conv1.bias, ... c5.conv3.bias; c<g>.conv<i> is conv<g>_<i>.
    """

    def __init__(self, *, out_levels: Sequence[str] = ("c5",), freeze_at: int = 0) -> None:
        super().__init__(out_levels=out_levels, channels=CHANNELS, strides=STRIDES)
        check_freeze_at(freeze_at, highest=5)
        self.levels = tuple(WIDTHS)[: max(map(list(WIDTHS).index, self.out_levels)) + 1]
        in_channels = 3
        for level in self.levels:
            group = nn.Sequential()
            for number, width in enumerate(WIDTHS[level], start=1):
                group.add_module(f"conv{number}", ConvNorm(in_channels, width, kernel_size=3, activation="relu"))
                in_channels = width
            self.add_module(level, group)
        init_convolutions(self, init_msra)
        for level in self.levels[:freeze_at]:
            freeze(self.get_submodule(level))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) in the network frame -> {level: (N, C, H / stride, W / stride)}, fine to coarse."""
        x, features = images, {}
        for level in self.levels:
            if level != "c1":
                x = F.max_pool2d(x, kernel_size=2, stride=2)
            x = self.get_submodule(level)(x)
            if level in self.out_levels:
                features[level] = x
        return features
