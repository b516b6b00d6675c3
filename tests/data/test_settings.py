"""Everything that data and its augmentation can do is a setting, given here as on the command line."""

import importlib.util
import json

import cv2
import numpy as np
import pytest
import torch

from boxwright.config import load_config
from boxwright.data import dataset
from boxwright.data.formats.reading import read_dataset
from boxwright.data.image import load_image
from boxwright.data.synth import generate
from boxwright.data.transforms.albumentations import AlbumentationsStep
from boxwright.data.transforms.colour import Blur, ColourJitter, Cutout
from boxwright.data.transforms.geometry import FixedCrop, Flip, RelativeCrop, Rotate, ScaleJitter, VerticalFlip
from boxwright.data.transforms.mixing import CopyPaste, Mosaic
from boxwright.engine.distributed import World
from boxwright.engine.training.setup import make_loader, read_sets
from boxwright.errors import ConfigError

HAS_ALBUMENTATIONS = importlib.util.find_spec("albumentations") is not None


def loader_of(annotations, *overrides):
    given = ["data.workers=0", "train.batch=2", "model.input.resize.short_train=[64]", *overrides]
    return make_loader(load_config("faster_rcnn_r50_fpn", given), annotations, World(), torch.device("cpu"))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings") / "set"
    generate(folder, kind="shapes", images=12, seed=5, size=64, val_fraction=0.0)
    return folder


@pytest.fixture
def three_images(coco_folder):
    """Two labelled keypoints on the first, one on the second, nothing on the third."""

    def change(content):
        content["images"].append({"id": 11, "file_name": "c.png", "height": 20, "width": 20})
        content["categories"][1]["keypoints"] = ["nose", "tail"]
        content["annotations"][0]["keypoints"] = [1, 1, 2, 0, 0, 0]
        content["annotations"][1]["keypoints"] = [1, 1, 2, 2, 2, 1]

    return read_dataset(coco_folder(change))


@pytest.mark.parametrize(
    ("override", "images"),
    [
        ("data.only_with_objects=true", [0, 1]),
        ("data.only_with_objects=false", [0, 1, 2]),
        ("data.min_keypoints=2", [0]),
        ("data.classes=[cat]", [1]),
        ("data.classes=[cat, dog]", [0, 1]),
    ],
)
def test_images_are_chosen(override, images, three_images):
    assert loader_of(three_images, override).dataset.images.tolist() == images


def test_a_run_takes_several_sets(shapes, tmp_path):
    generate(tmp_path / "more", kind="shapes", images=6, seed=6, size=64, val_fraction=0.5)
    sets = read_sets(load_config("faster_rcnn_r50_fpn"), f"{shapes},{tmp_path / 'more'}")
    assert (len(sets.train), len(sets.val)) == (15, 3)


def test_rare_classes_are_repeated(shapes):
    assert loader_of(read_dataset(shapes)).sampler.repeats is None
    assert loader_of(read_dataset(shapes), "data.repeat_factor=0.9").sampler.repeats.max() > 1


def test_batches_are_padded_to_the_smallest_shape(shapes):
    annotations = read_dataset(shapes)
    for text, expected in (("[]", (64, 64)), ("[[256, 256], [96, 128]]", (96, 128)), ("[[32, 32]]", (64, 64))):
        batch = next(iter(loader_of(annotations, f"data.shapes={text}")))
        assert batch.images.shape[2:] == expected


@pytest.mark.parametrize(
    ("overrides", "factor"),
    [
        ([], 1),
        (["data.reduced_decode=true"], 4),
        (["data.reduced_decode=true", "data.augment.crop_relative=[0.5, 1.0]"], 2),
        (["data.reduced_decode=true", "data.augment.crop=[80, 80]"], 1),
        (["data.reduced_decode=true", "data.augment.crop=[60, 60]", "data.augment.scale_jitter=[0.1, 2.5]"], 2),
    ],
)
def test_a_large_jpeg_is_decoded_as_small_as_the_input_allows(overrides, factor, coco_folder, monkeypatch):
    def change(content):
        content["images"][0] |= {"file_name": "large.jpg", "height": 300, "width": 500}
        content["annotations"].pop()

    folder = coco_folder(change)
    cv2.imwrite(str(folder / "images" / "large.jpg"), np.zeros((300, 500, 3), dtype=np.uint8))
    factors = []

    def spied(path, *, reduce):
        factors.append(reduce)
        return load_image(path, reduce=reduce)

    monkeypatch.setattr(dataset, "load_image", spied)
    loader_of(read_dataset(folder), *overrides).dataset[0, 0]
    assert factors == [factor]


@pytest.mark.parametrize(
    ("override", "kind"),
    [
        ("flip=1.0", Flip),
        ("vertical_flip=0.5", VerticalFlip),
        ("crop=[40, 40]", FixedCrop),
        ("crop_relative=[0.5, 0.9]", RelativeCrop),
        ("rotate=10", Rotate),
        ("colour=0.5", ColourJitter),
        ("blur=0.5", Blur),
        ("cutout=0.5", Cutout),
        ("mosaic=0.5", Mosaic),
        ("copy_paste=0.5", CopyPaste),
    ],
)
def test_each_augmentation_can_be_switched_on(override, kind, shapes):
    annotations = read_dataset(shapes)
    for overrides, kinds in (([], []), ([f"data.augment.{override}"], [kind])):
        steps = loader_of(annotations, "data.augment.flip=0", *overrides).dataset
        assert [type(step) for step in (*steps.plain, *steps.mixing)] == kinds


def test_scale_jitter_is_switched_on_with_its_crop(shapes):
    loader = loader_of(read_dataset(shapes), "data.augment.scale_jitter=[0.1, 2.0]", "data.augment.crop=[96, 64]")
    assert [type(step) for step in loader.dataset.plain] == [Flip, ScaleJitter, FixedCrop]
    assert next(iter(loader)).images.shape[2:] == (96, 64)


def test_extreme_images_are_cut(coco_folder):
    def change(content):
        content["images"] = [{"id": 9, "file_name": "long.png", "height": 20, "width": 200}]

    folder = coco_folder(change)
    cv2.imwrite(str(folder / "images" / "long.png"), np.zeros((20, 200, 3), dtype=np.uint8))
    settings = ["train.batch=1", "model.input.resize.short_train=[20]", "data.max_bad_share=1"]
    batches = [
        next(iter(loader_of(read_dataset(folder), *settings, *more)))
        for more in ([], ["data.augment.crop_aspect=[0.5, 2.0]"])
    ]
    assert [batch.sizes[0] for batch in batches] == [(20, 200), (20, 40)]


@pytest.mark.skipif(HAS_ALBUMENTATIONS, reason="albumentations is installed")
def test_albumentations_that_is_missing_is_asked_for(shapes):
    with pytest.raises(ConfigError, match="pip install albumentations"):
        loader_of(read_dataset(shapes), "data.augment.albumentations=[{CLAHE: {p: 0.3}}]")


@pytest.mark.skipif(not HAS_ALBUMENTATIONS, reason="albumentations is not installed")
def test_transforms_of_albumentations_go_by_their_names(shapes):
    annotations = read_dataset(shapes)
    loader = loader_of(annotations, "data.augment.albumentations=[{VerticalFlip: {p: 1.0}}, {RandomGamma: {p: 0}}]")
    step, flip = loader.dataset.plain
    assert (type(step), type(flip)) == (AlbumentationsStep, Flip)
    assert [type(one).__name__ for one in step.pipeline.transforms] == ["VerticalFlip", "RandomGamma"]
    with pytest.raises(ConfigError, match="albumentations has no transform 'os'"):
        loader_of(annotations, "data.augment.albumentations=[{os: {}}]")
    with pytest.raises(ConfigError, match="VerticalFlip cannot be made"):
        loader_of(annotations, "data.augment.albumentations=[{VerticalFlip: {p: often}}]")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.augment.scale_jitter=[0.1, 2]", "scale_jitter needs crop"),
        ("data.augment.crop_aspect=[2, 0.5]", "crop_aspect runs from 2 to 0.5; the first end must be the smaller one"),
        ("data.augment.crop_relative=[0, 1]", "data.augment.crop_relative"),
        ("data.augment.flip=2", "data.augment.flip"),
        ("data.augment.mosiac=0.5", "mosaic"),
        ("data.shapes=[[0, 3]]", "data.shapes"),
    ],
)
def test_settings_that_cannot_work_are_named(override, message):
    with pytest.raises(ConfigError) as caught:
        load_config("faster_rcnn_r50_fpn", [override])
    assert message in str(caught.value)


def test_settings_of_the_data_come_back_from_their_file(tmp_path):
    given = ["data.shapes=[[64, 96]]", "data.classes=[person]", "data.augment.albumentations=[{CLAHE: {p: 0.3}}]"]
    config = load_config("faster_rcnn_r50_fpn", given)
    (tmp_path / "own.yaml").write_text(json.dumps({"base": "faster_rcnn_r50_fpn", "data": config.data.model_dump()}))
    assert load_config(tmp_path / "own.yaml") == config
