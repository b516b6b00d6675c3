"""The settings of each op as one frozen value: packed where torch hands them over, and taken by every backend."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolingRule:
    """How regions of a pyramid become tensors of one size."""

    scales: Sequence[float]  # 1 / stride of each level
    output_size: tuple[int, int]  # bins in y and x


@dataclass(frozen=True, slots=True)
class AlignRule(PoolingRule):
    """The same for RoIAlign, whose bins are the mean of a grid of samples."""

    sampling_ratio: int  # samples per bin and axis; 0: one for each feature pixel begun
    aligned: bool  # whether pixel centres lie at halves; otherwise no RoI is smaller than one feature pixel


@dataclass(frozen=True, slots=True)
class ConvolutionRule:
    """Where the taps of a kernel lie before they are moved; each of y, then x."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]


@dataclass(frozen=True, slots=True)
class SuppressionRule:
    """When a box that stays removes another."""

    iou_threshold: float
    offset: float  # added to every width and height
    inclusive: bool  # whether an IoU that equals the threshold is enough


@dataclass(frozen=True, slots=True)
class DecayRule:
    """How a box lowers the scores of those it touches, and when they are dropped."""

    method: str  # "linear" or "gaussian"
    sigma: float  # of "gaussian"
    iou_threshold: float  # of "linear"
    min_score: float
    offset: float  # added to every width and height


@dataclass(frozen=True, slots=True)
class VotingRule:
    """Who votes on a box, and what becomes of its score."""

    iou_threshold: float
    scoring: str  # one of `ops.suppression.SCORINGS`
    beta: float  # exponent or temperature of the scoring
    offset: float  # added to every width and height


@dataclass(frozen=True, slots=True)
class PasteRule:
    """How the mask of a box becomes a bitmap of its image."""

    size: tuple[int, int]  # height and width of the image
    threshold: float
    method: str  # "sampled" or "resized"


@dataclass(frozen=True, slots=True)
class DrawingRule:
    """How outlines are drawn as seen through a box."""

    size: int  # side of the bitmap in pixels
    min_side: float  # that a side of a box counts as at least, in pixels
    single_precision: bool  # whether points are placed in float32, multiplying before dividing
