"""The matching kernels against their definitions in plain NumPy, to the last bit."""

import numpy as np
import pytest

from boxwright.ops.cpu import coco_match as kernels
from boxwright.ops.reference import coco_match as definition


def same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


class Scene:
    """n detections and G annotations in few images and categories, on a coarse grid with few scores: many ties."""

    def __init__(self, seed, n, num_annotations, images=4, categories=3):
        random = np.random.default_rng(seed)
        self.num_images, self.num_categories = images, categories
        self.image = np.sort(random.integers(0, images, n)).astype(np.int32)
        self.category = random.integers(0, categories, n).astype(np.int32)
        self.score = random.integers(0, 5, n) / 4
        self.boxes = random.integers(0, 6, (n, 4)) * 10.0
        gt_image = random.integers(0, images, num_annotations)
        gt_category = random.integers(0, categories, num_annotations).astype(np.int32)
        order = np.lexsort((gt_category, gt_image))
        self.gt_first = np.searchsorted(gt_image[order], np.arange(images + 1)).astype(np.int64)
        self.gt_category = gt_category[order]
        self.gt_boxes = random.integers(0, 6, (num_annotations, 4)) * 10.0
        self.gt_crowd = (random.random(num_annotations) < 0.2).astype(np.uint8)
        self.gt_ignored = ((random.random((num_annotations, 3)) < 0.3) | (self.gt_crowd[:, None] > 0)).astype(np.uint8)
        self.nameless = (np.arange(num_annotations) == 2).astype(np.uint8)
        self.outside = (random.random((n, 3)) < 0.3).astype(np.uint8)

    def grouped(self):
        order, rank = kernels.group_detections(self.image, self.category, self.score, 1000, self.num_categories)
        return self.image[order], self.category[order], self.boxes[order], self.score[order], rank, self.outside[order]

    def pairs(self, module, floor=0.3, same_class=True):
        image, category, boxes, *_ = self.grouped()
        annotations = self.gt_first, self.gt_category, self.gt_boxes, self.gt_crowd
        return module.box_pairs(image, category, boxes, *annotations, floor, same_class)


SIZES = [(0, 0), (0, 5), (5, 0), (1, 1), (40, 12), (700, 60)]


@pytest.mark.parametrize(("n", "annotations"), SIZES)
@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_grouping_matches_the_definition(n, annotations, limit):
    scene = Scene(n, n, annotations)
    columns = scene.image, scene.category, scene.score, limit, scene.num_categories
    same(kernels.group_detections(*columns), definition.group_detections(*columns))


@pytest.mark.parametrize(("n", "annotations"), SIZES)
@pytest.mark.parametrize("same_class", [True, False])
@pytest.mark.parametrize("floor", [0.05, 0.5])
def test_pairs_match_the_definition(n, annotations, same_class, floor):
    scene = Scene(n, n, annotations)
    same(scene.pairs(kernels, floor, same_class), scene.pairs(definition, floor, same_class))


@pytest.mark.parametrize(("n", "annotations"), SIZES)
@pytest.mark.parametrize("thresholds", [[0.5], [0.3, 0.5, 1.0]])
def test_matching_matches_the_definition(n, annotations, thresholds):
    scene = Scene(n, n, annotations)
    pairs = scene.pairs(kernels)
    results = []
    for module in (kernels, definition):
        taken = np.zeros((annotations, 3), np.int32)
        settings = taken, scene.gt_crowd, scene.gt_ignored, scene.nameless, scene.grouped()[-1]
        results.append((*module.match_detections(*pairs, np.array(thresholds), *settings), taken))
    same(*results)
    if n > 100:
        assert results[0][0].any()
        assert results[0][1].any()


@pytest.mark.parametrize(("n", "annotations"), SIZES)
@pytest.mark.parametrize("limits", [[1, 2, 100]])
def test_accumulation_matches_the_definition(n, annotations, limits):
    scene = Scene(n, n, annotations)
    image, category, _, score, rank, outside = scene.grouped()
    thresholds = np.array([0.3, 0.5, 0.9])
    settings = np.zeros((annotations, 3), np.int32), scene.gt_crowd, scene.gt_ignored, scene.nameless, outside
    true, false, _ = kernels.match_detections(*scene.pairs(kernels), thresholds, *settings)
    # Images may come in any order.
    mixed = np.argsort(np.array([2, 0, 3, 1])[image], kind="stable")
    columns = [column[mixed] for column in (image, category, score)]
    sizes = scene.num_images, scene.num_categories
    order, first = kernels.order_by_category(*columns, *sizes)
    same((order, first), definition.order_by_category(*columns, *sizes))
    order = mixed[order]
    wanted = [np.bincount(scene.gt_category[ignored == 0], minlength=3) for ignored in scene.gt_ignored.T]
    inputs = (
        first, score[order], rank[order], true[order], false[order],
        np.stack(wanted, axis=1).astype(np.int64), 3, np.linspace(0, 1, 11), np.array(limits),
    )  # fmt: skip
    same(kernels.accumulate_curves(*inputs), definition.accumulate_curves(*inputs))


@pytest.mark.parametrize("n", [0, 1, 50])
def test_covering_matches_the_definition(n):
    random = np.random.default_rng(n)
    inputs = random.integers(0, 12, n), random.integers(0, 9, n), 12, 9
    same([kernels.cover_annotations(*inputs)], [definition.cover_annotations(*inputs)])
