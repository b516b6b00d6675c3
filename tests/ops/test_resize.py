"""The compiled resize gives the bytes of Pillow's, where the height does not shrink."""

import numpy as np
import pytest

from boxwright.ops.cpu.resize import resize_pillow
from boxwright.ops.reference.resize import resize_pillow as definition

SIZES = [
    ((1, 1), (5, 7)),
    ((3, 4), (3, 4)),
    ((3, 5), (8, 2)),  # taller and narrower
    ((48, 64), (80, 107)),
    ((48, 64), (49, 65)),
    ((30, 200), (40, 31)),
    ((20, 2), (20, 300)),
]


@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_it_gives_the_bytes_of_pillow(old, new, channels):
    image = np.random.default_rng(0).integers(0, 256, (*old, *channels), dtype=np.uint8)
    resized = resize_pillow(image, new)
    assert resized.shape == (*new, *channels)
    assert np.array_equal(resized, definition(image, new))


def test_a_view_of_a_picture_is_read_in_its_own_order():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    mirrored = image[:, ::-1, ::-1]
    assert np.array_equal(resize_pillow(mirrored, (40, 60)), definition(np.ascontiguousarray(mirrored), (40, 60)))
