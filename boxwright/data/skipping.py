"""Samples that cannot be read: skipped, named once, counted, and too many of them stop the run."""

import logging
from typing import Any, NamedTuple

from boxwright.errors import DatasetError

logger = logging.getLogger("boxwright.data")


class Skip(NamedTuple):
    """What a worker reports."""

    position: int
    place: str
    reason: str


class SkipCount:
    """Keeps count for one rank. The share is of different images, so a second epoch does not count one again."""

    def __init__(self, *, num_images: int, max_share: float) -> None:
        self.num_images, self.max_share = num_images, max_share
        self.reasons: dict[int, Skip] = {}
        self.num_skips = 0

    def add(self, skips: list[Skip]) -> None:
        """Logs those that are new; a DatasetError once more than one image and more than `max_share` of all are bad."""
        for skip in skips:
            self.num_skips += 1
            if skip.position not in self.reasons:
                self.reasons[skip.position] = skip
                logger.warning("skipped %s: %s", skip.place, skip.reason)
        # A single bad image never stops a run, however small the set.
        if len(self.reasons) > max(1.0, self.max_share * self.num_images):
            first = next(iter(self.reasons.values()))
            raise DatasetError(
                f"{len(self.reasons)} of {self.num_images} images could not be read, more than the share of "
                f"{self.max_share:g} that is allowed (data.max_bad_share); first: {first.place}: {first.reason}. "
                "`boxwright data check` lists them all"
            )

    def summary(self) -> dict[str, Any]:
        """Counts, and the first five images with their reasons."""
        return {
            "images": self.num_images,
            "bad_images": len(self.reasons),
            "skips": self.num_skips,
            "first": [f"{skip.place}: {skip.reason}" for skip in list(self.reasons.values())[:5]],
        }
