"""VOC's AP, by hand and against the rules followed one detection at a time."""

import numpy as np
import pytest

from boxwright.evaluation.voc import evaluate_voc


def annotation(number, image, box, category=1, **more):
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": 1, **more}


def detection(image, box, score, category=1):
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def data(*annotations):
    images = [{"id": i, "height": 99, "width": 99} for i in (1, 2)]
    return {
        "images": images,
        "annotations": list(annotations),
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


FAR = [60, 60, 9, 9]


@pytest.mark.parametrize("year", [2007, 2012])
def test_without_detections_ap_is_zero_and_without_annotations_minus_one(year):
    assert evaluate_voc(data(annotation(1, 1, [0, 0, 9, 9])), [], year=year).per_class == {"cat": 0.0, "dog": -1.0}
    assert evaluate_voc(data(), [detection(1, FAR, 1.0)], year=year).ap == -1.0


def test_a_curve_worked_by_hand():
    """Right, wrong, right, and one annotation missed: precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3."""
    truth = data(*(annotation(i, 1, [20 * i, 0, 10, 10]) for i in (1, 2, 3)))
    found = [detection(1, [20, 0, 10, 10], 0.9), detection(1, FAR, 0.8), detection(1, [40, 0, 10, 10], 0.7)]
    assert evaluate_voc(truth, found, year=2012).per_class["cat"] == pytest.approx(1 / 3 + 1 / 3 * 2 / 3, abs=1e-12)
    # recalls 0 to 0.3 have precision 1, those to 0.6 have 2/3, the rest 0
    assert evaluate_voc(truth, found, year=2007).per_class["cat"] == pytest.approx((4 + 3 * 2 / 3) / 11, abs=1e-12)


def test_a_second_detection_is_wrong_even_where_another_annotation_would_be_free():
    truth = data(annotation(1, 1, [0, 0, 10, 10]), annotation(2, 1, [2, 0, 10, 10]))
    found = [detection(1, [0, 0, 10, 10], 0.9), detection(1, [0.4, 0, 10, 10], 0.8)]
    curve = evaluate_voc(truth, found).classes["cat"]
    np.testing.assert_array_equal(curve.recall, [0.5, 0.5])


def test_an_overlap_of_exactly_the_threshold_is_not_enough():
    truth, found = data(annotation(1, 1, [0, 0, 10, 10])), [detection(1, [0, 0, 10, 5], 0.9)]
    assert evaluate_voc(truth, found).ap == 0
    assert evaluate_voc(truth, found, threshold=0.499).ap == 1


def test_difficult_annotations_are_not_asked_for_and_detections_on_them_are_not_counted():
    truth = data(annotation(1, 1, [0, 0, 10, 10]), annotation(2, 1, FAR, difficult=1))
    found = [detection(1, FAR, 0.9), detection(1, FAR, 0.8), detection(1, [0, 0, 10, 10], 0.7)]
    assert evaluate_voc(truth, found).ap == 1.0


def by_the_book(truth, found, year, threshold):
    """VOC's devkit in words: each detection in turn, in pixels counted with both ends."""
    aps = []
    for category in truth["categories"]:
        boxes = [a for a in truth["annotations"] if a["category_id"] == category["id"]]
        wanted = sum(not a.get("difficult") for a in boxes)
        if not wanted:
            continue
        rows = [d for d in found if d["category_id"] == category["id"]]
        rows.sort(key=lambda d: d["image_id"])
        used, hits, misses, curve = set(), 0, 0, []
        for row in sorted(rows, key=lambda d: -d["score"]):
            overlaps = []
            for a in (a for a in boxes if a["image_id"] == row["image_id"]):
                (ax, ay, aw, ah), (bx, by, bw, bh) = a["bbox"], row["bbox"]
                left, top = max(ax, bx) + 1, max(ay, by) + 1  # inclusive corners
                width = min(ax + aw, bx + bw) - left + 1
                height = min(ay + ah, by + bh) - top + 1
                shared = max(width, 0) * max(height, 0)
                overlaps.append((shared / (aw * ah + bw * bh - shared), -a["id"], a))
            best = max(overlaps, key=lambda o: o[:2], default=None)
            if best is not None and best[0] > threshold:
                if best[2].get("difficult"):
                    pass
                elif best[2]["id"] not in used:
                    used.add(best[2]["id"])
                    hits += 1
                else:
                    misses += 1
            else:
                misses += 1
            curve.append((hits / wanted, hits / max(hits + misses, 1)))
        if year == 2007:
            steps = np.arange(0.0, 1.1, 0.1)  # 0.30000000000000004 among them, as in the Python devkits
            aps.append(sum(max((p for r, p in curve if r >= t), default=0) for t in steps) / 11)
        else:
            ends = [*curve, (1.0, 0.0)]
            area = reached = 0.0
            for i, (recall, _) in enumerate(curve):
                area += (recall - reached) * max(p for _, p in ends[i:])
                reached = recall
            aps.append(area)
    return np.mean(aps)


@pytest.mark.parametrize("year", [2007, 2012])
@pytest.mark.parametrize("seed", range(5))
def test_random_cases_follow_the_book(year, seed, make_case):
    maker = make_case(seed)
    truth = maker.annotations(crowd=0)
    for record in truth["annotations"]:
        record["difficult"] = int(maker.random.random() < 0.15)
    truth["annotations"].sort(key=lambda a: a["id"])
    found = maker.results(truth, "box")
    expected = by_the_book(truth, found, year, 0.5)
    assert expected > 0.05
    assert evaluate_voc(truth, found, year=year).ap == pytest.approx(expected, abs=1e-12)
