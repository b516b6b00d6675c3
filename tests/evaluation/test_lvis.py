"""LVIS: the federated rules by hand, recorded numbers of the official code, and the code itself where installed."""

import copy
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from boxwright.errors import DatasetError
from boxwright.evaluation import evaluate_coco
from boxwright.evaluation.lvis import evaluate_lvis

RECORDED = json.loads((Path(__file__).parent / "lvis_case.json").read_text())


def data(images, *boxes):
    """boxes: (image, category) pairs, all at the same place."""
    return {
        "images": [{"id": i, "neg_category_ids": n, "not_exhaustive_category_ids": e} for i, n, e in images],
        "annotations": [
            {"id": j + 1, "image_id": i, "category_id": c, "bbox": [0, 0, 50, 50], "area": 2500}
            for j, (i, c) in enumerate(boxes)
        ],
        "categories": [{"id": c, "name": str(c), "frequency": f} for c, f in ((1, "r"), (2, "c"), (3, "f"))],
    }


def found(*rows):
    """rows: (image, category, x, score)."""
    return [{"image_id": i, "category_id": c, "bbox": [x, 0, 50, 50], "score": s} for i, c, x, s in rows]


def test_nothing_annotated_is_minus_one_and_nothing_found_zero():
    assert evaluate_lvis(data([(1, [], [])]), []).box.ap == -1
    assert evaluate_lvis(data([(1, [], [])], (1, 1)), []).box.ap == 0


def test_a_category_nobody_looked_for_is_not_held_against_the_detector():
    """The wrong detection in image 2 comes first; only where image 2 was searched for category 1 does it count."""
    wrong_first = found((2, 1, 0, 0.9), (1, 1, 0, 0.8))
    unsearched = data([(1, [], []), (2, [], [])], (1, 1))
    searched = data([(1, [], []), (2, [1], [])], (1, 1))
    assert evaluate_lvis(unsearched, wrong_first).box.ap == pytest.approx(1, abs=1e-12)
    assert evaluate_lvis(searched, wrong_first).box.ap == pytest.approx(0.5, abs=1e-12)


def test_a_category_that_is_not_exhaustively_annotated_has_no_false_positives():
    wrong_first = found((1, 1, 200, 0.9), (1, 1, 0, 0.8))
    assert evaluate_lvis(data([(1, [], [1])], (1, 1)), wrong_first).box.ap == pytest.approx(1, abs=1e-12)
    assert evaluate_lvis(data([(1, [], [])], (1, 1)), wrong_first).box.ap == pytest.approx(0.5, abs=1e-12)


def test_means_are_taken_over_rare_common_and_frequent_categories():
    scores = evaluate_lvis(data([(1, [], [])], (1, 1), (1, 2), (1, 3)), found((1, 1, 0, 0.9), (1, 3, 200, 0.9))).box
    assert (scores.ap_rare, scores.ap_common, scores.ap_frequent) == (pytest.approx(1, abs=1e-12), 0, 0)


def test_the_three_hundred_best_of_all_categories_are_looked_at():
    many = found(*((1, 2, 0, 0.9) for _ in range(300)), (1, 1, 0, 0.8))
    assert evaluate_lvis(data([(1, [2], [])], (1, 1)), many).box.ap == 0
    assert evaluate_lvis(data([(1, [2], [])], (1, 1)), many[1:]).box.ap == pytest.approx(1, abs=1e-12)


def test_annotations_that_are_not_lvis_are_told():
    with pytest.raises(DatasetError, match="no neg_category_ids, so they are not LVIS"):
        evaluate_lvis({"images": [{"id": 1}], "annotations": [], "categories": []}, [])
    with pytest.raises(DatasetError, match="LVIS has no evaluation of 'keypoint'"):
        evaluate_lvis(data([(1, [], [])]), [], kinds=["keypoint"])


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_recorded_numbers_of_the_official_code(kind):
    figures = getattr(evaluate_lvis(RECORDED["annotations"], RECORDED["results"], kinds=[kind]), kind)
    expected = list(RECORDED["expected"][kind].values())
    np.testing.assert_allclose(figures.stats, expected, rtol=0, atol=1e-12)
    assert len({round(v, 6) for v in expected}) > 8
    plain = evaluate_coco(RECORDED["annotations"], RECORDED["results"], kinds=[kind])
    assert abs(getattr(plain, kind).ap - figures.ap) > 0.01  # the federated rules matter here


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["box", "mask"])
def test_random_cases_equal_the_official_code_where_it_is_installed(kind, make_case, monkeypatch):
    lvis = pytest.importorskip("lvis", reason="the official LVIS code is not installed")
    monkeypatch.setattr(np, "float", float, raising=False)  # it was written for an older NumPy
    logging.getLogger("lvis").setLevel(logging.CRITICAL)
    for seed in range(8):
        maker = make_case(seed, images=12, classes=8)
        annotations = maker.annotations(crowd=0)
        for image in annotations["images"]:
            image["neg_category_ids"] = [c for c in range(2, 19, 2) if maker.random.random() < 0.3]
            image["not_exhaustive_category_ids"] = [c for c in range(2, 19, 2) if maker.random.random() < 0.2]
        for category in annotations["categories"]:
            category["frequency"] = "rcf"[maker.random.integers(3)]
        results = maker.results(annotations, kind, per_image=900 if seed == 0 else 12)
        truth = lvis.LVIS.__new__(lvis.LVIS)
        truth.logger, truth.dataset = logging.getLogger("lvis"), copy.deepcopy(annotations)
        truth._create_index()
        official = lvis.LVISEval(
            truth, lvis.LVISResults(truth, copy.deepcopy(results)), "bbox" if kind == "box" else "segm"
        )
        official.run()
        figures = getattr(evaluate_lvis(annotations, results, kinds=[kind]), kind)
        np.testing.assert_array_equal(figures.curves.precision[..., 0], official.eval["precision"])
        np.testing.assert_allclose(figures.stats, list(official.results.values()), rtol=0, atol=1e-12)
