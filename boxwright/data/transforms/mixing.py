"""Several pictures in one: mosaic of four, and objects cut out of one and pasted into another."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from boxwright.data.resize import ResizeMethod
from boxwright.data.sample import FILL, Sample, crop_sample, has_mask, join_targets, place_target, settle_target
from boxwright.data.transforms.geometry import resize_sample
from boxwright.geometry.masks import encode_bitmap, segment_to_bitmap
from boxwright.types import Masks, Segment, Size, Target

SampleSource = Callable[[Generator], Sample]  # another random sample of the data set, after the steps before this one


@dataclass(frozen=True)
class Mosaic:
    """Four samples around a random point, each scaled to cover its quarter and cropped to it, with this probability."""

    probability: float
    draw: SampleSource
    method: ResizeMethod = "opencv"

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        height, width = sample.size
        if min(height, width) < 8:  # quarters of a few pixels show nothing
            return sample
        y, x = (int(side * rng.uniform(0.3, 0.7)) for side in (height, width))
        canvas = np.empty_like(sample.image)
        targets: list[Target] = []
        for left, top, right, bottom in ((0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)):
            source = self.draw(rng) if targets else sample
            quarter = _cover(source, (bottom - top, right - left), rng, self.method)
            canvas[top:bottom, left:right] = quarter.image
            targets.append(place_target(quarter.target, (height, width), x=left, y=top))
        return Sample(canvas, join_targets(targets))


def _cover(sample: Sample, size: Size, rng: Generator, method: ResizeMethod) -> Sample:
    scale = max(size[0] / sample.size[0], size[1] / sample.size[1])
    new = tuple(max(round(side * scale), wanted) for side, wanted in zip(sample.size, size, strict=True))
    scaled = resize_sample(sample, (new[0], new[1]), method=method)
    y, x = (int(rng.integers(0, side - wanted + 1)) for side, wanted in zip(scaled.size, size, strict=True))
    return crop_sample(scaled, (x, y, x + size[1], y + size[0]))


@dataclass(frozen=True)
class CopyPaste:
    """Objects with masks from another sample pasted over this one, with this probability.

    What they cover is taken off the masks below; objects with less than `least_visible` of their mask left are
    dropped, boxes are drawn around what can still be seen, and covered keypoints become hidden ones.
    """

    probability: float
    draw: SampleSource
    least_visible: float = 0.1
    method: ResizeMethod = "opencv"

    def __call__(self, sample: Sample, rng: Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        other = _fit(self.draw(rng), sample.size, self.method)
        pasted = _some_objects(other.target, rng)
        if pasted is None or pasted.masks is None or sample.target.masks is None:
            return sample
        cover = np.any([segment_to_bitmap(segment, sample.size) for segment in pasted.masks.segments], axis=0)
        image = np.where(cover[:, :, None], other.image, sample.image)
        below = _covered(sample.target, cover, self.least_visible)
        return Sample(image, join_targets([below, pasted]))


def _fit(sample: Sample, size: Size, method: ResizeMethod) -> Sample:
    """Shrunk where it is too large, then padded at the right and bottom."""
    scale = min(size[0] / sample.size[0], size[1] / sample.size[1], 1.0)
    if scale < 1:
        new = tuple(max(int(side * scale), 1) for side in sample.size)
        sample = resize_sample(sample, (new[0], new[1]), method=method)
    canvas = np.full((*size, 3), FILL, dtype=np.uint8)
    canvas[: sample.size[0], : sample.size[1]] = sample.image
    return Sample(canvas, place_target(sample.target, size, x=0, y=0))


def _some_objects(target: Target, rng: Generator) -> Target | None:
    """A random half, at least one, of those with a mask that are no crowds."""
    if target.masks is None or target.is_crowd is None:
        return None
    crowds = target.is_crowd.tolist()
    usable = [i for i, segment in enumerate(target.masks.segments) if segment and not crowds[i]]
    if not usable:
        return None
    chosen = rng.choice(usable, size=int(rng.integers(1, max(len(usable) // 2, 1) + 1)), replace=False)
    return target[torch.from_numpy(np.sort(chosen))]


def _covered(target: Target, cover: NDArray[np.bool_], least_visible: float) -> Target:
    assert target.masks is not None
    segments: list[Segment] = []
    visible = []
    for segment in target.masks.segments:
        bitmap = segment_to_bitmap(segment, target.size)
        left = bitmap & ~cover
        area, remaining = int(bitmap.sum()), int(left.sum())
        visible.append(area == 0 or remaining >= max(least_visible * area, 1))
        segments.append(segment if remaining == area else encode_bitmap(left))
    hidden = replace(target, masks=Masks(segments, target.size), keypoints=_hide(target.keypoints, cover))
    kept = hidden[torch.tensor(visible, dtype=torch.bool)]
    return settle_target(kept, had_mask=has_mask(kept))


def _hide(keypoints: torch.Tensor | None, cover: NDArray[np.bool_]) -> torch.Tensor | None:
    """Labelled points below the cover: visibility 2 becomes 1."""
    if keypoints is None:
        return None
    height, width = cover.shape
    rows = keypoints[..., 1].long().clamp(0, height - 1)
    columns = keypoints[..., 0].long().clamp(0, width - 1)
    below = torch.from_numpy(cover)[rows, columns] & (keypoints[..., 2] > 1)
    hidden = keypoints.clone()
    hidden[..., 2] = torch.where(below, torch.ones_like(hidden[..., 2]), hidden[..., 2])
    return hidden
