"""Rings and bitmaps into each other without loss: outlines along pixel edges, holes, one ring for all."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.geometry.masks import Ring
from boxwright.types import Polygons


def ring_area(ring: Ring) -> float:
    """Signed: positive where the ring runs clockwise on the screen (y down)."""
    x, y = ring[0::2], ring[1::2]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def bitmap_to_rings(bitmap: NDArray[Any]) -> Polygons:
    """(H, W) bool -> its outlines along pixel edges: outer rings clockwise (positive area), holes the other way round.

    Rasterising the outer rings minus the holes gives the bitmap back exactly. Pixels that touch only at a corner
    belong to different rings.
    """
    starts, directions = _boundary_edges(np.pad(np.asarray(bitmap, dtype=bool), 1))
    by_start: dict[tuple[int, int], list[int]] = {}
    for edge, (x, y) in enumerate(starts):
        by_start.setdefault((x, y), []).append(edge)
    unused = set(range(len(starts)))
    return [_walk(first, starts, directions, by_start, unused) for first in range(len(starts)) if first in unused]


_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up: each a right turn of the one before


def _boundary_edges(padded: NDArray[np.bool_]) -> tuple[list[tuple[int, int]], list[int]]:
    """Unit edges with the object on their right hand: start points (x, y) and directions into _STEPS."""
    starts: list[tuple[int, int]] = []
    directions: list[int] = []
    inside = padded[1:-1, 1:-1]
    neighbours = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])  # above, right, below, left
    corners = ((0, 0), (1, 0), (1, 1), (0, 1))  # where the edge on that side of a pixel starts
    for direction, (neighbour, (dx, dy)) in enumerate(zip(neighbours, corners, strict=True)):
        rows, columns = np.nonzero(inside & ~neighbour)
        starts.extend(zip((columns + dx).tolist(), (rows + dy).tolist(), strict=True))
        directions.extend([direction] * len(rows))
    return starts, directions


def _walk(
    first: int,
    starts: list[tuple[int, int]],
    directions: list[int],
    by_start: dict[tuple[int, int], list[int]],
    unused: set[int],
) -> Ring:
    corners: list[int] = []
    edge, previous = first, -1
    while edge in unused:
        unused.remove(edge)
        direction = directions[edge]
        if direction != previous:
            corners.extend(starts[edge])
        previous = direction
        x, y = starts[edge]
        options = by_start[(x + _STEPS[direction][0], y + _STEPS[direction][1])]
        # Where two pixels touch at a corner the right turn stays with the pixel the edge came along.
        edge = min(options, key=lambda option: ((directions[option] - direction - 1) % 4, option))
    if len(corners) > 2 and previous == directions[first]:  # the walk began in the middle of a side
        del corners[:2]
    return np.array(corners, dtype=np.float64)


def join_rings(rings: Polygons) -> Ring:
    """All rings as one, for formats that have a single ring an object: joined by double lines at their nearest points.

    Outer rings must run one way and holes the other, as `bitmap_to_rings` gives them; the area is unchanged.
    """
    order = sorted(rings, key=lambda ring: abs(ring_area(ring)), reverse=True)
    joined = order[0].reshape(-1, 2)
    for ring in order[1:]:
        points = ring.reshape(-1, 2)
        distance = ((joined[:, None] - points[None]) ** 2).sum(axis=2)
        at, entry = np.unravel_index(int(distance.argmin()), distance.shape)
        loop = np.concatenate((np.roll(points, -entry, axis=0), points[entry : entry + 1]))
        joined = np.concatenate((joined[: at + 1], loop, joined[at:]))
    return joined.reshape(-1)


def one_way(rings: Polygons) -> Polygons:
    """Separate outer rings, all made clockwise, so that joining them adds their areas."""
    return [ring if ring_area(ring) >= 0 else ring.reshape(-1, 2)[::-1].reshape(-1) for ring in rings]


def self_intersections(ring: Ring) -> int:
    """How often sides of a ring that are not neighbours properly cross."""
    points = ring.reshape(-1, 2)
    if len(points) < 4:
        return 0
    start, end = points, np.roll(points, -1, axis=0)
    first, second = np.triu_indices(len(points), k=2)
    wraps = (first == 0) & (second == len(points) - 1)
    first, second = first[~wraps], second[~wraps]
    a, b, c, d = start[first], end[first], start[second], end[second]
    crossing = (_turn(a, b, c) * _turn(a, b, d) < 0) & (_turn(c, d, a) * _turn(c, d, b) < 0)
    return int(crossing.sum())


def _turn(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any]) -> NDArray[Any]:
    """The sign of the turn a -> b -> c; products of signs cannot overflow to nonsense."""
    first, second = b - a, c - a
    turn: NDArray[Any] = np.sign(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    return turn
