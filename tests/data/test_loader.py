"""Batches: the same whatever the workers, resumed exactly, bad pictures skipped, named once, counted, and a limit."""

import json
import logging
from dataclasses import fields

import cv2
import numpy as np
import pytest
import torch

from boxwright.data.augment import Augmentation
from boxwright.data.dataset import SampleRule, TargetRule, load_sample
from boxwright.data.formats.reading import read_dataset
from boxwright.data.image import load_image
from boxwright.data.loader import BatchRule, evaluation_loader, training_loader
from boxwright.data.network_input import InputRule, batches_of_equal_size, pad_batch, prepare
from boxwright.data.selection import SelectionRule
from boxwright.data.synth import generate
from boxwright.errors import DatasetError

RULE = InputRule(short=(48, 64), long=128, pad_to=32)
PLAIN = Augmentation(flip=0.0)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "set"
    generate(folder, kind="figures", images=12, seed=3, size=96, val_fraction=0.25)
    return folder


def loader_of(annotations, *, rule=RULE, batch=2, shapes=(), workers=0, reduced_decode=False, **options):
    """`options` are fields of the rules of samples and of the selection."""
    selection = {"only_with_objects": False} | {
        one.name: options.pop(one.name) for one in fields(SelectionRule) if one.name in options
    }
    samples = SampleRule(input=rule, reduced_decode=reduced_decode, **options)
    batches = BatchRule(size=batch, seed=4, shapes=shapes)
    return training_loader(annotations, samples, batches, SelectionRule(**selection), workers=workers)


def some(loader, count):
    return [batch for batch, _ in zip(loader, range(count), strict=False)]


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert torch.equal(batch.images, other.images)
        assert batch.sizes == other.sizes
        for target, twin in zip(batch.targets, other.targets, strict=True):
            assert target.image_id == twin.image_id
            assert torch.equal(target.boxes, twin.boxes)
            if target.masks is not None:
                assert torch.equal(target.masks.bitmaps(), twin.masks.bitmaps())


def test_workers_change_nothing(shapes):
    annotations = read_dataset(shapes)
    options = {
        "augmentation": Augmentation(colour=0.5, copy_paste=0.5, mosaic=0.3, rotate=10),
        "targets": TargetRule(masks="polygons", keypoints=True),
    }
    assert_same(some(loader_of(annotations, workers=2, **options), 8), some(loader_of(annotations, **options), 8))


def test_a_resumed_loader_goes_on_with_the_very_next_batch_though_workers_were_ahead(shapes):
    annotations = read_dataset(shapes)
    whole = some(loader_of(annotations), 9)
    first = loader_of(annotations, workers=1)
    begun = some(first, 4)
    second = loader_of(annotations)
    # zip() above has drawn a fifth batch to see that it is not needed, so the state is that after five.
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert_same(begun, whole[:4])
    assert_same(some(second, 4), whole[5:])


def test_a_batch_is_prepare_and_padding(shapes):
    annotations = read_dataset(shapes)
    rule = InputRule(short=(80,), long=128, pad_to=32)
    (batch,) = some(loader_of(annotations, augmentation=PLAIN, rule=rule), 1)
    for number, target in enumerate(batch.targets):
        index = next(i for i in range(len(annotations)) if annotations.image_id(i) == target.image_id)
        image = load_image(annotations.path(index))
        expected = pad_batch([prepare(image, rule, short=80)], divisibility=32)
        assert torch.equal(batch.images[number : number + 1], expected.images)
        scaled = annotations.target(index)
        boxes = scaled.boxes[~scaled.is_crowd] * (80 / 96)
        torch.testing.assert_close(target.boxes, boxes)


@pytest.mark.parametrize(("flip", "x", "y"), [({"flip": 1.0}, 26, 4), ({"flip": 0.0, "vertical_flip": 1.0}, 3, 45)])
def test_a_flipped_keypoint_names_the_same_pixel(flip, x, y, coco_folder):
    def change(content):
        content["categories"][0]["keypoints"] = ["nose"]
        content["annotations"] = [{**content["annotations"][0], "keypoints": [3, 4, 2]}]

    folder = coco_folder(change)
    picture = np.zeros((50, 30, 3), dtype=np.uint8)
    picture[4, 3] = 255
    cv2.imwrite(str(folder / "images" / "b.png"), picture)
    options = {"augmentation": Augmentation(**flip), "rule": InputRule(short=(30,), pad_to=1)}
    loader = loader_of(
        read_dataset(folder), only_with_objects=True, targets=TargetRule(keypoints=True), batch=1, **options
    )
    (batch,) = some(loader, 1)
    assert batch.images[0, 0].argmax() == y * 30 + x
    assert batch.targets[0].keypoints.tolist() == [[[x, y, 2]]]


def test_shapes_are_padded_to_the_smallest_bucket_that_holds_them(shapes):
    annotations = read_dataset(shapes)
    options = {"augmentation": PLAIN, "rule": InputRule(short=(48,), long=128, pad_to=32)}
    for buckets, expected in (((), (64, 64)), (((64, 96), (96, 96)), (64, 96)), (((32, 32),), (64, 64))):
        (batch,) = some(loader_of(annotations, shapes=buckets, **options), 1)
        assert batch.images.shape[2:] == expected


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([(20, 20), (40, 20), (32, 32), (33, 9), (1, 1)], [[0, 2], [1, 3], [4]]),  # 32 x 32, 64 x 32, 32 x 32 again
    ],
)
def test_images_of_equal_padded_size_go_together(sizes, expected):
    assert batches_of_equal_size(sizes, divisibility=32, batch=2) == expected


def test_scale_jitter_gives_batches_of_its_crop(shapes):
    augmentation = Augmentation(scale_jitter=(0.3, 2.0), crop=(64, 96))
    for batch in some(loader_of(read_dataset(shapes), augmentation=augmentation), 4):
        assert batch.images.shape[2:] == (64, 96)


def test_the_scale_is_drawn_anew_for_each_image(shapes):
    rule = InputRule(short=(48, 64), short_mode="range", long=128, pad_to=32)
    sides = {min(size) for batch in some(loader_of(read_dataset(shapes), rule=rule), 20) for size in batch.sizes}
    assert len(sides) > 8
    assert sides <= set(range(48, 65))
    chosen = {min(size) for batch in some(loader_of(read_dataset(shapes)), 20) for size in batch.sizes}
    assert chosen == {48, 64}


@pytest.fixture
def spoiled(shapes, tmp_path):
    """-> the set with the first `count` pictures broken."""

    def make(count):
        folder = tmp_path / "spoiled"
        generate(folder, kind="shapes", images=40, seed=3, size=64, val_fraction=0.0)
        for path in sorted((folder / "images").iterdir())[:count]:
            path.write_bytes(path.read_bytes()[:200])
        return read_dataset(folder)

    return make


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_picture_is_skipped_named_once_and_counted(workers, spoiled, caplog):
    loader = loader_of(spoiled(1), max_bad_share=0.0, workers=workers)
    with caplog.at_level(logging.WARNING, "boxwright.data"):
        batches = some(loader, 60)
    assert all(len(batch) == 2 for batch in batches)
    named = [record.message for record in caplog.records if "000001.jpg" in record.message]
    assert len(named) == 1
    assert named[0].startswith("skipped ")
    summary = loader.summary()
    assert (summary["images"], summary["bad_images"]) == (40, 1)
    assert summary["skips"] >= 2


def test_a_step_that_trips_over_a_sample_does_not_end_the_run(shapes, caplog):
    annotations = read_dataset(shapes)

    def trip(sample, rng):
        if sample.target.image_id == annotations.image_id(3):
            raise ZeroDivisionError("of all things")
        return sample

    loader = loader_of(annotations, augmentation=Augmentation(steps=(trip,), mosaic=0.5), max_bad_share=0.0)
    assert len(some(loader, 12)) == 12
    assert loader.summary()["bad_images"] == 1
    assert f"skipped {annotations.path(3)}: ZeroDivisionError: of all things" in caplog.text


def test_too_many_bad_pictures_stop_the_run(spoiled):
    with pytest.raises(DatasetError) as caught:
        some(loader_of(spoiled(9), max_bad_share=0.1), 60)
    message = str(caught.value)
    assert message.startswith("5 of 40 images could not be read, more than the share of 0.1 that is allowed")
    assert "data.max_bad_share" in message
    assert "`boxwright data check` lists them all" in message


def test_fewer_than_the_share_do_not(spoiled):
    assert len(some(loader_of(spoiled(4), max_bad_share=0.1), 60)) == 60


def test_too_many_broken_annotations_stop_before_training(coco_folder):
    def change(content):
        for entry in content["annotations"][:2]:
            entry["category_id"] = 404

    with pytest.raises(
        DatasetError, match=r"2 annotations cannot be used.*first: .*annotations\[0\].*category_id is 404"
    ):
        loader_of(read_dataset(coco_folder(change)))


def test_nothing_left_to_train_on_is_an_error(coco_folder):
    annotations = read_dataset(coco_folder(lambda content: content["annotations"].clear()))
    with pytest.raises(DatasetError, match="none of 2 images is left to train on"):
        loader_of(annotations, only_with_objects=True)


def test_evaluation_leaves_a_bad_picture_out_and_says_so(spoiled, caplog):
    with caplog.at_level(logging.WARNING, "boxwright.data"):
        batches = list(evaluation_loader(spoiled(1), rule=RULE, batch=3, workers=0))
    assert [target.image_id for batch in batches for target in batch.targets] == list(range(2, 41))
    assert "left out of the evaluation" in caplog.text


def test_a_reduced_decode_keeps_objects_in_place(tmp_path, coco_folder):
    def change(content):
        content["images"][0] |= {"file_name": "large.jpg", "height": 401, "width": 603}
        content["annotations"][1] |= {"bbox": [100, 80, 200, 120], "segmentation": []}
        content["annotations"].pop()

    folder = coco_folder(change)
    picture = np.zeros((401, 603, 3), dtype=np.uint8)
    picture[80:200, 100:300] = 255
    cv2.imwrite(str(folder / "images" / "large.jpg"), picture)
    annotations = read_dataset(folder)
    sample = load_sample(annotations, 0, TargetRule(), reduce_to=100)
    assert sample.size == (101, 151)
    lit = sample.image[:, :, 0] > 128
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    np.testing.assert_allclose(sample.target.boxes[0].numpy(), found, atol=1)
    assert load_sample(annotations, 0, TargetRule(), reduce_to=300).size == (401, 603)


def test_a_reduced_decode_reports_the_original_size(tmp_path, coco_folder):
    def change(content):
        content["images"][0] |= {"file_name": "large.jpg", "height": 400, "width": 600}
        content["annotations"].pop()

    folder = coco_folder(change)
    cv2.imwrite(str(folder / "images" / "large.jpg"), np.zeros((400, 600, 3), dtype=np.uint8))
    loader = loader_of(read_dataset(folder), batch=1, reduced_decode=True, augmentation=PLAIN)
    sizes = {batch.targets[0].image_id: (batch.original_sizes[0], batch.scales[0]) for batch in some(loader, 4)}
    (size, scale) = sizes[7]
    assert size == (400, 600)
    assert scale[0] in (48 / 400, 64 / 400)
