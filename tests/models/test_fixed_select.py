"""Detection in tensors of fixed shapes finds what detection in tensors as long as needed does."""

import pytest
import torch

from boxwright.models.build import build_model
from boxwright.models.frames import make_frames
from boxwright.types import Batch
from tests.models.no_waiting import META, NoWaiting
from tests.models.small import KINDS, small

KINDS_WITH_BOXES = sorted(set(KINDS) - {"fast", "rpn_c4", "rpn_fpn", "retinanet", "retinanet_v2"})


def model_of(kind, *changes):
    torch.manual_seed(0)
    config = small(kind, *changes)
    return build_model(config.model, config.test).eval()


def two_images():
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    return Batch(images, [(64, 80), (50, 96)], [(128, 160), (100, 192)], [(0.5, 0.5), (0.5, 0.5)])


@pytest.mark.parametrize("kind", KINDS_WITH_BOXES)
@torch.no_grad()
def test_the_same_is_found(kind):
    model = model_of(kind, "test.max_detections=8")
    model.score_threshold = model.find(two_images()).boxes.probabilities.median().item()
    usual, fixed = model(two_images()), model.forward_fixed(two_images())
    assert sum(len(found) for found in usual) > 0
    for one, other in zip(usual, fixed, strict=True):
        assert one.labels.tolist() == other.labels.tolist()
        for name in ("boxes", "scores", "original_boxes", "masks", "heatmaps"):
            if getattr(one, name) is not None:
                torch.testing.assert_close(getattr(other, name), getattr(one, name), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_images_without_detections_have_none():
    model = model_of("mask", "test.score_threshold=1")
    assert [len(found) for found in model.forward_fixed(two_images())] == [0, 0]


@torch.no_grad()
def test_more_candidates_than_are_looked_at_are_told_of(monkeypatch):
    monkeypatch.setattr("boxwright.models.fixed_select.CANDIDATES", 5)
    assert model_of("faster").forward_fixed(two_images()) is None


@pytest.mark.parametrize("kind", KINDS_WITH_BOXES)
@torch.no_grad()
def test_no_step_asks_for_data(kind):
    model, batch = model_of(kind).to(META), two_images().to(META)
    with NoWaiting():
        detected, choice = model.run_fixed(batch.images, make_frames(batch, pad_to=model.pad_to))
    assert len(detected.boxes) == 2 * choice.is_real.shape[1]
