"""Outlines that fill to the pixels they came from, things in front of things, crowds, keypoints."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from boxwright.data import synth
from boxwright.data.synth.figures import CATEGORIES
from boxwright.data.synth.outline import encode_mask, fill_polygon, quantise, trace_mask
from boxwright.data.synth.scene import MAX_SIDE, MIN_SIDE, Scene, Thing


def blank_scene(size: int = 40) -> Scene:
    return Scene(np.zeros((size, size, 3), np.uint8))


def block(x: int, y: int, height: int, width: int, **settings) -> Thing:
    settings = {"category": 0, **settings}
    return Thing(
        x=x, y=y, mask=np.ones((height, width), bool), colours=np.full((height, width, 3), 9, np.uint8), **settings
    )


def decode(segmentation, height: int, width: int) -> np.ndarray:
    rles = coco_mask.frPyObjects(segmentation, height, width)
    return coco_mask.decode(coco_mask.merge(rles) if isinstance(rles, list) else rles).astype(bool)


def without_holes(mask: np.ndarray) -> np.ndarray:
    """Fills whatever background cannot be reached from outside by steps to the four neighbours."""
    _, regions = cv2.connectedComponents(np.pad(~mask, 1, constant_values=True).astype(np.uint8), connectivity=4)
    return (regions != regions[0, 0])[1:-1, 1:-1]


@pytest.mark.parametrize("seed", range(30))
def test_a_traced_mask_fills_to_itself(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 24, size=2).tolist())
    mask = without_holes(rng.random(shape) < rng.choice([0.2, 0.5, 0.8]))
    polygons = trace_mask(mask)
    assert polygons is not None
    filled = np.zeros(shape, bool)
    for polygon in polygons:
        filled |= fill_polygon(polygon, *shape)
    np.testing.assert_array_equal(filled, mask)


def test_an_empty_mask_has_no_polygons():
    assert trace_mask(np.zeros((5, 4), bool)) == []


def test_one_pixel_is_a_square_of_side_one():
    mask = np.zeros((5, 4), bool)
    mask[3, 2] = True
    (polygon,) = trace_mask(mask)
    assert sorted(map(tuple, polygon.tolist())) == [(2, 3), (2, 4), (3, 3), (3, 4)]


def test_a_hole_cannot_be_traced():
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    assert trace_mask(mask) is None


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("fill", [0.0, 0.3, 1.0])
def test_rle_decodes_to_the_mask(compress, fill):
    mask = np.random.default_rng(0).random((7, 9)) < fill
    rle = json.loads(json.dumps(encode_mask(mask, compress=compress)))
    np.testing.assert_array_equal(decode(rle, 7, 9) if not compress else coco_mask.decode(rle).astype(bool), mask)
    if not compress:
        assert sum(rle["counts"]) == 63


def test_polygons_move_by_whole_pixels_without_changing_theirs():
    rng = np.random.default_rng(1)
    for _ in range(50):
        points = quantise(rng.random((7, 2)) * 20)
        moved = fill_polygon(points + (11, 5), 40, 40)
        np.testing.assert_array_equal(moved[5:30, 11:36], fill_polygon(points, 25, 25))


def test_what_is_in_front_cuts_what_is_behind():
    scene = blank_scene()
    assert scene.add(block(5, 5, 10, 20))
    assert scene.add(block(12, 0, 30, 4))
    behind, front = scene.annotations()
    assert behind["area"] == 200 - 40
    assert behind["bbox"] == [5, 5, 20, 10]
    assert len(behind["segmentation"]) == 2  # cut in two parts
    assert front["area"] == 120


def test_a_thing_that_would_hide_another_is_not_painted():
    scene = blank_scene()
    assert scene.add(block(10, 10, 20, 20))
    before = scene.picture.copy()
    assert not scene.add(block(8, 8, 22, 22))
    assert not scene.add(block(100, 0, 20, 20))
    assert not scene.add(block(-18, 0, 20, 20))
    np.testing.assert_array_equal(scene.picture, before)
    assert len(scene.things) == 1


def test_a_thing_at_the_rim_is_cut_by_the_picture():
    scene = blank_scene()
    outline = np.array([[0.0, 0], [20, 0], [20, 10], [0, 10]])
    assert scene.add(block(-6, 34, 10, 20, outline=outline))
    (annotation,) = scene.annotations()
    assert annotation["bbox"] == [0, 34, 14, 6]
    np.testing.assert_array_equal(decode(annotation["segmentation"], 40, 40), scene.visible_mask(0))


def test_what_is_not_annotated_still_hides():
    scene = blank_scene()
    scene.add(block(0, 0, 20, 20))
    scene.add(block(0, 0, 20, 10, category=None))
    (annotation,) = scene.annotations()
    assert annotation["bbox"] == [10, 0, 10, 20]


def test_a_keypoint_is_seen_hidden_or_not_labelled():
    keypoints = np.array([[2, 2, 2], [15, 2, 2], [3, 3, 1], [4, 4, 0], [-3, 4, 2]])
    scene = blank_scene()
    scene.add(block(0, 0, 20, 20, keypoints=keypoints))
    scene.add(block(12, 0, 20, 20))
    annotation, _ = scene.annotations()
    assert annotation["keypoints"] == [2, 2, 2, 15, 2, 1, 3, 3, 1, 0, 0, 0, 0, 0, 0]
    assert annotation["num_keypoints"] == 3


@pytest.fixture(scope="module")
def scenes():
    return {
        kind: [synth.draw_scene(kind, size=320, seed=1, index=index) for index in range(40)] for kind in synth.KINDS
    }


@pytest.mark.parametrize("kind", synth.KINDS)
def test_scales_occlusion_and_crowds_all_occur(scenes, kind):
    annotations = [annotation for scene in scenes[kind] for annotation in scene.annotations()]
    objects = [annotation for annotation in annotations if not annotation["iscrowd"]]
    things = [
        thing for scene in scenes[kind] for thing in scene.things if thing.category is not None and not thing.is_crowd
    ]
    sides = sorted(thing.side for thing in things)
    assert MIN_SIDE - 1 <= sides[0] < 20
    assert 180 < sides[-1] <= MAX_SIDE + 2
    assert sides[len(sides) // 2] > 20
    hidden = [annotation["area"] < thing.mask.sum() for annotation, thing in zip(objects, things, strict=True)]
    assert 0.1 < np.mean(hidden) < 0.7
    assert 1 <= len(annotations) - len(objects) <= 12
    for annotation in annotations:
        if annotation["iscrowd"]:
            assert isinstance(annotation["segmentation"]["counts"], list)


def test_every_shape_occurs_and_rings_are_rle(scenes):
    annotations = [annotation for scene in scenes["shapes"] for annotation in scene.annotations()]
    assert {annotation["category_id"] for annotation in annotations} == {1, 2, 3, 4, 5, 6}
    rings = [it for it in annotations if it["category_id"] == 5 and not it["iscrowd"] and min(it["bbox"][2:]) > 40]
    assert any(isinstance(ring["segmentation"], dict) for ring in rings)


def test_keypoints_of_figures_are_coco_s_and_of_every_visibility(scenes):
    assert len(CATEGORIES[0]["keypoints"]) == 17
    assert len(CATEGORIES[0]["skeleton"]) == 19
    seen = {0: 0, 1: 0, 2: 0}
    for scene in scenes["figures"]:
        for annotation in scene.annotations():
            points = np.array(annotation["keypoints"]).reshape(17, 3)
            assert annotation["num_keypoints"] == (points[:, 2] > 0).sum()
            assert not points[points[:, 2] == 0].any()
            visible = points[points[:, 2] == 2]
            mask = decode_any(annotation["segmentation"], 320)
            assert mask[visible[:, 1], visible[:, 0]].all()
            for visibility in points[:, 2].tolist():
                seen[visibility] += 1
    assert min(seen.values()) > 50


def decode_any(segmentation, size: int) -> np.ndarray:
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str):
        return coco_mask.decode(segmentation).astype(bool)
    return decode(segmentation, size, size)


def test_left_of_a_person_who_faces_us_is_on_our_right(scenes):
    names = CATEGORIES[0]["keypoints"]
    left, right, nose = (names.index(name) for name in ("left_shoulder", "right_shoulder", "nose"))
    sides = []
    for scene in scenes["figures"]:
        for annotation in scene.annotations():
            points = np.array(annotation["keypoints"]).reshape(17, 3)
            if (points[[left, right, nose], 2] == 2).all() and abs(points[left, 0] - points[right, 0]) > 12:
                sides.append(points[left, 0] > points[right, 0])
    assert len(sides) > 15
    assert all(sides)
