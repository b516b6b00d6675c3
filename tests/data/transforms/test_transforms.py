"""Transforms: objects stay on their pixels, pairs change places, what leaves is dropped; all from one generator."""

import numpy as np
import pytest
import torch

from boxwright.data.augment import Augmentation, crop_to_aspect, plain_steps, to_network
from boxwright.data.network_input import InputRule, Prepared
from boxwright.data.sample import Sample
from boxwright.data.transforms.albumentations import AlbumentationsStep
from boxwright.data.transforms.colour import Blur, ColourJitter, Cutout
from boxwright.data.transforms.geometry import FixedCrop, Flip, RelativeCrop, Rotate, ScaleJitter, VerticalFlip
from boxwright.data.transforms.mixing import CopyPaste, Mosaic
from boxwright.errors import ConfigError
from boxwright.types import Masks, Target

GREY, LIT = 90, 255


def sample_of(*boxes, size=(60, 80), keypoints=None, with_masks=True):
    """White rectangles on grey, with their exact boxes and masks."""
    image = np.full((*size, 3), GREY, dtype=np.uint8)
    rings = []
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = LIT
        rings.append([np.array([x1, y1, x2, y1, x2, y2, x1, y2], dtype=np.float64)])
    target = Target(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.arange(len(boxes)),
        size=size,
        masks=Masks(rings, size) if with_masks else None,
        keypoints=None if keypoints is None else torch.tensor(keypoints, dtype=torch.float32),
        image_id=1,
    )
    return Sample(image, target)


def lit_box(image, threshold=200):
    lit = image[:, :, 0] > threshold
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


ALWAYS = [
    Flip(1.0),
    VerticalFlip(1.0),
    FixedCrop((50, 70)),
    FixedCrop((200, 70)),
    RelativeCrop(0.8, 0.7),
    ScaleJitter(0.5, 1.5, size=(90, 90), method="opencv"),
    Rotate(25),
]


@pytest.mark.parametrize("step", ALWAYS, ids=lambda step: type(step).__name__)
@pytest.mark.parametrize("seed", range(4))
def test_boxes_and_masks_stay_on_their_pixels(step, seed):
    changed = step(sample_of((30, 20, 55, 40)), np.random.default_rng(seed))
    assert changed.target.size == changed.size
    np.testing.assert_allclose(changed.target.boxes[0].numpy(), lit_box(changed.image, 172), atol=1.01)
    mask = changed.target.masks.bitmaps()[0].numpy()
    lit = changed.image[:, :, 0] > 172
    assert (mask != lit).sum() <= 0.12 * lit.sum()  # at most the border


@pytest.mark.parametrize("step", ALWAYS, ids=lambda step: type(step).__name__)
def test_an_image_without_objects_passes(step):
    changed = step(sample_of(), np.random.default_rng(0))
    assert len(changed.target) == 0
    assert changed.target.size == changed.size


def test_a_flip_exchanges_the_pairs():
    points = [[[30, 20, 2], [54, 25, 1], [0, 0, 0]]]
    changed = Flip(1.0, pairs=[(0, 1)])(sample_of((30, 20, 55, 40), keypoints=points), np.random.default_rng(0))
    assert changed.target.keypoints.tolist() == [[[26, 25, 1], [50, 20, 2], [0, 0, 0]]]
    assert changed.target.boxes.tolist() == [[25, 20, 50, 40]]


def test_a_probability_of_zero_changes_nothing():
    sample = sample_of((30, 20, 55, 40))
    for step in (Flip(0.0), VerticalFlip(0.0), ColourJitter(0.0), Blur(0.0), Cutout(0.0), Mosaic(0.0, None)):
        assert step(sample, np.random.default_rng(0)) is sample


def test_objects_and_keypoints_outside_a_crop_are_gone():
    points = [[[5, 5, 2], [9, 9, 2]], [[65, 45, 2], [10, 5, 2]]]
    sample = sample_of((0, 0, 10, 10), (60, 40, 75, 55), keypoints=points)
    seen = set()
    for seed in range(40):
        changed = FixedCrop((30, 30))(sample, np.random.default_rng(seed))
        for label, box, keypoints in zip(
            changed.target.labels.tolist(), changed.target.boxes, changed.target.keypoints, strict=True
        ):
            seen.add(label)
            assert box.min() >= 0
            assert box.max() <= 30
            labelled = keypoints[keypoints[:, 2] > 0]
            assert ((labelled[:, :2] >= 0) & (labelled[:, :2] <= 30)).all()
            assert (keypoints[keypoints[:, 2] == 0] == 0).all()
    assert seen == {0, 1}


@pytest.mark.parametrize("step", [ColourJitter(1.0), Blur(1.0), Cutout(1.0)], ids=lambda step: type(step).__name__)
def test_colours_change_and_objects_do_not(step):
    sample = sample_of((30, 20, 55, 40))
    before = sample.image.copy()
    changed = step(sample, np.random.default_rng(1))
    assert changed.target is sample.target
    assert changed.image.shape == before.shape
    assert changed.image.dtype == np.uint8
    assert (changed.image != before).any()
    np.testing.assert_array_equal(sample.image, before)


@pytest.mark.parametrize("step", [*ALWAYS, ColourJitter(1.0), Cutout(1.0)], ids=lambda step: type(step).__name__)
def test_the_same_seed_gives_the_same_sample(step):
    first, second = (step(sample_of((30, 20, 55, 40)), np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    assert torch.equal(first.target.boxes, second.target.boxes)


def test_a_mosaic_shows_four_pictures_with_their_objects():
    sample = sample_of((30, 20, 55, 40))
    changed = Mosaic(1.0, lambda rng: sample)(sample, np.random.default_rng(3))
    assert changed.size == sample.size
    assert 1 <= len(changed.target) <= 4
    mask = changed.target.masks.bitmaps().any(dim=0).numpy()
    lit = changed.image[:, :, 0] > 172
    assert (mask != lit).sum() <= 0.2 * lit.sum()


def test_pasted_objects_cover_those_below():
    below = sample_of((10, 10, 30, 30), (50, 40, 60, 50), keypoints=[[[12, 12, 2]], [[52, 42, 2]]])
    above = sample_of((0, 10, 20, 60), keypoints=[[[5, 20, 2]]])
    changed = CopyPaste(1.0, lambda rng: above)(below, np.random.default_rng(0))
    assert changed.target.labels.tolist() == [0, 1, 0]
    assert changed.target.boxes.tolist() == [[20, 10, 30, 30], [50, 40, 60, 50], [0, 10, 20, 60]]
    assert changed.target.keypoints[:, 0, 2].tolist() == [1, 2, 2]  # the covered point is hidden now
    first, _, pasted = changed.target.masks.bitmaps()
    assert not (first & pasted).any()


def test_what_is_covered_nearly_whole_is_dropped():
    below, above = sample_of((10, 10, 30, 30)), sample_of((5, 5, 29, 60))
    changed = CopyPaste(1.0, lambda rng: above)(below, np.random.default_rng(0))
    assert changed.target.boxes.tolist() == [[5, 5, 29, 60]]


def prepared_of(height, width):
    return Prepared(torch.zeros(3, height, width), (height, width), (1.0, 1.0))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((100, 200), (100, 200)), ((100, 201), (100, 200)), ((100, 500), (100, 200)), ((500, 100), (200, 100))],
)
def test_extreme_images_are_cut_to_the_limit(size, expected):
    target = Target(boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64), size=size)
    cropped, _ = crop_to_aspect(prepared_of(*size), target, (0.5, 2.0), np.random.default_rng(0))
    assert cropped.size == expected


@pytest.mark.parametrize("seed", range(10))
def test_the_cut_keeps_objects_that_fit(seed):
    boxes = torch.tensor([[260.0, 10, 300, 50], [330, 20, 420, 90]])
    target = Target(boxes=boxes, labels=torch.zeros(2, dtype=torch.int64), size=(100, 500))
    cropped, kept = crop_to_aspect(prepared_of(100, 500), target, (0.5, 2.0), np.random.default_rng(seed))
    assert cropped.size == (100, 200)
    torch.testing.assert_close(kept.boxes[:, 2:] - kept.boxes[:, :2], boxes[:, 2:] - boxes[:, :2])


def test_the_settings_order_is_that_of_the_steps():
    chosen = Augmentation(
        vertical_flip=0.5, crop=(9, 9), crop_relative=(0.5, 0.5), rotate=5, colour=1, blur=1, cutout=1
    )
    names = [type(step).__name__ for step in plain_steps(chosen, method="pillow")]
    assert names == ["Flip", "VerticalFlip", "FixedCrop", "RelativeCrop", "Rotate", "ColourJitter", "Blur", "Cutout"]


def test_jitter_without_a_crop_is_refused():
    with pytest.raises(ConfigError, match="scale_jitter needs augment"):
        Augmentation(scale_jitter=(0.5, 2.0))


def test_steps_of_the_user_come_first():
    def paint(sample, rng):
        return Sample(np.zeros_like(sample.image), sample.target)

    steps = plain_steps(Augmentation(steps=(paint,)), method="pillow")
    assert steps[0] is paint


def test_the_network_frame_has_scaled_boxes_and_masks():
    rule = InputRule(short=(120,), long=400)
    prepared, target = to_network(sample_of((30, 20, 55, 40)), np.random.default_rng(0), rule, Augmentation(flip=0))
    assert prepared.size == (120, 160)
    assert target.boxes.tolist() == [[60, 40, 110, 80]]
    assert int(target.masks.bitmaps().sum()) == 50 * 40


def test_albumentations_is_asked_for_where_it_is_missing():
    try:
        import albumentations  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="pip install albumentations"):
            AlbumentationsStep([])


def test_an_albumentations_flip_moves_boxes_masks_and_keypoints():
    albumentations = pytest.importorskip("albumentations")
    sample = sample_of((30, 20, 55, 40), keypoints=[[[30, 20, 2]]])
    changed = AlbumentationsStep([albumentations.HorizontalFlip(p=1.0)])(sample, np.random.default_rng(0))
    assert changed.target.boxes.tolist() == [[25, 20, 50, 40]]
    assert lit_box(changed.image) == [25, 20, 50, 40]
