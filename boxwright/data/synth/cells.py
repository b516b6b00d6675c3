"""`cells`: what a microscope shows, glowing on dark or stained on light; touching, overlapping, with debris."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator

from boxwright.data.synth.outline import Points
from boxwright.data.synth.scene import Scene, Thing, merge_crowd, place_polygon, random_centre, random_side
from boxwright.data.synth.texture import Pixels, Rgb, add_grain, cloud_pattern, paint, random_colour, shade

CATEGORIES: list[dict[str, Any]] = [
    {"id": number, "name": name, "supercategory": "cell"}
    for number, name in enumerate(("round cell", "spindle cell", "dividing cell"), start=1)
]
ROUND, SPINDLE, DIVIDING = range(3)


@dataclass(frozen=True)
class _Stain:
    """The colours of one preparation: the ground, a cell's rim and body, its nucleus."""

    ground: Rgb
    rim: Rgb
    body: Rgb
    nucleus: Rgb


def draw_scene(rng: Generator, size: int) -> Scene:
    """One picture of size x size: a preparation with 8 to 20 cells on 320 x 320, debris, sometimes a clump."""
    stain = _stain(rng)
    pattern = cloud_pattern(rng, size, size, rng.uniform(40, 160))
    scene = Scene(paint(pattern, shade(stain.ground, 0.8), shade(stain.ground, 1.12)))
    number = max(1, round(int(rng.integers(8, 21)) * size / 320))
    if rng.random() < 0.12:
        scene.add(_clump(rng, scene, stain))
    _scatter_debris(rng, scene, stain)
    for _ in range(3 * number):
        side = random_side(rng, size, typical=0.4)
        number -= scene.add(_cell(rng, int(rng.integers(3)), side, random_centre(rng, scene, side), stain))
        if number == 0:
            break
    scene.picture = add_grain(rng, scene.picture, 5)
    return scene


def _stain(rng: Generator) -> _Stain:
    if rng.random() < 0.5:  # fluorescence: bright on dark
        glow = random_colour(rng, saturation=(0.3, 0.9), value=(0.75, 0.95))
        return _Stain(ground=shade(glow, 0.12), rim=shade(glow, 0.55), body=shade(glow, 0.7), nucleus=shade(glow, 1.25))
    ground = random_colour(rng, saturation=(0.03, 0.15), value=(0.85, 0.95))
    tissue = random_colour(rng, saturation=(0.3, 0.55), value=(0.6, 0.8))
    return _Stain(ground=ground, rim=shade(tissue, 0.7), body=tissue, nucleus=shade(tissue, 0.45))


def _cell(rng: Generator, category: int, side: float, centre: tuple[float, float], stain: _Stain) -> Thing:
    points = _membrane(rng, category)
    angle = rng.random() * 2 * np.pi
    points = points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points *= side / np.ptp(points, axis=0).max()
    x, y, mask, outline = place_polygon(points + centre)
    brightness = rng.uniform(0.85, 1.15)
    height, width = mask.shape
    body = paint(cloud_pattern(rng, height, width, max(5.0, side / 5)), shade(stain.body, 0.9), stain.body)
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    body[depth <= max(1.0, side * 0.035)] = stain.rim
    for middle in _nuclei(category, outline):
        _draw_nucleus(rng, body, middle, side, shade(stain.nucleus, brightness))
    return Thing(category, x, y, mask, body, outline=outline)


def _membrane(rng: Generator, category: int) -> Points:
    """An outline of about radius 1: a wobbling circle, a lens with drawn-out ends, or two lobes that part."""
    angles = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    wobble = 1 + sum(rng.uniform(0, 0.05) * np.cos(k * angles + rng.random() * 6.3) for k in (2, 3, 4))
    if category == ROUND:
        x, y = np.cos(angles), rng.uniform(0.85, 1.0) * np.sin(angles)
    elif category == SPINDLE:
        x, y = np.cos(angles), rng.uniform(0.22, 0.34) * np.sin(angles) * np.abs(np.sin(angles)) ** 0.7
    else:  # Cassini's oval, pinched in the middle
        pinch = rng.uniform(1.02, 1.08)
        radius = np.sqrt(np.cos(2 * angles) + np.sqrt(pinch**4 - np.sin(2 * angles) ** 2))
        x, y = radius * np.cos(angles), radius * np.sin(angles)
    points: Points = np.stack([x, y], axis=1) * np.asarray(wobble)[:, None]
    return points


def _nuclei(category: int, outline: Points) -> list[Points]:
    middle = outline.mean(axis=0)
    if category != DIVIDING:
        return [middle]
    # The outline starts at the tip of one lobe; the other tip is half way round.
    return [middle + (outline[index] - middle) * 0.55 for index in (0, len(outline) // 2)]


def _draw_nucleus(rng: Generator, body: Pixels, middle: Points, side: float, colour: Rgb) -> None:
    radius = side * rng.uniform(0.09, 0.14)
    if radius >= 1:
        x, y = np.round(middle * 8).astype(int).tolist()
        cv2.circle(body, (x, y), round(radius * 8), colour, thickness=-1, lineType=cv2.LINE_AA, shift=3)


def _scatter_debris(rng: Generator, scene: Scene, stain: _Stain) -> None:
    """Specks too small to be cells: a detector has to learn to leave them alone."""
    height, width = scene.owner.shape
    for _ in range(int(rng.integers(4, 16))):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        if scene.owner[y, x] == 0:
            cv2.circle(scene.picture, (x, y), int(rng.integers(1, 3)), shade(stain.rim, 0.9), thickness=-1)


def _clump(rng: Generator, scene: Scene, stain: _Stain) -> Thing:
    """15 to 35 small cells grown into one another: a crowd region."""
    height, width = scene.owner.shape
    reach = rng.uniform(16, 34) * min(1.0, width / 160)
    centre = np.array([rng.uniform(0.25, 0.75) * width, rng.uniform(0.25, 0.75) * height])
    members = []
    for _ in range(int(rng.integers(15, 36))):
        x, y = centre + rng.normal(size=2) * reach * 0.5
        members.append(_cell(rng, ROUND, rng.uniform(9, 15), (float(x), float(y)), stain))
    return merge_crowd(members)
