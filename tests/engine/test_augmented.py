"""Test-time augmentation: one plain view changes nothing, a mirrored picture gives mirrored results."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from boxwright.config import parts, testing
from boxwright.data import synth
from boxwright.engine.augmented import detect_augmented, make_views
from boxwright.engine.detector import Detector
from boxwright.engine.loading import load_config
from boxwright.errors import ConfigError
from boxwright.geometry.boxes import flip_boxes
from boxwright.models.build import build_model
from boxwright.models.select import Candidates
from tests.golden.compare import IMAGES, Comparison
from tests.golden.recordings import recording

ONE = testing.AugmentedTest(short_sides=[96], long=160, flip=False)
PAIRS = ((0, 1),)


@pytest.fixture(scope="module")
def picture():
    return synth.draw_scene("shapes", size=96, seed=3, index=0).picture


@pytest.fixture(scope="module")
def detector():
    """With masks and three keypoints, of which the first two are a left and a right one."""
    changes = ["model.input.resize.short_test=96", "model.input.resize.long_test=160", "model.num_classes=2"]
    config = load_config("mask_rcnn_r18_fpn_gn").with_(
        *changes, "test.score_threshold=0.3", "test.max_detections=12", "model.proposals.post_nms_top_k.test=40"
    )
    head = parts.KeypointHead(num_keypoints=3, convs=[32], pooling=config.model.mask_head.pooling)
    model = config.model.with_(keypoint_head=head)
    torch.manual_seed(0)
    made = Detector(config=config.with_(model=model))
    for module in made.model.modules():  # predictions of an untrained model are all alike without this
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.05)
    return made


@pytest.mark.parametrize("combine", ["union", "average"])
def test_one_view_of_the_usual_size_changes_nothing(detector, picture, combine):
    plain = detector(picture)
    found = detect_augmented(detector, picture, ONE.with_(combine=combine))
    assert len(plain) == len(found) > 3
    torch.testing.assert_close(found.boxes, plain.boxes, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.scores, plain.scores, atol=1e-5, rtol=0)
    assert torch.equal(found.labels, plain.labels)
    assert (found.masks == plain.masks).float().mean() > 0.999
    torch.testing.assert_close(found.keypoints, plain.keypoints, atol=1e-2, rtol=0)


@pytest.mark.parametrize("combine", ["union", "average"])
def test_with_mirrored_views_a_mirrored_picture_gives_mirrored_results(detector, picture, combine):
    """Whatever the network is: both pictures are seen in the same two ways."""
    settings = testing.AugmentedTest(short_sides=[96], long=200, flip=True, combine=combine)
    width = picture.shape[1]
    upright = detect_augmented(detector, picture, settings, flip_pairs=PAIRS)
    mirrored = detect_augmented(detector, np.ascontiguousarray(picture[:, ::-1]), settings, flip_pairs=PAIRS)
    assert len(upright) == len(mirrored) > 3
    boxes = flip_boxes(mirrored.boxes, width)
    order = [int((boxes - box).abs().sum(dim=1).argmin()) for box in upright.boxes]
    assert sorted(order) == list(range(len(order)))
    torch.testing.assert_close(boxes[order], upright.boxes, atol=1e-2, rtol=0)
    torch.testing.assert_close(mirrored.scores[order], upright.scores, atol=1e-4, rtol=0)
    assert (mirrored.masks[order].flip(2) == upright.masks).float().mean() > 0.995
    points = mirrored.keypoints[order][:, [1, 0, 2]]
    distance = (torch.stack([width - points[..., 0], points[..., 1]], -1) - upright.keypoints[..., :2]).norm(dim=-1)
    assert (distance < 1.5).float().mean() > 0.8  # equally high pixels of a coarse map may swap


def test_union_keeps_what_any_view_finds(detector, picture):
    settings = testing.AugmentedTest(short_sides=[64, 96], long=400, flip=True)
    both = detect_augmented(detector, picture, settings, flip_pairs=PAIRS)
    assert both.scores.max() >= detector(picture).scores.max() - 1e-6
    assert both.boxes.min() >= 0
    assert both.boxes.max() <= 96


def test_views_are_of_the_sizes_asked_for(detector, picture):
    views = make_views(detector, picture, testing.AugmentedTest(short_sides=[64, 128], long=100, flip=True))
    assert [(view.batch.sizes[0], view.is_flipped) for view in views] == [
        ((64, 64), False), ((64, 64), True), ((100, 100), False), ((100, 100), True),
    ]  # fmt: skip
    boxes = torch.tensor([[1.0, 2.0, 30.0, 40.0]])
    for view in views:
        torch.testing.assert_close(view.to_original(view.to_network(boxes)), boxes)
    assert torch.equal(views[1].batch.images.flip(3)[..., :64], views[0].batch.images[..., :64])


def test_inclusive_corners_are_mirrored_as_pixels(detector, picture):
    """Detectron's box of the first pixel column, 0..0, becomes that of the last, 95..95."""
    view = make_views(detector, picture, testing.AugmentedTest(short_sides=[96], long=96, flip=True))[1]
    inclusive = type(view)(view.batch, True, 1)
    torch.testing.assert_close(
        inclusive.to_original(torch.tensor([[0.0, 3.0, 0.0, 9.0]])), torch.tensor([[95.0, 3.0, 95.0, 9.0]])
    )


def test_keypoints_that_nobody_can_swap_come_from_upright_views_alone(detector, picture):
    settings = testing.AugmentedTest(short_sides=[96], long=160, flip=True)
    boxes = detect_augmented(detector, picture, settings, flip_pairs=PAIRS)
    unknown = detect_augmented(detector, picture, settings)
    torch.testing.assert_close(unknown.boxes, boxes.boxes)
    assert not torch.equal(unknown.keypoints, boxes.keypoints)


def test_the_settings_turn_it_on(detector, picture):
    other = detector.with_settings("test.augment.short_sides=[64, 96]", "test.augment.flip=false")
    found = other([picture, picture])
    expected = detect_augmented(other, picture, other.config.test.augment)
    assert torch.equal(found[1].boxes, expected.boxes)
    np.testing.assert_array_equal(found[0].image, picture)


def test_average_needs_a_box_head(picture):
    changes = ["model.input.resize.short_test=64", "model.input.resize.long_test=64", "model.backbone.depth=18"]
    config = load_config("retinanet_r50_fpn").with_(*changes, "model.num_classes=2")
    single_stage = Detector(config=config)
    found = detect_augmented(single_stage, picture, testing.AugmentedTest(short_sides=[64], long=64))
    assert found.boxes.shape[1] == 4
    with pytest.raises(ConfigError, match="that needs a box head to judge regions again; set union"):
        detect_augmented(single_stage, picture, testing.AugmentedTest(short_sides=[64], long=64, combine="average"))


@pytest.mark.slow
def test_boxes_scores_and_masks_are_detectron2s():
    """Recorded from its GeneralizedRCNNWithTTA, batch_size 1, on sizes 240 and 320 (at most 500), each mirrored too."""
    entry = recording("InstanceSegmentation__mask_rcnn_R_50_FPN_3x")
    changes = ["test.augment.short_sides=[240, 320]", "test.augment.long=500", "test.augment.flip=true"]
    comparison = Comparison(entry, config=Comparison(entry).config.with_(*changes))
    found = comparison.detector(str(IMAGES[0]))
    with np.load(Path(__file__).parent / "augmented_detectron2.npz") as original:
        boxes, scores, classes, areas = (
            torch.from_numpy(original[name]) for name in ("boxes", "scores", "classes", "mask_areas")
        )
    assert len(found) == len(boxes) == 100
    far = (boxes[:, None] - found.boxes).abs().amax(dim=2) + 1000 * (classes[:, None] != found.labels)
    distance, order = far.min(dim=1)
    assert sorted(order.tolist()) == list(range(100))
    assert distance.max() < 0.02
    torch.testing.assert_close(found.scores[order], scores, atol=1e-4, rtol=0)
    difference = (found.masks[order].flatten(1).sum(dim=1) - areas).abs()
    assert (difference <= 2 + areas * 0.002).all()


TWO = Candidates(  # IoU 0.6: the second covers 0.6 of the first's 20 x 10 and lies inside it
    boxes=torch.tensor([[[0.0, 0.0, 20.0, 10.0], [0.0, 0.0, 12.0, 10.0]]]),
    scores=torch.tensor([[0.9, 0.8]]),
    labels=torch.tensor([[1, 1]]),
    source=torch.tensor([[0, 1]]),
    is_valid=torch.tensor([[True, True]]),
    is_complete=torch.tensor(True),
)


@pytest.mark.parametrize(
    ("settings", "boxes", "scores"),
    [
        ([], [[0, 0, 20, 10]], [0.9]),
        (["test.nms=linear"], [[0, 0, 20, 10], [0, 0, 12, 10]], [0.9, 0.8 * (1 - 0.6)]),
        (["test.nms=gaussian"], [[0, 0, 20, 10], [0, 0, 12, 10]], [0.9, 0.8 * math.exp(-0.36 / 0.5)]),
        (["test.box_voting_iou=0.5"], [[0, 0, (0.9 * 20 + 0.8 * 12) / 1.7, 10]], [0.9]),
        (["test.box_voting_iou=0.5", "test.box_voting_scoring=avg"], [[0, 0, (0.9 * 20 + 0.8 * 12) / 1.7, 10]], [0.85]),
    ],
)
def test_soft_suppression_and_box_voting_come_from_the_settings(settings, boxes, scores):
    config = load_config("mask_rcnn_r18_fpn_gn").with_(*settings)
    chosen = build_model(config.model, config.test).select(TWO, counts=True)
    torch.testing.assert_close(chosen.boxes[0], torch.tensor(boxes, dtype=torch.float32), atol=1e-4, rtol=0)
    torch.testing.assert_close(chosen.scores[0], torch.tensor(scores), atol=1e-5, rtol=0)
