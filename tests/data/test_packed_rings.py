"""Polygons in few bits: what comes out is what went in, to the bit of a double."""

import numpy as np
import pytest

from boxwright.data import packed_rings
from boxwright.data.columns import narrow, offsets
from boxwright.data.packed_rings import image_rings, pack_rings

SQUARE = [10.0, 10.0, 20.5, 10.0, 20.5, 20.25, 10.0, 20.25]
FAR = [0.0, 0.0, 21474836.47, 0.01, -21474836.47, 3.0]
THIRDS = [1 / 3, 2 / 3, 1e300, -1e-300, 5.0, 0.1 + 0.2]
POINT = [7.07] * 6
TWO_STEPS = [0.0, 0.0, 0.01, 0.0, 0.0, 0.01]


def pack(images):
    """Images of objects of rings of numbers."""
    objects = [rings for image in images for rings in image]
    rings = [ring for found in objects for ring in found]
    first = offsets([len(image) for image in images])
    columns = pack_rings(
        np.array([number for ring in rings for number in ring], dtype=np.float64),
        lengths=np.array([len(ring) for ring in rings], dtype=np.int64),
        rings=np.array([len(found) for found in objects], dtype=np.int64),
        first=first,
    )
    return {name: narrow(column) for name, column in ({"first": first} | columns).items()}


@pytest.mark.parametrize("at_once", [1, 2, 2048])
@pytest.mark.parametrize(
    "images",
    [
        [],
        [[]],
        [[[]]],
        [[[SQUARE]]],
        [[[], [SQUARE], []], [], [[THIRDS], [SQUARE, TWO_STEPS]]],
        [[[FAR], [POINT], [FAR, POINT]], [[TWO_STEPS]]],
        [[[THIRDS, SQUARE]], [[SQUARE], [THIRDS], [SQUARE]]],
        [[[[(7 * k) % 101 / 100 * 10**digits for k in range(2 * digits + 6)]] for digits in range(7)]],
    ],
)
def test_rings_come_back_as_they_were(images, at_once, monkeypatch):
    monkeypatch.setattr(packed_rings, "IMAGES_AT_ONCE", at_once)
    monkeypatch.setattr(packed_rings, "OBJECTS_AT_ONCE", at_once)
    columns = pack(images)
    found = [image_rings(columns, index) for index in range(len(images))]
    assert [[[ring.tolist() for ring in rings] for rings in image] for image in found] == images


def test_ten_thousand_random_polygons_come_back():
    rng = np.random.default_rng(0)
    images = [
        [[np.round(rng.uniform(-9, 700, 2 * rng.integers(3, 40)), 2).tolist()] for _ in range(20)] for _ in range(500)
    ]
    columns = pack(images)
    assert all([[rings[0].tolist()] for rings in image_rings(columns, i)] == image for i, image in enumerate(images))


def test_small_objects_take_few_bytes():
    """Steps of less than 1.28 pixels fit into a byte each."""
    angles = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    ring = np.round(np.stack((500 + 20 * np.cos(angles), 500 + 20 * np.sin(angles)), axis=1), 2).reshape(-1).tolist()
    assert len(pack([[[ring]]])["steps"]) == len(ring)


def test_one_object_with_many_decimals_leaves_the_others_small():
    columns = pack([[[SQUARE], [THIRDS]]])
    assert columns["step_bits"].tolist() == [12, 64]
    assert len(columns["steps"]) == len(SQUARE) * 12 // 8 + 8 * len(THIRDS)
