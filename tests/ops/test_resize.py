"""The compiled resizes give what their definitions give: Pillow's bytes, torch's floats, the runs of resized masks."""

import numpy as np
import pytest
import torch
from pycocotools import mask

from boxwright.ops.cpu import resize_normalised as normalised
from boxwright.ops.cpu import resize_runs as runs
from boxwright.ops.cpu.resize import resize_pillow
from boxwright.ops.reference import resize_normalised as normalised_definition
from boxwright.ops.reference import resize_runs as runs_definition
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


@pytest.mark.parametrize(("old", "new"), [((48, 64), (80, 107)), ((90, 60), (100, 66)), ((200, 30), (150, 40))])
def test_it_gives_the_floats_of_torch_on_two_threads(num_threads, old, new):
    num_threads(2)
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*old, 3), dtype=np.uint8)
    table = random.standard_normal((3, 256)).astype(np.float32)
    found = normalised.resize_normalised(image, table, new)
    assert torch.equal(found, normalised_definition.resize_normalised(image, table, new))


@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_runs_become_those_of_the_resized_bitmap(old, new, share):
    bitmap = np.asfortranarray(np.random.default_rng(1).random(old) < share, dtype=np.uint8)
    rows, columns = (np.arange(n) * size // n for n, size in zip(new, old, strict=True))
    given = mask.encode(bitmap)["counts"], old[0], rows, columns
    expected = mask.encode(np.asfortranarray(bitmap[np.ix_(rows, columns)]))["counts"]
    assert runs.resize_runs(*given) == runs_definition.resize_runs(*given) == expected
