"""AP of resamples: the weighted kernel against copies written out."""

import numpy as np
import pytest

from boxwright.ops.cpu.coco_resample import resampled_precision as kernel
from boxwright.ops.reference.coco_resample import resampled_precision as definition


@pytest.mark.parametrize("n", [0, 1, 300])
def test_weights_give_what_copies_give(n):
    random = np.random.default_rng(n)
    category = np.sort(random.integers(0, 3, n))
    first = np.searchsorted(category, np.arange(4))
    image = random.integers(0, 9, n).astype(np.int32)
    true = random.integers(0, 8, n).astype(np.int32) * (random.random(n) < 0.5)
    false = (~true & random.integers(0, 8, n) & 7).astype(np.int32)
    weights = random.multinomial(9, np.full(9, 1 / 9), 20).astype(np.int32)
    wanted = np.full((20, 3), 400)
    wanted[3, 1] = 0
    inputs = first, image, true.astype(np.int32), false, weights, wanted, np.linspace(0, 1, 101), 3
    np.testing.assert_allclose(kernel(*inputs), definition(*inputs), rtol=0, atol=1e-12)
    assert (kernel(*inputs)[3, 1] == -1).all()
