"""What a benchmark measures: its thresholds, ranges and limits, and the names of its figures."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_FAR = 1e5**2
_SMALL, _LARGE = 32.0**2, 96.0**2


@dataclass(frozen=True)
class Figure:
    """One number of a protocol: mean precision or recall over the thresholds and categories it asks for."""

    name: str
    label: str  # as the field prints it
    recall: bool = False
    threshold: float | None = None  # None: over all
    area: str = "all"
    limit: int = -1  # position in the protocol's limits
    frequency: str | None = None  # LVIS: only rare ("r"), common ("c") or frequent ("f") categories


@dataclass(frozen=True)
class Protocol:
    """The figures of a benchmark, and what they are computed from."""

    figures: tuple[Figure, ...]
    areas: dict[str, tuple[float, float]]  # in square pixels, both ends included
    limits: tuple[int, ...]  # ascending: detections of an image and category that are looked at
    thresholds: NDArray[np.float64] = field(default_factory=lambda: np.linspace(0.5, 0.95, 10))
    recalls: NDArray[np.float64] = field(default_factory=lambda: np.linspace(0.0, 1.0, 101))

    def area_bounds(self) -> NDArray[np.float64]:
        """(A, 2)."""
        return np.array(list(self.areas.values()), dtype=np.float64)


_AREAS = {"all": (0.0, _FAR), "small": (0.0, _SMALL), "medium": (_SMALL, _LARGE), "large": (_LARGE, _FAR)}
_PRECISION = (
    Figure("ap", "AP"),
    Figure("ap50", "AP50", threshold=0.5),
    Figure("ap75", "AP75", threshold=0.75),
    Figure("ap_small", "APs", area="small"),
    Figure("ap_medium", "APm", area="medium"),
    Figure("ap_large", "APl", area="large"),
)

COCO = Protocol(
    figures=(
        *_PRECISION,
        Figure("ar1", "AR1", recall=True, limit=0),
        Figure("ar10", "AR10", recall=True, limit=1),
        Figure("ar100", "AR100", recall=True, limit=2),
        Figure("ar_small", "ARs", recall=True, area="small"),
        Figure("ar_medium", "ARm", recall=True, area="medium"),
        Figure("ar_large", "ARl", recall=True, area="large"),
    ),
    areas=_AREAS,
    limits=(1, 10, 100),
)

COCO_KEYPOINTS = Protocol(
    figures=(
        *(figure for figure in _PRECISION if figure.area != "small"),
        Figure("ar", "AR", recall=True),
        Figure("ar50", "AR50", recall=True, threshold=0.5),
        Figure("ar75", "AR75", recall=True, threshold=0.75),
        Figure("ar_medium", "ARm", recall=True, area="medium"),
        Figure("ar_large", "ARl", recall=True, area="large"),
    ),
    areas={name: bounds for name, bounds in _AREAS.items() if name != "small"},
    limits=(20,),
)

LVIS = Protocol(
    figures=(
        *_PRECISION,
        Figure("ap_rare", "APr", frequency="r"),
        Figure("ap_common", "APc", frequency="c"),
        Figure("ap_frequent", "APf", frequency="f"),
        Figure("ar300", "AR300", recall=True),
        Figure("ar_small", "ARs", recall=True, area="small"),
        Figure("ar_medium", "ARm", recall=True, area="medium"),
        Figure("ar_large", "ARl", recall=True, area="large"),
    ),
    areas=_AREAS,
    limits=(300,),
)


def coco_protocol(kind: str) -> Protocol:
    """COCO's for box, mask or keypoint."""
    return COCO_KEYPOINTS if kind == "keypoint" else COCO
