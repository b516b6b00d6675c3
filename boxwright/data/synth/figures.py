"""`figures`: jointed people among furniture, with COCO's 17 keypoints."""

from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from boxwright.data.synth.outline import Points
from boxwright.data.synth.pose import HEAD_RADIUS, JOINTS, SKELETON, Pose, random_pose
from boxwright.data.synth.scene import Scene, Thing, merge_crowd, place_polygon, random_centre, random_side
from boxwright.data.synth.shapes import polar
from boxwright.data.synth.texture import (
    Grey,
    Rgb,
    add_grain,
    any_pattern,
    cloud_pattern,
    contrasting_colour,
    paint,
    random_colour,
    shade,
)

CATEGORIES: list[dict[str, Any]] = [
    {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(JOINTS), "skeleton": SKELETON}
]
LABELLED_SIDE = 32  # pixels: smaller people have a mask and no keypoints, as in COCO

# Parts in the order of their numbers: (name, colour, (joint, radius in body heights)...). A part is the convex hull of
# its discs; what is nearer to the viewer is drawn later.
SKIN, SHIRT, TROUSERS, HAIR, SHOE, DARK = range(6)
PARTS: tuple[tuple[str, int, tuple[tuple[str, float], ...]], ...] = (
    ("torso", SHIRT, (("left_shoulder", 0.04), ("right_shoulder", 0.04), ("left_hip", 0.05), ("right_hip", 0.05))),
    ("hair", HAIR, (("crown", HEAD_RADIUS * 1.08),)),
    ("face", SKIN, (("chin", HEAD_RADIUS * 0.76), ("brow", HEAD_RADIUS * 0.84))),
    *(
        part
        for side in ("left", "right")
        for part in (
            (f"{side}_upper_arm", SHIRT, ((f"{side}_shoulder", 0.038), (f"{side}_elbow", 0.03))),
            (f"{side}_forearm", SKIN, ((f"{side}_elbow", 0.027), (f"{side}_wrist", 0.024))),
            (f"{side}_hand", SKIN, ((f"{side}_wrist", 0.032),)),
            (f"{side}_thigh", TROUSERS, ((f"{side}_hip", 0.058), (f"{side}_knee", 0.042))),
            (f"{side}_shank", TROUSERS, ((f"{side}_knee", 0.042), (f"{side}_ankle", 0.03))),
            (f"{side}_foot", SHOE, ((f"{side}_ankle", 0.036), (f"{side}_toe", 0.025))),
            (f"{side}_eye", DARK, ((f"{side}_eye", 0.011),)),
            (f"{side}_ear", SKIN, ((f"{side}_ear", 0.017),)),
        )
    ),
    ("nose", DARK, (("nose", 0.009),)),
)
EDGE = 64  # added to a part's number along its outline, which is drawn darker
DISC = polar([1.0] * 16)
ON_HEAD = {"hair", "face", "nose", "left_eye", "right_eye", "left_ear", "right_ear"}


def draw_scene(rng: Generator, size: int) -> Scene:
    """One picture of size x size: 2 to 5 people on 320 x 320, the small ones behind, and things in front of them."""
    ground = random_colour(rng, saturation=(0.0, 0.5), value=(0.3, 0.9))
    pattern = any_pattern(rng, size, size, rng.uniform(30, 140))
    scene = Scene(paint(pattern, shade(ground, 0.75), shade(ground, 1.12)))
    if rng.random() < 0.15:
        scene.add(_crowd(rng, scene, ground))
    number = max(1, round(int(rng.integers(2, 6)) * size / 320))
    for side in sorted(random_side(rng, size, typical=0.7) for _ in range(number)):
        if rng.random() < 0.3:
            scene.add(_furniture(rng, scene, ground))
        any(scene.add(_person(rng, side, random_centre(rng, scene, side), ground)) for _ in range(3))
    scene.add(_furniture(rng, scene, ground))
    scene.picture = add_grain(rng, scene.picture, 8)
    return scene


def _person(rng: Generator, side: float, centre: tuple[float, float], ground: Rgb) -> Thing:
    pose = random_pose(rng)
    points = _with_ends(pose)
    corners = np.array([point[:2] for point in points.values()])
    low, high = corners.min(axis=0) - HEAD_RADIUS, corners.max(axis=0) + HEAD_RADIUS
    scale = side / float((high - low).max())
    width, height = np.ceil((high - low) * scale + 4).astype(int).tolist()
    joints = {name: ((point[:2] - low) * scale + 2) for name, point in points.items()}
    top = _draw_parts(pose, points, joints, scale, height, width)
    pattern = cloud_pattern(rng, height, width, max(6.0, side / 8))
    return _crop(
        top=top,
        colours=_colour_parts(rng, top, pattern, ground),
        keypoints=_keypoints(pose, joints, top, is_labelled=side >= LABELLED_SIDE),
        corner=(round(centre[0] - width / 2), round(centre[1] - height / 2)),
    )


def _with_ends(pose: Pose) -> dict[str, NDArray[np.float64]]:
    """The joints, and points of the head and the feet, which are drawn and not annotated."""
    points = dict(pose.points)
    ahead = points["nose"] - points["head"]
    points["chin"] = points["head"] + (ahead[0] * 0.3, HEAD_RADIUS * 0.42, 0.0)
    points["brow"] = points["head"] + (ahead[0] * 0.22, HEAD_RADIUS * 0.05, 0.0)
    points["crown"] = points["head"] - (ahead[0] * 0.22, HEAD_RADIUS * 0.08, 0.0)
    for side in ("left", "right"):
        points[f"{side}_toe"] = points[f"{side}_ankle"] + (ahead[0] * 0.9, 0.02, 0.01)
    return points


def _draw_parts(
    pose: Pose, points: dict[str, NDArray[np.float64]], joints: dict[str, Points], scale: float, height: int, width: int
) -> Grey:
    """(height, width) the number (from 1) of the part that is seen at each pixel, 0 where there is none."""
    top = np.zeros((height, width), np.uint8)
    depths = [np.mean([points[joint][2] for joint, _ in discs]) + _bias(name, pose) for name, _, discs in PARTS]
    for index in np.argsort(depths, kind="stable").tolist():
        name, _, discs = PARTS[index]
        if not pose.faces.get(name, True):
            continue
        hull = _hull([(joints[joint], radius * scale) for joint, radius in discs])
        cv2.fillConvexPoly(top, hull, index + 1, shift=3)
        if scale > 60 and name not in ON_HEAD:
            cv2.polylines(top, [hull], True, index + 1 + EDGE, thickness=1 + int(scale > 200), shift=3)
    return top


def _bias(name: str, pose: Pose) -> float:
    """Depth that discs do not have: hair covers the face from behind, a shirt hangs over the trousers."""
    if name == "face":
        return 0.03 if any(pose.faces[part] for part in ("nose", "left_eye", "right_eye")) else -0.5
    if name in ON_HEAD:
        return {"hair": 0.02, "left_ear": 0.1, "right_ear": 0.1}.get(name, 0.2)
    return -0.05 if "thigh" in name or "shank" in name or "foot" in name else 0.0


def _hull(discs: list[tuple[Points, float]]) -> NDArray[np.int32]:
    """Convex outline of discs, in eighths of a pixel; the half pixel moves x, y to OpenCV's pixel centres."""
    rims = np.concatenate([centre + max(radius, 0.5) * DISC - 0.5 for centre, radius in discs])
    return np.asarray(cv2.convexHull(np.round(rims * 8).astype(np.int32)))


def _colour_parts(rng: Generator, top: Grey, pattern: Grey, ground: Rgb) -> NDArray[np.uint8]:
    skin = shade((236, 188, 150), rng.uniform(0.35, 1.05))
    hair, shoe = shade((120, 80, 40), rng.uniform(0.2, 1.6)), shade((90, 90, 100), rng.uniform(0.3, 2.0))
    coats = [skin, contrasting_colour(rng, ground), contrasting_colour(rng, ground), hair, shoe, shade(skin, 0.3)]
    palette = np.zeros((256, 3), np.uint16)
    for number, (_, coat, _) in enumerate(PARTS, start=1):
        palette[number], palette[number + EDGE] = coats[coat], shade(coats[coat], 0.6)
    light = 205 + pattern.astype(np.uint16) // 5  # of 255; the product stays below 65536
    return (palette.take(top, axis=0) * light[:, :, None] // 255).astype(np.uint8)


def _keypoints(pose: Pose, joints: dict[str, Points], top: Grey, *, is_labelled: bool) -> NDArray[np.int64]:
    """(17, 3) column, row and 2 where the joint's own part is on top, 1 behind another, 0 turned away or too small."""
    rows = []
    for name in JOINTS:
        column, row = np.floor(joints[name]).astype(int).tolist()
        number = int(top[row, column]) % EDGE
        is_own = number > 0 and _belongs(name, PARTS[number - 1])
        rows.append((column, row, (2 if is_own else 1) if is_labelled and pose.faces.get(name, True) else 0))
    return np.array(rows, np.int64)


def _belongs(joint: str, part: tuple[str, int, tuple[tuple[str, float], ...]]) -> bool:
    name, _, discs = part
    return name in ON_HEAD if joint in ON_HEAD else any(joint == end for end, _ in discs)


def _crop(*, top: Grey, colours: NDArray[np.uint8], keypoints: NDArray[np.int64], corner: tuple[int, int]) -> Thing:
    """The thing without the empty margin it was drawn with."""
    ys, xs = np.flatnonzero(top.any(axis=1)), np.flatnonzero(top.any(axis=0))
    y, x, window = int(ys[0]), int(xs[0]), (slice(ys[0], ys[-1] + 1), slice(xs[0], xs[-1] + 1))
    return Thing(0, corner[0] + x, corner[1] + y, top[window] > 0, colours[window], keypoints=keypoints - (x, y, 0))


def _furniture(rng: Generator, scene: Scene, ground: Rgb) -> Thing:
    """A box, a post or a bush to stand behind. It is not annotated."""
    height, width = scene.owner.shape
    aspect = {"box": (1.0, 0.8), "post": (0.16, 1.8), "bush": (1.0, 0.9)}
    name = ("box", "post", "bush")[int(rng.integers(3))]
    radii = [rng.uniform(0.8, 1.0) for _ in range(18)] if name == "bush" else [1.0] * 4
    points = polar(radii, turn=0.5) * aspect[name] * rng.uniform(0.08, 0.2) * width
    x, y, mask, outline = place_polygon(points + (rng.uniform(0, width), rng.uniform(0.3, 1.0) * height))
    colour = contrasting_colour(rng, ground, distance=60)
    colours = paint(any_pattern(rng, mask.shape[0], mask.shape[1], 16), shade(colour, 0.6), shade(colour, 0.9))
    return Thing(None, x, y, mask, colours, outline=outline)


def _crowd(rng: Generator, scene: Scene, ground: Rgb) -> Thing:
    """12 to 26 people far away, shoulder to shoulder."""
    height, width = scene.owner.shape
    reach = rng.uniform(20, 45) * min(1.0, width / 160)
    centre = np.array([rng.uniform(0.25, 0.75) * width, rng.uniform(0.2, 0.6) * height])
    spots = [centre + rng.uniform(-1, 1, size=2) * reach * (1.0, 0.2) for _ in range(int(rng.integers(12, 27)))]
    spots.sort(key=lambda spot: float(spot[1]))
    return merge_crowd([_person(rng, rng.uniform(12, 20), (float(x), float(y)), ground) for x, y in spots])
