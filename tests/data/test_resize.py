"""Each resize to the bit that of its source: OpenCV, Pillow, torch, and Detectron's by a nominal factor."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask

from boxwright.data.network_input import InputRule, normalise, prepare
from boxwright.data.resize import resize_image, resize_rle, shortest_edge_size
from boxwright.errors import ConfigError

SIZES = [((37, 53), (61, 87)), ((61, 87), (37, 53)), ((40, 30), (80, 20)), ((1, 1), (5, 3)), ((9, 9), (9, 9))]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CAFFE = {"mean": (102.9801, 115.9465, 122.7717), "std": (1.0, 1.0, 1.0)}


def levels(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize(("size", "new"), SIZES)
def test_opencv_is_opencv(size, new):
    expected = cv2.resize(levels(size), new[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize_image(levels(size), new, method="opencv"), expected)


@pytest.mark.parametrize(("size", "new"), SIZES)
def test_pillow_is_pillow(size, new):
    expected = np.asarray(Image.fromarray(levels(size)).resize(new[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize_image(levels(size), new, method="pillow"), expected)


@pytest.fixture
def two_threads():
    """As most programs run: on one thread torch's resize rounds otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (33, 200), (200, 33), (80, 100), (800, 300), (7, 5)])
def test_torch_is_torch_on_normalised_floats(height, width, channels):
    image = levels((height, width))
    prepared = prepare(
        image, InputRule(method="torch", long=133, channels=channels, value_range=1, **IMAGENET), short=80
    )
    image = image[:, :, ::-1].copy() if channels == "bgr" else image
    mean, std = (torch.tensor(IMAGENET[name])[:, None, None] for name in ("mean", "std"))
    planes = (torch.from_numpy(image).permute(2, 0, 1).float() / 255 - mean) / std
    scale = min(80 / min(height, width), 133 / max(height, width))
    expected = torch.nn.functional.interpolate(
        planes[None], scale_factor=scale, mode="bilinear", recompute_scale_factor=True, align_corners=False
    )[0]
    assert torch.equal(prepared.pixels, expected)


def test_torch_s_resize_does_not_depend_on_threads(two_threads):
    image = levels((60, 90))
    rule = InputRule(method="torch", long=133, value_range=1, **IMAGENET)
    on_two = prepare(image, rule, short=80).pixels
    torch.set_num_threads(1)
    assert torch.equal(prepare(image, rule, short=80).pixels, on_two)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (33, 200)])
def test_detectron_s_is_opencv_on_centred_floats_by_the_factor(height, width):
    image = levels((height, width))
    prepared = prepare(image, InputRule(method="opencv_scaled", long=133, **CAFFE), short=80)
    centred = image[:, :, ::-1].astype(np.float32, copy=False) - np.array(CAFFE["mean"])
    scale = 80 / min(height, width)
    if np.round(scale * max(height, width)) > 133:
        scale = 133 / max(height, width)
    expected = cv2.resize(centred.astype(np.float32), None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(prepared.pixels.numpy().transpose(1, 2, 0), expected)
    assert prepared.scale == (scale, scale)


@pytest.mark.parametrize("method", ["opencv", "pillow"])
def test_levels_for_the_device_are_the_same_numbers(method):
    rule = InputRule(method=method, long=133, **CAFFE)
    whole = prepare(levels((48, 64)), rule, short=80)
    waiting = prepare(levels((48, 64)), rule, short=80, as_levels=True)
    assert waiting.pixels.dtype == torch.uint8
    image = waiting.pixels.numpy().transpose(1, 2, 0)
    assert torch.equal(normalise(image, InputRule(channels="rgb", **CAFFE)), whole.pixels)


@pytest.mark.parametrize(
    ("size", "method", "expected"),
    [
        ((480, 640), "pillow", (800, 1067)),  # 1066.67
        ((480, 640), "opencv", (800, 1067)),
        ((480, 640), "torch", (800, 1066)),  # cut off, not rounded
        ((480, 640), "opencv_scaled", (800, 1067)),
        ((427, 640), "torch", (800, 1199)),
        ((300, 1000), "pillow", (400, 1333)),  # 399.9
        ((300, 1000), "opencv", (400, 1333)),
        ((300, 1000), "torch", (399, 1333)),
        ((640, 480), "pillow", (1067, 800)),
    ],
)
def test_sizes_are_those_of_the_source(size, method, expected):
    assert shortest_edge_size(size, short=800, long=1333, method=method) == expected


def nearest(bitmap, size, method):
    """As the method's library resizes a bitmap."""
    if method == "torch":
        return torch.nn.functional.interpolate(torch.from_numpy(bitmap)[None, None], size=size)[0, 0].numpy()
    if method == "pillow":
        return np.asarray(Image.fromarray(bitmap).resize(size[::-1], Image.Resampling.NEAREST))
    return cv2.resize(bitmap, size[::-1], interpolation=cv2.INTER_NEAREST)


@pytest.mark.parametrize("method", ["opencv", "pillow", "torch"])
@pytest.mark.parametrize(("size", "new"), [*SIZES, ((480, 333), (800, 555)), ((50, 64), (7, 200))])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_masks_take_the_nearest_pixel_without_a_bitmap(size, new, method, share):
    bitmap = (cv2.blur(np.random.default_rng(0).random(size), (5, 3)) < share).astype(np.uint8)
    bitmap[: size[0] // 3] |= np.random.default_rng(1).random(size)[: size[0] // 3] < share / 2
    found = resize_rle(mask.encode(np.asfortranarray(bitmap)), new, method=method)
    assert found == mask.encode(np.asfortranarray(nearest(bitmap, new, method)))


def test_an_unknown_method_is_named():
    with pytest.raises(
        ConfigError, match="resize method is 'cubic'; expected one of opencv, pillow, torch, opencv_scaled"
    ):
        resize_image(levels((4, 4)), (8, 8), method="cubic")
