"""`shapes`: flat figures with a texture of their own, turned, stretched and laid over one another."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator

from boxwright.data.synth.outline import Points, fill_polygon
from boxwright.data.synth.scene import Scene, Thing, merge_crowd, place_polygon, random_centre, random_side
from boxwright.data.synth.texture import add_grain, any_pattern, contrasting_colour, paint, random_colour, shade


def polar(radii: list[float], turn: float = 0.0) -> Points:
    """(N, 2) the polygon through radii at equal angles, the first pointing up."""
    angles = 2 * np.pi * (np.arange(len(radii)) + turn) / len(radii) - np.pi / 2
    points: Points = np.array(radii)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return points


def _cross(rng: Generator) -> Points:
    arm = rng.uniform(0.28, 0.38)
    quarter = np.array([[-arm, -1.0], [arm, -1.0], [arm, -arm]])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])


# name -> an outline of about radius 1 (a ring is the circle whose middle is cut out)
OUTLINES: dict[str, Callable[[Generator], Points]] = {
    "circle": lambda rng: polar([1.0] * 48),
    "square": lambda rng: polar([1.0] * 4, turn=0.5),
    "triangle": lambda rng: polar([1.0] * 3),
    "star": lambda rng: polar([1.0, rng.uniform(0.42, 0.52)] * 5),
    "ring": lambda rng: polar([1.0] * 48),
    "cross": _cross,
}
CATEGORIES: list[dict[str, Any]] = [
    {"id": number, "name": name, "supercategory": "shape"} for number, name in enumerate(OUTLINES, start=1)
]


def draw_scene(rng: Generator, size: int) -> Scene:
    """One picture of size x size: a textured ground, 4 to 9 shapes on 320 x 320, sometimes a crowd of tiny ones."""
    ground = random_colour(rng, saturation=(0.0, 0.6), value=(0.15, 0.9))
    pattern = any_pattern(rng, size, size, rng.uniform(24, 120))
    scene = Scene(paint(pattern, shade(ground, 0.7), shade(ground, 1.15)))
    number = max(1, round(int(rng.integers(4, 10)) * size / 320))
    if rng.random() < 0.12:
        scene.add(_crowd(rng, scene, ground))
    for _ in range(3 * number):
        side = random_side(rng, size)
        thing = _shape(rng, int(rng.integers(len(OUTLINES))), side, random_centre(rng, scene, side), ground)
        number -= scene.add(thing)
        if number == 0:
            break
    scene.picture = add_grain(rng, scene.picture, 8)
    return scene


def _shape(
    rng: Generator, category: int, side: float, centre: tuple[float, float], ground: tuple[int, int, int]
) -> Thing:
    name = CATEGORIES[category]["name"]
    points = OUTLINES[name](rng) * (1.0, rng.uniform(0.75, 1.0))
    angle = rng.random() * 2 * np.pi
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = points @ turn
    points *= side / np.ptp(points, axis=0).max()
    x, y, mask, outline = place_polygon(points + centre)
    has_hole = name == "ring" and side >= 12
    if has_hole:
        middle = outline.mean(axis=0)
        mask = mask & ~fill_polygon(middle + (outline - middle) * rng.uniform(0.45, 0.6), *mask.shape)
    colour = contrasting_colour(rng, ground)
    height, width = mask.shape
    pattern = any_pattern(rng, height, width, period=max(6.0, side * rng.uniform(0.15, 0.5)))
    colours = paint(pattern, shade(colour, 0.75), shade(colour, 1.1))
    return Thing(category, x, y, mask, colours, outline=None if has_hole else outline)


def _crowd(rng: Generator, scene: Scene, ground: tuple[int, int, int]) -> Thing:
    """12 to 30 tiny shapes of one class, heaped so that nobody would label them one by one."""
    height, width = scene.owner.shape
    category, reach = int(rng.integers(len(OUTLINES))), rng.uniform(18, 40) * min(1.0, width / 160)
    centre = np.array([rng.uniform(0.25, 0.75) * width, rng.uniform(0.25, 0.75) * height])
    members = []
    for _ in range(int(rng.integers(12, 31))):
        x, y = centre + rng.normal(size=2) * reach * (0.6, 0.35)
        members.append(_shape(rng, category, rng.uniform(8, 14), (float(x), float(y)), ground))
    return merge_crowd(members)
