"""The second-stage box head: pooled regions in, class logits and box deltas out."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from boxwright.models.backbones.stage import Stage
from boxwright.models.layers import ConvNorm, Dense, init_convolutions, init_msra
from boxwright.models.norms import Norm


@dataclass(frozen=True)
class BoxPrediction:
    """What a box head says of R regions."""

    logits: Tensor  # (R, K + 1), background last
    deltas: Tensor  # (R, K, 4), or (R, 1, 4) for all classes together
    region_map: Tensor | None = None  # (R, C, H, W) of a head whose map the mask head shares


class BoxHead(nn.Module):
    """The two output layers that every box head ends with, on a vector per region.

    Keys: score.weight, score.bias (K + 1 rows, background last), delta.weight, delta.bias (4 K rows, or 4).
    """

    def __init__(self, *, in_features: int, num_classes: int, class_agnostic: bool) -> None:
        super().__init__()
        self.score = Dense(in_features, num_classes + 1)
        self.delta = Dense(in_features, 4 if class_agnostic else 4 * num_classes)
        for layer, deviation in ((self.score, 0.01), (self.delta, 0.001)):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)

    def predict(self, vectors: Tensor, region_map: Tensor | None = None) -> BoxPrediction:
        """(R, in_features) -> logits (R, K + 1), deltas (R, K or 1, 4)."""
        return BoxPrediction(self.score(vectors), self.delta(vectors).unflatten(1, (-1, 4)), region_map)

    def forward(self, regions: Tensor) -> BoxPrediction:
        """(R, C, P, P) pooled regions -> logits (R, K + 1), deltas (R, K or 1, 4)."""
        raise NotImplementedError


class ConvFcBoxHead(BoxHead):
    """3x3 convolutions, then fully connected layers, each with ReLU; dropout after the latter if asked for.

    Keys: convs.0.weight, convs.0.bias or convs.0.norm.*, ..., fcs.0.weight, fcs.0.bias, ...; score and delta.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        pooled_size: int,
        conv_channels: Sequence[int],
        fc_features: Sequence[int],
        norm: Norm | None,
        dropout: float,
        num_classes: int,
        class_agnostic: bool,
    ) -> None:
        channels = [in_channels, *conv_channels]
        widths = [channels[-1] * pooled_size**2, *fc_features]
        super().__init__(in_features=widths[-1], num_classes=num_classes, class_agnostic=class_agnostic)
        self.convs = nn.ModuleList(
            ConvNorm(before, after, kernel_size=3, norm=norm, activation="relu")
            for before, after in itertools.pairwise(channels)
        )
        self.fcs = nn.ModuleList(
            Dense(before, after, activation="relu") for before, after in itertools.pairwise(widths)
        )
        self.dropout = dropout
        init_convolutions(self.convs, init_msra)
        for layer in self.fcs:
            nn.init.kaiming_uniform_(layer.weight, a=1)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, regions: Tensor) -> BoxPrediction:
        """(R, C, P, P) pooled regions -> logits (R, K + 1), deltas (R, K or 1, 4)."""
        x = regions
        for conv in self.convs:
            x = conv(x)
        x = x.flatten(1)
        for layer in self.fcs:
            x = layer(x)
            if self.dropout:
                x = F.dropout(x, self.dropout, training=self.training)
        return self.predict(x)


class StageBoxHead(BoxHead):
    """The backbone's last stage on each pooled region, then the mean over its map (C4).

    Keys: c5.0.conv1.weight, ...; score and delta.
    """

    def __init__(self, *, stage: Stage, num_classes: int, class_agnostic: bool) -> None:
        super().__init__(in_features=stage.out_channels, num_classes=num_classes, class_agnostic=class_agnostic)
        self.c5 = stage

    def forward(self, regions: Tensor) -> BoxPrediction:
        """(R, C, P, P) pooled regions -> logits (R, K + 1), deltas (R, K or 1, 4) and the stage's map."""
        region_map = self.region_map(regions)
        return self.predict(region_map.mean(dim=(2, 3)), region_map)

    def region_map(self, regions: Tensor) -> Tensor:
        """(R, C, P, P) pooled regions -> (R, out_channels, P / 2, P / 2)."""
        out: Tensor = self.c5(regions)
        return out
