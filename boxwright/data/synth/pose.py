"""Bodies: 17 joints in space from a handful of angles, seen from any side.

Body frame: the origin is the middle of the hips, a standing body is about 1 tall. Image frame of the result: x to the
right, y down, z towards the viewer (only its order matters). "Left" is the person's own left, as in COCO.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

JOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee"),
    *("left_ankle", "right_ankle"),
)
# COCO's pairs, counted from 1
SKELETON = [
    *([16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9]),
    *([8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]),
]
HEAD_RADIUS = 0.068
TORSO, NECK = 0.30, 0.10
UPPER_ARM, FOREARM, THIGH, SHANK = 0.17, 0.15, 0.24, 0.23
SHOULDER, HIP = 0.115, 0.075  # half widths

Point = NDArray[np.float64]  # (3,)


@dataclass(frozen=True)
class Pose:
    """`points`: joint name (and "head", the middle of the head) -> x, y, z. `faces`: which of the face can be seen."""

    points: dict[str, Point]
    faces: dict[str, bool]


def random_pose(rng: Generator) -> Pose:
    """Standing, walking, reaching, crouching or sitting; mostly turned to the viewer, sometimes away."""
    yaw = float(rng.choice([0.0, np.pi], p=[0.8, 0.2]) + rng.normal() * 0.55)
    lean = float(rng.normal() * 0.12)
    neck = np.array([0.0, -TORSO, 0.0])
    body: dict[str, Point] = {"head": neck + (0.0, -NECK - 0.02, 0.01)}
    is_sitting, gait = rng.random() < 0.15, float(rng.normal() * 0.45)
    for name, side in (("left", 1.0), ("right", -1.0)):
        shoulder, hip = neck + (side * SHOULDER, 0.02, 0.0), np.array([side * HIP, 0.0, 0.0])
        body |= _arm(rng, name, side, shoulder, swing=-side * gait)
        body |= _leg(rng, name, side, hip, swing=1.4 if is_sitting else side * gait, is_sitting=is_sitting)
    seen = {name: _tilt(_turn(point, yaw), lean) for name, point in body.items()}
    face, faces = _face(yaw)
    seen |= {name: seen["head"] + _tilt(offset, lean) for name, offset in face.items()}
    return Pose(points=seen, faces=faces)


def _direction(side: float, abduction: float, flexion: float) -> Point:
    """A unit vector hanging down, lifted sideways (away from the body) by one angle and forwards by the other."""
    across = np.sin(abduction)
    return np.array([side * across, np.cos(abduction) * np.cos(flexion), np.cos(abduction) * np.sin(flexion)])


def _arm(rng: Generator, name: str, side: float, shoulder: Point, *, swing: float) -> dict[str, Point]:
    is_raised = rng.random() < 0.25
    abduction = rng.uniform(1.3, 2.6) if is_raised else rng.uniform(0.05, 0.9)
    flexion = swing + rng.uniform(-0.2, 0.5)
    elbow = shoulder + UPPER_ARM * _direction(side, abduction, flexion)
    bend = rng.uniform(-0.3, 1.2) if is_raised else rng.uniform(-0.9, 0.5)
    wrist = elbow + FOREARM * _direction(side, abduction + bend, flexion + rng.uniform(0.0, 1.3))
    return {f"{name}_shoulder": shoulder, f"{name}_elbow": elbow, f"{name}_wrist": wrist}


def _leg(rng: Generator, name: str, side: float, hip: Point, *, swing: float, is_sitting: bool) -> dict[str, Point]:
    abduction = rng.uniform(0.0, 0.35)
    knee = hip + THIGH * _direction(side, abduction, swing)
    bend = rng.uniform(1.2, 1.6) if is_sitting else max(0.0, rng.normal() * 0.4)
    ankle = knee + SHANK * _direction(side, abduction * rng.uniform(-0.3, 1.0), swing - bend)
    return {f"{name}_hip": hip, f"{name}_knee": knee, f"{name}_ankle": ankle}


def _face(yaw: float) -> tuple[dict[str, Point], dict[str, bool]]:
    """Offsets from the middle of the head on its surface, and which of them face the viewer."""
    places = {"nose": (0.0, 0.1), "left_eye": (0.5, -0.2), "right_eye": (-0.5, -0.2)}
    places |= {"left_ear": (np.pi / 2, 0.0), "right_ear": (-np.pi / 2, 0.0)}
    offsets, faces = {}, {}
    for name, (angle, down) in places.items():
        towards = np.cos(yaw + angle)
        offsets[name] = HEAD_RADIUS * np.array([0.92 * np.sin(yaw + angle), down, towards])
        faces[name] = bool(towards > (-0.45 if "ear" in name else 0.05))
    return offsets, faces


def _turn(point: Point, yaw: float) -> Point:
    """About the vertical: at yaw 0 the body faces the viewer, its left on the image's right."""
    across, down, forward = point
    return np.array([
        across * np.cos(yaw) + forward * np.sin(yaw), down, forward * np.cos(yaw) - across * np.sin(yaw)
    ])  # fmt: skip


def _tilt(point: Point, lean: float) -> Point:
    x, y, z = point
    return np.array([x * np.cos(lean) - y * np.sin(lean), x * np.sin(lean) + y * np.cos(lean), z])
