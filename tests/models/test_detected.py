"""Detection in tensors of fixed shapes finds what detection in tensors as long as needed does, without waiting."""

from dataclasses import replace

import pytest
import torch

from boxwright.models.build import build_model
from boxwright.models.frames import make_frames
from boxwright.types import Batch
from tests.models.no_waiting import META, NoWaiting
from tests.models.small import KINDS, small

PROPOSING = sorted(set(KINDS) - {"fast"})
RULES = ((), ("test.nms=linear",), ("test.nms=gaussian", "test.box_voting_iou=0.5"), ("test.nms_class_agnostic=true",))


def model_of(kind, *changes):
    torch.manual_seed(0)
    config = small(kind, *changes)
    return build_model(config.model, config.test).eval()


def two_images():
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    return Batch(images, [(64, 80), (50, 96)], [(128, 160), (100, 192)], [(0.5, 0.5), (0.5, 0.5)])


def results(model, batch, *, counts):
    frames = make_frames(batch, pad_to=model.pad_to)
    return model.results(model.run(batch.images, frames, counts=counts), frames)


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.labels.tolist() == other.labels.tolist()
        for name in ("boxes", "scores", "original_boxes", "masks", "heatmaps"):
            if getattr(one, name) is not None:
                torch.testing.assert_close(getattr(other, name), getattr(one, name), rtol=1e-4, atol=1e-4)


def in_the_middle(model):
    """With a threshold that about half of the scores reach."""
    run = model.run(two_images().images, make_frames(two_images(), pad_to=model.pad_to))
    scores = run.detected.scores if run.boxes is None else run.boxes.probabilities
    model.select = replace(model.select, score_threshold=scores.median().item())
    return model


@pytest.mark.parametrize("kind", PROPOSING)
@torch.no_grad()
def test_the_same_is_found(kind):
    model = in_the_middle(model_of(kind, "test.max_detections=8", "test.score_threshold=0"))
    usual = results(model, two_images(), counts=True)
    assert sum(len(found) for found in usual) > 0
    assert_same(results(model, two_images(), counts=False), usual)
    assert_same(model(two_images()), usual)


@pytest.mark.parametrize("kind", ["mask", "retinanet"])
@pytest.mark.parametrize("rules", RULES, ids=str)
@torch.no_grad()
def test_every_rule_of_suppression_finds_the_same(kind, rules):
    model = in_the_middle(model_of(kind, "test.max_detections=8", "test.score_threshold=0", *rules))
    assert_same(results(model, two_images(), counts=False), results(model, two_images(), counts=True))


@pytest.mark.parametrize("counts", [True, False])
@torch.no_grad()
def test_images_without_detections_have_none(counts):
    assert [
        len(found) for found in results(model_of("mask", "test.score_threshold=1"), two_images(), counts=counts)
    ] == [0, 0]


@torch.no_grad()
def test_more_candidates_than_are_looked_at_are_chosen_from_anew_without_looking_at_the_images_again(monkeypatch):
    model, looks = model_of("mask"), []
    expected = results(model, two_images(), counts=True)
    monkeypatch.setattr("boxwright.models.rcnn.CANDIDATES", 5)
    model.backbone.register_forward_hook(lambda *_: looks.append(1))
    frames = make_frames(two_images(), pad_to=model.pad_to)
    run = model.run(two_images().images, frames, counts=False)
    assert not run.detected.is_complete
    assert_same(model.results(run, frames), expected)
    assert len(looks) == 1


@pytest.mark.parametrize("kind", PROPOSING)
@torch.no_grad()
def test_no_step_asks_for_data(kind):
    model, batch = model_of(kind).to(META), two_images().to(META)
    with NoWaiting():
        run = model.run(batch.images, make_frames(batch, pad_to=model.pad_to))
    assert len(run.detected.boxes) % 2 == 0


@pytest.mark.parametrize("kind", ["mask", "cascade_mask", "mask_c4"])
@torch.no_grad()
def test_no_result_depends_on_the_other_images_of_a_batch(kind):
    model, both = model_of(kind, "test.max_detections=8"), two_images()
    alone = [
        model(Batch(both.images[i : i + 1], *([part[i]] for part in (both.sizes, both.original_sizes, both.scales))))[0]
        for i in range(2)
    ]
    assert_same(model(both), alone)
