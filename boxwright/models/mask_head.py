"""The mask head: pooled regions in, a small mask per region and class out."""

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boxwright.models.backbones.stage import Stage
from boxwright.models.layers import ConvNorm, init_convolutions, init_msra
from boxwright.models.norms import Norm
from boxwright.models.upsampling import FixedUpsample, enlarge

Upsample = Literal["deconv", "bilinear", "none"]


class MaskHead(nn.Module):
    """A backbone stage (v0up), 3x3 convolutions, doubling, 1x1 convolution to the logits.

    All but the last may be absent.

    Keys: c5.0.conv1.weight, ...; convs.0.weight, convs.0.bias or convs.0.norm.*, ...; deconv.weight, deconv.bias;
    logits.weight, logits.bias (K rows, or 1 for all classes together); upsample.weight, upsample.bias, which are
    constants, where the logits are enlarged by a fixed kernel.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        stage: Stage | None,
        conv_channels: Sequence[int],
        dilation: int,
        norm: Norm | None,
        upsample: Upsample,
        upsample_channels: int,
        enlarge_by: int,
        enlarge_by_kernel: bool,
        num_classes: int,
        class_agnostic: bool,
    ) -> None:
        super().__init__()
        self.c5 = stage
        channels = [in_channels if stage is None else stage.out_channels, *conv_channels]
        self.convs = nn.ModuleList(
            ConvNorm(before, after, kernel_size=3, dilation=dilation, norm=norm, activation="relu")
            for before, after in itertools.pairwise(channels)
        )
        init_convolutions(self.convs, init_msra)
        self.doubling: Upsample = upsample
        self.deconv: nn.ConvTranspose2d | None = None
        width = channels[-1]
        if upsample == "deconv":
            self.deconv = nn.ConvTranspose2d(width, upsample_channels, 2, stride=2)
            nn.init.kaiming_normal_(self.deconv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(self.deconv.bias)  # type: ignore[arg-type]
            width = upsample_channels
        rows = 1 if class_agnostic else num_classes
        self.logits = nn.Conv2d(width, rows, 1)
        nn.init.normal_(self.logits.weight, std=0.001)
        nn.init.zeros_(self.logits.bias)  # type: ignore[arg-type]
        self.enlarge_by = enlarge_by
        self.upsample = FixedUpsample(rows, enlarge_by) if enlarge_by_kernel and enlarge_by > 1 else None

    def forward(self, regions: Tensor, labels: Tensor) -> Tensor:
        """(R, C, P, P) pooled regions and the (R,) class of each -> (R, M, M) logits of that class.

        Only the wanted class is computed: of K maps a region needs one.
        """
        x = self.features(regions)
        row = torch.zeros_like(labels) if self.logits.out_channels == 1 else labels
        weight, bias = self.logits.weight[row, :, 0, 0], self.logits.bias
        assert bias is not None
        chosen = torch.einsum("rchw,rc->rhw", x, weight.to(x.dtype)) + bias[row].to(x.dtype)[:, None, None]
        return self._enlarged(chosen[:, None])[:, 0]

    def features(self, regions: Tensor) -> Tensor:
        """(R, C, P, P) -> what the logits are read from, (R, C', M, M)."""
        x = regions if self.c5 is None else self.c5(regions)
        for conv in self.convs:
            x = conv(x)
        if self.deconv is not None:
            return F.relu_(self.deconv(x))
        if self.doubling == "bilinear":
            return enlarge(x, 2)
        return x

    def _enlarged(self, logits: Tensor) -> Tensor:
        if self.upsample is not None:
            return self.upsample(logits)  # type: ignore[no-any-return]
        return enlarge(logits, self.enlarge_by)
