"""The keypoint head: pooled regions in, a heatmap per keypoint out."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from boxwright.models.layers import ConvNorm, init_convolutions, init_msra
from boxwright.models.upsampling import FixedUpsample, enlarge


class KeypointHead(nn.Module):
    """Convolutions with ReLU, then a stride-2 transposed convolution (or a 1x1 one) to the heatmaps, then enlargement.

    Keys: convs.0.weight, convs.0.bias, ...; deconv.weight, deconv.bias where a hidden transposed convolution stands
    before the last layer; logits.weight, logits.bias; upsample.weight, upsample.bias, which are constants, where the
    heatmaps are enlarged by a fixed kernel.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        conv_channels: Sequence[int],
        kernel_size: int,
        hidden_deconv: int | None,
        deconv: bool,
        deconv_kernel: int,
        enlarge_by: int,
        enlarge_by_kernel: bool,
        num_keypoints: int,
    ) -> None:
        super().__init__()
        channels = [in_channels, *conv_channels]
        self.convs = nn.ModuleList(
            ConvNorm(before, after, kernel_size=kernel_size, activation="relu")
            for before, after in itertools.pairwise(channels)
        )
        init_convolutions(self.convs, init_msra)
        width = channels[-1]
        self.deconv: nn.ConvTranspose2d | None = None
        if hidden_deconv is not None:
            self.deconv = _transposed(width, hidden_deconv, deconv_kernel)
            width = hidden_deconv
        self.logits: nn.Conv2d | nn.ConvTranspose2d
        self.logits = _transposed(width, num_keypoints, deconv_kernel) if deconv else nn.Conv2d(width, num_keypoints, 1)
        self.num_keypoints = num_keypoints
        self.enlarge_by = enlarge_by
        self.upsample = FixedUpsample(num_keypoints, enlarge_by) if enlarge_by_kernel and enlarge_by > 1 else None

    def forward(self, regions: Tensor) -> Tensor:
        """(R, C, P, P) pooled regions -> (R, K, S, S) logits of where each keypoint is."""
        x = regions
        for conv in self.convs:
            x = conv(x)
        if self.deconv is not None:
            x = F.relu_(self.deconv(x))
        x = self.logits(x)
        if self.upsample is not None:
            return self.upsample(x)  # type: ignore[no-any-return]
        return enlarge(x, self.enlarge_by)


def _transposed(in_channels: int, out_channels: int, kernel_size: int) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(in_channels, out_channels, kernel_size, stride=2, padding=kernel_size // 2 - 1)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def keypoint_targets(keypoints: Tensor, boxes: Tensor, *, size: int) -> tuple[Tensor, Tensor]:
    """(R, K, 3) keypoints and (R, 4) boxes in one frame -> (R, K) int64 cell of a size x size map, (R, K) bool.

    A continuous coordinate c lies in cell floor(c); one on the far border in the last cell. Points not labelled, or
    outside the box, have no target.
    """
    sides = (boxes[:, None, 2:] - boxes[:, None, :2]).clamp(min=1e-6)
    place = ((keypoints[..., :2] - boxes[:, None, :2]) * (size / sides)).floor()
    place = torch.where(keypoints[..., :2] == boxes[:, None, 2:], size - 1, place).long()
    is_valid = ((place >= 0) & (place < size)).all(dim=2) & (keypoints[..., 2] > 0)
    cell = place[..., 1] * size + place[..., 0]
    return torch.where(is_valid, cell, 0), is_valid


def visible_inside(keypoints: Tensor, boxes: Tensor) -> Tensor:
    """(..., K, 3) keypoints, (..., 4) boxes -> (...) int64: how many labelled ones lie in the box or on its border."""
    points = keypoints[..., :2]
    inside = (points >= boxes[..., None, :2]) & (points <= boxes[..., None, 2:])
    return (inside.all(dim=-1) & (keypoints[..., 2] > 0)).sum(dim=-1)
