"""Counts, spreads and the fit of anchors against numbers by hand; plots and the page hold what they should."""

import re

import numpy as np
import pytest
from PIL import Image

from boxwright.data.formats.reading import read_dataset
from boxwright.data.stats import AnchorShapes, anchor_fit, box_table, dataset_stats, split_stats
from boxwright.data.view import write_view


def test_a_set_without_objects_has_zeros(coco_folder):
    annotations = read_dataset(coco_folder(lambda content: content["annotations"].clear()))
    stats = split_stats(annotations, anchors=AnchorShapes(sizes=[32], aspect_ratios=[1]))
    assert (stats["images"], stats["objects"], stats["images_without_objects"]) == (2, 0, 2)
    assert stats["box_size"] == {}
    assert stats["classes"] == {"dog": {"objects": 0, "images": 0}, "cat": {"objects": 0, "images": 0}}


def test_counts_leave_crowds_out(coco_folder):
    stats = dataset_stats({"train": read_dataset(coco_folder())})["train"]
    assert (stats["objects"], stats["crowds"], stats["unusable"]) == (2, 1, 0)
    assert stats["classes"] == {"dog": {"objects": 1, "images": 1}, "cat": {"objects": 1, "images": 1}}
    assert stats["image_height"]["p0"] == 40
    assert stats["image_height"]["p100"] == 50
    assert stats["box_size"]["p100"] == 30  # the dog's 30 x 30
    assert stats["box_aspect_ratio"]["p100"] == 2  # the cat's 20 / 10
    assert stats["share_of_boxes"] == {"small": 1.0, "medium": 0.0, "large": 0.0}


def test_the_fit_of_anchors_is_the_best_iou_of_shapes(coco_folder):
    annotations = read_dataset(coco_folder())
    anchors = AnchorShapes(sizes=[30], aspect_ratios=[1.0], short=80, long=None, method="opencv")
    # The dog is 30 x 30 on an image 40 high: 60 x 60, and the anchor 30 x 30 a quarter of it.
    # The cat is 10 x 20 on an image 30 wide: 26.7 x 53.3, of which 26.7 x 30 are common.
    cat = 26.6667 * 30 / (26.6667 * 53.3333 + 900 - 26.6667 * 30)
    np.testing.assert_allclose(anchor_fit(annotations, box_table(annotations), anchors), [0.25, cat], atol=1e-4)
    stats = split_stats(annotations, anchors=anchors)["anchors"]
    assert (stats["share_well_covered"], stats["share_below_half"]) == (0.0, 0.5 if cat >= 0.5 else 1.0)


def test_plots_are_pictures(coco_folder, tmp_path):
    pytest.importorskip("matplotlib")
    from boxwright.data.stats_plots import plot_stats

    annotations = read_dataset(coco_folder())
    anchors = AnchorShapes(sizes=[32, 64], aspect_ratios=[0.5, 1, 2])
    written = plot_stats({"train": annotations, "val": annotations}, tmp_path / "plots", anchors=anchors)
    names = ["class_balance", "box_sizes", "aspect_ratios", "objects_per_image", "anchor_fit"]
    assert [path.stem for path in written] == names
    for path in written:
        with Image.open(path) as picture:
            assert picture.size == (960, 600)
            assert len(picture.convert("L").getcolors(256 * 256)) > 10


def test_an_empty_set_can_be_plotted(coco_folder, tmp_path):
    pytest.importorskip("matplotlib")
    from boxwright.data.stats_plots import plot_stats

    annotations = read_dataset(coco_folder(lambda content: content["annotations"].clear()))
    assert len(plot_stats({"train": annotations}, tmp_path / "plots")) == 4


def test_the_page_shows_every_object_and_names_what_is_broken(coco_folder, tmp_path):
    folder = coco_folder()
    (folder / "images" / "b.png").write_bytes(b"nothing")
    annotations = read_dataset(folder)
    write_view(annotations, [0, 1], tmp_path / "view.html")
    page = (tmp_path / "view.html").read_text()
    assert page.count("<rect ") == 2  # those of the picture that can be shown
    assert page.count("<path ") == 2
    assert page.count("data:image/jpeg;base64,") == 1
    assert "crowd'" in page
    assert "b.png cannot be decoded" in page
    assert not re.search(r"(src|href)='https?:", page)  # nothing is fetched


def test_a_picture_of_another_size_is_named_and_not_drawn_upon(coco_folder, tmp_path):
    folder = coco_folder(lambda content: content["images"][0].update(height=31_000, width=31_000))
    write_view(read_dataset(folder), [0], tmp_path / "view.html")
    page = (tmp_path / "view.html").read_text()
    assert "the picture is 60 x 40; what is annotated is not drawn" in page
    assert "<rect " not in page


def test_names_cannot_put_code_into_the_page(coco_folder, tmp_path):
    def change(content):
        content["categories"][1]["name"] = "<script>alert(1)</script>"

    write_view(read_dataset(coco_folder(change)), [0], tmp_path / "view.html")
    assert "<script>alert" not in (tmp_path / "view.html").read_text()
