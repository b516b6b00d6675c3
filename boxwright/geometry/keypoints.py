"""Keypoints as (N, K, 3) floats: x, y and visibility (0 not labelled, 1 hidden, 2 seen); without a label all are 0."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

FlipPairs = Sequence[tuple[int, int]]

_SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"), ("l", "r"), ("L", "R"))


def flip_pairs_from_names(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of indices whose names differ only by their side: left_eye, right_eye; EyeL, EyeR; l_eye, r_eye."""
    positions = {name: index for index, name in enumerate(names)}
    pairs = set()
    for name, index in positions.items():
        for other in _mirrored_names(name):
            if other in positions:
                pairs.add((index, positions[other]))
    return tuple(sorted(pairs))


def _mirrored_names(name: str) -> list[str]:
    mirrored = []
    for left, right in _SIDES:
        if len(left) > 1:
            pattern = left
        elif left.islower():  # a letter names a side only where it stands alone: l_eye, eye-l, "eye l"
            pattern = rf"(?<![^\W_]){left}(?![^\W_])"
        else:
            pattern = rf"(?<![A-Z]){left}(?![a-z])"
        other, found = re.subn(pattern, right, name, count=1)
        if found:
            mirrored.append(other)
    return mirrored


def flip_order(num_keypoints: int, pairs: FlipPairs) -> list[int]:
    """For each keypoint, the index of the one that takes its place in the mirrored image."""
    order = list(range(num_keypoints))
    for left, right in pairs:
        order[left], order[right] = right, left
    return order


def flip_keypoints(keypoints: Tensor, width: float, pairs: FlipPairs) -> Tensor:
    """(N, K, 3) mirrored left to right inside `width`; left and right parts change places."""
    flipped = keypoints[:, flip_order(keypoints.shape[1], pairs)].clone()
    flipped[..., 0] = width - flipped[..., 0]
    return _clear_unlabelled(flipped)


def flip_keypoints_vertically(keypoints: Tensor, height: float) -> Tensor:
    """(N, K, 3) mirrored top to bottom inside `height`; no parts change places."""
    flipped = keypoints.clone()
    flipped[..., 1] = height - flipped[..., 1]
    return _clear_unlabelled(flipped)


def scale_keypoints(keypoints: Tensor, scale: tuple[float, float]) -> Tensor:
    """Multiplied by the (y, x) factors."""
    return keypoints * keypoints.new_tensor([scale[1], scale[0], 1.0])


def shift_keypoints(keypoints: Tensor, *, x: float, y: float) -> Tensor:
    """Moved right by `x` and down by `y` pixels; those without a label stay at 0."""
    return _clear_unlabelled(keypoints + keypoints.new_tensor([x, y, 0.0]))


def map_keypoints(keypoints: Tensor, matrix: Tensor) -> Tensor:
    """(N, K, 3) through a (2, 3) affine map."""
    points = keypoints[..., :2].to(matrix.dtype) @ matrix[:, :2].T + matrix[:, 2]
    return _clear_unlabelled(torch.cat((points.to(keypoints.dtype), keypoints[..., 2:]), dim=-1))


def drop_outside_keypoints(keypoints: Tensor, size: tuple[int, int]) -> Tensor:
    """Points outside the image of `size` become unlabelled."""
    height, width = size
    x, y = keypoints[..., 0], keypoints[..., 1]
    inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    return keypoints * inside[..., None]


def _clear_unlabelled(keypoints: Tensor) -> Tensor:
    return keypoints * (keypoints[..., 2:] > 0)
