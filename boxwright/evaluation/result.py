"""The figures of an evaluation: numbers, arrays, and their forms for people and programs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.detections import DetectionTable
from boxwright.evaluation.ground_truth import GroundTruth
from boxwright.evaluation.matching import Curves, Tally
from boxwright.evaluation.protocol import Figure, Protocol


@dataclass(frozen=True, eq=False)
class Figures:
    """One kind of evaluation. Every figure is a fraction of 1, or -1 where there was nothing to measure, and can be
    read as an attribute: `figures.ap50`, `figures.ar_small`.
    """

    kind: str
    protocol: Protocol
    curves: Curves
    names: tuple[str, ...]  # (K,) categories
    frequency: tuple[str, ...] = ()  # (K,) of LVIS
    values: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", {figure.name: self._mean(figure) for figure in self.protocol.figures})

    def __getattr__(self, name: str) -> float:
        values: dict[str, float] = self.__dict__.get("values", {})
        if name not in values:
            raise AttributeError(f"{self.__dict__.get('kind')} figures have no {name!r}; they have {', '.join(values)}")
        return values[name]

    @property
    def stats(self) -> NDArray[np.float64]:
        """The figures in the order of the official code."""
        return np.array(list(self.values.values()))

    @property
    def per_class(self) -> dict[str, float]:
        """AP of each category by name."""
        return dict(zip(self.names, self.class_values("ap").tolist(), strict=True))

    def class_values(self, name: str) -> NDArray[np.float64]:
        """(K,) the figure `name`, such as ap50, of each category."""
        figure = next(figure for figure in self.protocol.figures if figure.name == name)
        cells = self._cells(figure)
        cells = cells.reshape(-1, cells.shape[-1])
        # A category has annotations that count at every threshold and recall, or at none.
        return cells.mean(axis=0) if len(self.names) else np.zeros(0)

    def _cells(self, figure: Figure) -> NDArray[np.float64]:
        """The part of the arrays a figure is the mean of, categories last."""
        cells = self.curves.recall if figure.recall else self.curves.precision
        if figure.threshold is not None:
            cells = cells[np.flatnonzero(self.protocol.thresholds == figure.threshold)]
        cells = cells[..., list(self.protocol.areas).index(figure.area), figure.limit]
        if figure.frequency is not None:
            cells = cells[..., [k for k, f in enumerate(self.frequency) if f == figure.frequency]]
        return cells

    def _mean(self, figure: Figure) -> float:
        cells = self._cells(figure)
        counted = cells[cells > -1]
        return float(np.mean(counted)) if counted.size else -1.0

    def to_dict(self) -> dict[str, Any]:
        """The figures by name, and "per_class": AP by category."""
        return {**self.values, "per_class": self.per_class}


@dataclass(frozen=True)
class Timing:
    """Seconds of a run, summed over its images; `devices` ran side by side."""

    num_images: int
    total: float  # everything: reading, preparing, computing, writing
    compute: float  # the detector alone
    devices: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Seconds in all, and of an image on one device."""
        per_image = self.devices / max(self.num_images, 1)
        return {
            "num_images": self.num_images,
            "devices": self.devices,
            "seconds": self.total,
            "compute_seconds": self.compute,
            "seconds_per_image": self.total * per_image,
            "compute_seconds_per_image": self.compute * per_image,
        }


@dataclass(frozen=True, eq=False)
class Scores:
    """All figures of one evaluation; a kind that was not evaluated is None."""

    box: Figures | None = None
    mask: Figures | None = None
    keypoint: Figures | None = None
    timing: Timing | None = None
    notes: tuple[str, ...] = ()
    detections: DetectionTable | None = field(default=None, repr=False)  # where they were kept

    def __iter__(self) -> Iterator[Figures]:
        return (figures for figures in (self.box, self.mask, self.keypoint) if figures is not None)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What was evaluated."""
        return tuple(figures.kind for figures in self)

    def to_dict(self) -> dict[str, Any]:
        """{"box": {"ap": ..., "ap50": ..., "per_class": {...}}, "mask": ..., "keypoint": ...}, fractions of 1."""
        by_kind = {"box": self.box, "mask": self.mask, "keypoint": self.keypoint}
        result: dict[str, Any] = {kind: figures and figures.to_dict() for kind, figures in by_kind.items()}
        if self.timing is not None:
            result["timing"] = self.timing.to_dict()
        if self.notes:
            result["notes"] = list(self.notes)
        return result

    def to_csv(self) -> str:
        """kind, category, figure, value: a line a number, the category empty for the mean over all."""
        from boxwright.evaluation.text import scores_to_csv

        return scores_to_csv(self)

    def __str__(self) -> str:
        from boxwright.evaluation.text import format_scores

        return format_scores(self)


def figures_of(tally: Tally, protocol: Protocol, ground_truth: GroundTruth) -> Figures:
    """Accumulates what was matched."""
    federated = ground_truth.federated
    return Figures(
        kind=tally.similarity.kind,
        protocol=protocol,
        curves=tally.curves(protocol.recalls, np.array(protocol.limits, dtype=np.int64)),
        names=ground_truth.names,
        frequency=federated.frequency if federated is not None else (),
    )
