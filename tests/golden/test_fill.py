"""The rule that makes weights gives the values it gave the original programs."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.golden.fill import fill_all, filled

# SHA-256 sums published with the recordings, by name, shape, seed and factor
KNOWN = [
    ("backbone.bottom_up.stem.conv1.weight", (64, 3, 7, 7), 0, 0.0172, "7110eac463cca5d4"),
    ("backbone.bottom_up.res2.0.conv3.norm.weight", (256,), 1, 1.0, "4b3ebbcccfdf8533"),
    ("backbone.bottom_up.res2.0.conv3.norm.running_var", (256,), 0, 1.0, "3415d7f5ae6b89da"),
    ("backbone.bottom_up.res2.0.conv3.norm.running_mean", (256,), 0, 1.0, "e6459f1a4902e677"),
    ("backbone.fpn_lateral2.weight", (256, 256, 1, 1), 0, 1.0, "daa15e11a5c1c755"),
    ("roi_heads.box_predictor.cls_score.bias", (81,), 1, 1.0, "4167a5571a3a4408"),
    ("roi_heads.mask_head.deconv.weight", (256, 256, 2, 2), 0, 1.0, "829fe3e61a637a21"),
]
SHARED = Path(__file__).parents[2].parent / "shared" / "goldens" / "fill_check.json"


@pytest.mark.parametrize(("name", "shape", "seed", "factor", "digest"), KNOWN)
def test_a_filled_array_has_the_published_sum(name, shape, seed, factor, digest):
    values = filled(name, shape, seed, [[f"^{name}$", factor]])
    assert hashlib.sha256(values.tobytes()).hexdigest()[:16] == digest


@pytest.mark.skipif(not SHARED.is_file(), reason="the full recordings lie beside the project, not in it")
def test_all_published_sums_agree():
    for key, known in json.loads(SHARED.read_text()).items():
        name, seed, factor = key.split("|")
        adjustments = [["", float(factor.removeprefix("factor").split("+")[0])]]
        values = filled(name, tuple(known["shape"]), int(seed.removeprefix("seed")), adjustments)
        assert hashlib.sha256(values.tobytes()).hexdigest() == known["sha256_f32le"], key


def test_what_is_kept_is_not_filled():
    entries = [("a.weight", (8,)), ("b.upconv.weight", (2, 2, 4, 4))]
    assert list(fill_all(entries, 0, [], ["upconv"])) == ["a.weight"]
