"""A script for mmdetection 2 runs after its import line is changed."""

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from boxwright.compat.mmdet.apis import encode_mask_results, inference_detector, init_detector, show_result_pyplot
from boxwright.compat.mmdet.results import from_result, to_result
from boxwright.config import save_config
from boxwright.data.image import load_image
from boxwright.engine.loading import save
from boxwright.errors import ConfigError, ShapeError
from tests.compat.tiny import picture, tiny_config, tiny_detector


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_config(tiny_config(), folder / "config.yaml")
    save(tiny_detector(), folder / "model.safetensors")
    Image.fromarray(picture()).save(folder / "picture.png")
    return folder


@pytest.fixture(scope="module")
def model(files):
    return init_detector(str(files / "config.yaml"), str(files / "model.safetensors"), device="cpu")


def test_results_are_a_row_of_five_numbers_per_object_by_class(model, files):
    boxes, masks = inference_detector(model, str(files / "picture.png"))
    expected = tiny_detector()(picture())
    assert [rows.shape[1] for rows in boxes] == [5, 5, 5]
    assert sum(len(rows) for rows in boxes) == len(expected) > 0
    for label, (rows, bitmaps) in enumerate(zip(boxes, masks, strict=True)):
        of_class = expected.labels == label
        np.testing.assert_array_equal(rows[:, :4], expected.boxes[of_class])
        np.testing.assert_array_equal(rows[:, 4], expected.scores[of_class])
        assert len(bitmaps) == len(rows)
        assert all(bitmap.shape == (96, 128) and bitmap.dtype == bool for bitmap in bitmaps)


def test_arrays_are_blue_green_red_as_opencv_reads_them(model, files):
    by_file = inference_detector(model, str(files / "picture.png"))[0]
    by_array = inference_detector(model, picture()[:, :, ::-1])[0]
    assert all(np.array_equal(a, b) for a, b in zip(by_file, by_array, strict=True))


def test_a_list_of_pictures_gives_a_list_of_results(model):
    results = inference_detector(model, [picture()[:, :, ::-1]] * 2)
    assert len(results) == 2
    assert all(np.array_equal(a, b) for a, b in zip(results[0][0], results[1][0], strict=True))


def test_masks_can_be_run_lengths(model):
    masks = inference_detector(model, picture())[1]
    encoded = encode_mask_results(masks)
    for bitmaps, rles in zip(masks, encoded, strict=True):
        for bitmap, rle in zip(bitmaps, rles, strict=True):
            np.testing.assert_array_equal(coco_mask.decode(rle).astype(bool), bitmap)


@pytest.mark.parametrize("name", ["out.jpg", "out.png"])
def test_the_result_is_drawn_and_written(model, files, name, tmp_path):
    result = inference_detector(model, picture()[:, :, ::-1])
    drawn = model.show_result(str(files / "picture.png"), result, score_thr=0.0, out_file=str(tmp_path / name))
    assert drawn.shape == (96, 128, 3)
    assert (drawn != picture()[:, :, ::-1]).any()
    assert load_image(tmp_path / name).shape == (96, 128, 3)


def test_nothing_above_the_threshold_leaves_the_picture_as_it_is(model):
    result = inference_detector(model, picture()[:, :, ::-1])
    drawn = model.show_result(picture()[:, :, ::-1], result, score_thr=1.1)
    np.testing.assert_array_equal(drawn, picture()[:, :, ::-1])


def test_the_plot_is_written_where_a_file_is_named(model, tmp_path):
    show_result_pyplot(model, picture(), inference_detector(model, picture()), out_file=tmp_path / "plot.png")
    assert load_image(tmp_path / "plot.png").shape == (96, 128, 3)


def test_there_and_back_is_the_same():
    found = tiny_detector()(picture())
    again = from_result(to_result(found, 3), size=found.size, class_names=found.class_names)
    order = found.scores.argsort(descending=True, stable=True)
    assert torch.equal(again.scores, found.scores[order])
    assert again.segments.rles() == found.segments[order].rles()


def test_a_result_without_scores_is_refused():
    with pytest.raises(ShapeError, match=r"\(n, 5\) array per class"):
        from_result([np.zeros((2, 4))], size=(9, 9), class_names=("a",))


CONFIG = (
    "_base_ = './faster-rcnn_r50_fpn_1x_coco.py'\n"
    "model = dict(backbone=dict(depth=18), neck=dict(in_channels=[64, 128, 256, 512]))\n"
)


def test_options_change_the_files_own_keys(tmp_path):
    (tmp_path / "c.py").write_text(CONFIG)
    options = {"model.test_cfg.rcnn.score_thr": 0.25, "model.test_cfg.rcnn.max_per_img": 3}
    model = init_detector(tmp_path / "c.py", device="cpu", cfg_options=options, palette="coco")
    assert model.detector.config.test.score_threshold == 0.25
    assert model.detector.config.test.max_detections == 3
    assert (model.CLASSES[0], len(model.CLASSES)) == ("person", 80)
    with pytest.raises(ConfigError, match="score_threshold"):
        init_detector(tmp_path / "c.py", cfg_options={"model.test_cfg.rcnn.score_threshold": 0.25})
