"""What the figures mean, on cases small enough to work out by hand."""

import copy
import json

import numpy as np
import pytest

from boxwright.errors import DatasetError
from boxwright.evaluation import evaluate_coco, read_detections, read_ground_truth
from boxwright.evaluation.analysis import analyse
from boxwright.evaluation.calibration import measure_calibration
from boxwright.evaluation.confusion import confusion_matrix
from boxwright.evaluation.errors import KINDS_OF_ERROR, average_precision, find_errors
from boxwright.evaluation.slices import slice_ap
from boxwright.evaluation.thresholds import best_thresholds, threshold_curves
from boxwright.evaluation.verdicts import judge_detections
from boxwright.evaluation.worst_images import rank_images

BOX = [0.0, 0.0, 10.0, 10.0]
FAR = [80.0, 80.0, 10.0, 10.0]


def scene(annotations, detections, images=2, classes=("cat", "dog")):
    """annotations: (image, category, box, **more), detections: (image, category, box, score) -> read tables."""
    records = []
    for number, (image, category, box, *more) in enumerate(annotations, start=1):
        record = {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3]}
        records.append(record | (more[0] if more else {}))
    truth = read_ground_truth(
        {
            "images": [{"id": i, "height": 100, "width": 100, "file_name": f"{i}.jpg"} for i in range(1, images + 1)],
            "annotations": records,
            "categories": [{"id": i, "name": name} for i, name in enumerate(classes, start=1)],
        }
    )
    rows = [{"image_id": i, "category_id": c, "bbox": b, "score": s} for i, c, b, s in detections]
    return truth, read_detections(rows, truth)


def shifted(by, box=BOX):
    """IoU with the box itself is (10 - by) / (10 + by) for boxes 10 wide."""
    return [box[0] + by, *box[1:]]


class TestVerdicts:
    def test_nothing_gives_nothing(self):
        verdicts = judge_detections(*scene([], []))
        assert len(verdicts.is_true) == len(verdicts.finder) == 0
        assert verdicts.num_wanted.tolist() == [0, 0]

    def test_each_detection_is_right_wrong_or_on_a_crowd(self):
        verdicts = judge_detections(
            *scene(
                [(1, 1, BOX), (1, 1, FAR, {"iscrowd": 1})],
                [(1, 1, BOX, 0.5), (1, 1, BOX, 0.9), (1, 1, FAR, 0.8), (1, 2, BOX, 0.7)],
            )
        )
        assert verdicts.is_true.tolist() == [False, True, False, False]
        assert verdicts.is_false.tolist() == [True, False, False, True]
        assert verdicts.matched.tolist() == [-1, 0, 1, -1]
        assert verdicts.finder.tolist() == [1, -1]

    @pytest.mark.parametrize("kind", ["box", "mask", "keypoint"])
    def test_they_agree_with_the_figures(self, kind, make_case):
        """Recall at IoU 0.5 over all areas is the share of annotations found."""
        maker = make_case(3)
        annotations = maker.annotations()
        truth = read_ground_truth(annotations)
        table = read_detections(maker.results(annotations, kind), truth)
        verdicts = judge_detections(truth, table, kind=kind)
        found = verdicts.count_by_category(table.category[verdicts.is_true])
        recall = getattr(evaluate_coco(truth, table, kinds=[kind]), kind).curves.recall[0, :, 0, -1]
        known = verdicts.num_wanted > 0
        np.testing.assert_allclose((found / np.maximum(verdicts.num_wanted, 1))[known], recall[known], atol=1e-12)
        assert recall[known].max() > 0


class TestThresholds:
    def test_without_detections_there_is_no_best_threshold(self):
        curves = threshold_curves(judge_detections(*scene([(1, 1, BOX)], [])))
        assert [curve.best_threshold for curve in curves] == [None, None]
        assert [curve.best_f1 for curve in curves] == [0, 0]
        assert np.isinf(best_thresholds(curves)).all()

    def test_precision_recall_and_f1_of_each_score(self):
        """Right at 0.9; right and wrong at 0.6 together; wrong at 0.3. One annotation is never found."""
        truth, table = scene(
            [(1, 1, BOX), (2, 1, BOX), (2, 1, FAR)],
            [(1, 1, BOX, 0.9), (2, 1, BOX, 0.6), (1, 1, FAR, 0.6), (1, 1, FAR, 0.3)],
        )
        cat, dog = threshold_curves(judge_detections(truth, table))
        np.testing.assert_allclose(cat.scores, [0.9, 0.6, 0.3])
        np.testing.assert_allclose(cat.precision, [1, 2 / 3, 1 / 2])
        np.testing.assert_allclose(cat.recall, [1 / 3, 2 / 3, 2 / 3])
        np.testing.assert_allclose(cat.f1, [1 / 2, 2 / 3, 4 / 7])
        assert (cat.best_threshold, cat.best_f1) == (0.6, pytest.approx(2 / 3))
        assert (dog.num_annotations, dog.best_threshold) == (0, None)

    def test_few_points_of_many_keep_the_best(self):
        truth, table = scene([(1, 1, BOX)], [(1, 1, FAR, 0.5 + i / 1000) for i in range(99)] + [(1, 1, BOX, 0.5004)])
        curve = threshold_curves(judge_detections(truth, table))[0]
        points = curve.to_dict(num_points=5)
        assert len(points["scores"]) <= 6
        assert curve.best_threshold in points["scores"]
        assert points["best_threshold"] == 0.5004


class TestErrors:
    def test_no_detections_miss_everything(self):
        report = find_errors(*scene([(1, 1, BOX), (1, 2, FAR)], []))
        assert report.counts == dict.fromkeys(KINDS_OF_ERROR, 0) | {"missed": 2}
        assert report.ap50 == 0
        assert report.gain_without_false_negatives == 0  # a category with nothing left to find has AP 0, as in TIDE

    @pytest.mark.parametrize(
        ("annotations", "detection", "kind"),
        [
            ([(1, 1, BOX)], (1, 1, shifted(5), 0.9), "localisation"),  # IoU 1/3
            ([(1, 1, BOX)], (1, 2, shifted(2), 0.9), "classification"),  # IoU 2/3, wrong category
            ([(1, 1, BOX)], (1, 2, shifted(5), 0.9), "both"),
            ([(1, 1, BOX)], (1, 1, FAR, 0.9), "background"),
            ([(1, 1, BOX)], (2, 1, BOX, 0.9), "background"),  # an image without annotations
            ([(1, 1, BOX), (1, 2, BOX)], (1, 1, shifted(5), 0.9), "localisation"),
        ],
    )
    def test_each_false_detection_has_one_kind(self, annotations, detection, kind):
        report = find_errors(*scene(annotations, [detection]))
        assert KINDS_OF_ERROR[report.kind_of_detection[0]] == kind
        assert report.counts[kind] == 1
        pointed_at = kind in ("localisation", "classification")
        assert report.counts["missed"] == len(annotations) - pointed_at

    def test_a_second_detection_of_the_same_is_a_duplicate(self):
        report = find_errors(*scene([(1, 1, BOX)], [(1, 1, BOX, 0.9), (1, 1, shifted(1), 0.8)]))
        assert report.kind_of_detection.tolist() == [-1, KINDS_OF_ERROR.index("duplicate")]

    def test_a_detection_on_a_crowd_is_no_error(self):
        report = find_errors(*scene([(1, 1, BOX, {"iscrowd": 1}), (2, 1, BOX)], [(1, 1, BOX, 0.9)]))
        assert report.kind_of_detection.tolist() == [-1]
        assert report.counts["missed"] == 1

    def test_mending_gives_back_what_it_is_worth(self):
        """Two cats: one found second, after a detection of the right cat at the wrong place.

        As it is: wrong, right of 2 -> precision 1/2 up to recall 1/2 (51 of 101 recalls). With the place mended both
        are right: AP 1. Without the false positive the one is right: AP 51/101. Without the missed one, which a
        localisation error points to, nothing changes by mending "missed".
        """
        report = find_errors(*scene([(1, 1, BOX), (2, 1, BOX)], [(1, 1, shifted(5), 0.9), (2, 1, BOX, 0.8)]))
        assert report.ap50 == pytest.approx(0.5 * 51 / 101)
        assert report.gain["localisation"] == pytest.approx(1 - 0.5 * 51 / 101)
        assert report.gain["missed"] == 0
        assert report.gain_without_false_positives == pytest.approx(0.5 * 51 / 101)
        assert report.gain_without_false_negatives == pytest.approx(0.5 - 0.5 * 51 / 101)
        assert report.missed.tolist() == []

    def test_the_best_of_several_claims_is_mended_and_the_others_are_struck(self):
        """A dog's box on the cat (0.9) and a misplaced cat (0.8) point to the same cat; the dog has its own box."""
        truth, table = scene([(1, 1, BOX), (2, 2, BOX)], [(1, 2, BOX, 0.9), (1, 1, shifted(5), 0.8), (2, 2, BOX, 0.7)])
        report = find_errors(truth, table)
        before = (0 + 0.5) / 2
        assert report.ap50 == pytest.approx(before)
        assert report.gain["classification"] == pytest.approx(1 - before)
        assert report.gain["localisation"] == 0  # struck: the cat goes to the better claim
        assert report.per_class["dog"] == dict.fromkeys(KINDS_OF_ERROR, 0) | {"classification": 1}

    def test_only_the_best_detections_of_an_image_are_looked_at(self):
        report = find_errors(*scene([(1, 1, BOX)], [(1, 1, BOX, 0.1), *((1, 2, FAR, 0.9) for _ in range(100))]))
        assert report.ap50 == 0
        assert report.kind_of_detection.tolist() == [-1] + [KINDS_OF_ERROR.index("background")] * 100

    def test_average_precision_is_cocos_at_one_threshold(self, make_case):
        maker = make_case(6)
        annotations = maker.annotations()
        truth = read_ground_truth(annotations)
        table = read_detections(maker.results(annotations, "box"), truth)
        assert find_errors(truth, table).ap50 == pytest.approx(evaluate_coco(truth, table).box.ap50, abs=1e-12)
        assert average_precision(np.array([], dtype=bool), 3) == 0


class TestConfusion:
    def test_every_annotation_and_every_kept_detection_is_counted_once(self):
        truth, table = scene(
            [(1, 1, BOX), (1, 2, FAR), (2, 1, BOX), (2, 2, FAR, {"iscrowd": 1})],
            [
                (1, 1, BOX, 0.9),  # cat found as cat
                (1, 1, FAR, 0.8),  # dog found as cat
                (1, 1, shifted(40), 0.7),  # a cat that is not there
                (2, 1, BOX, 0.2),  # below the threshold: the cat of image 2 is missed
                (2, 2, FAR, 0.9),  # on a crowd: not counted
            ],
        )
        confusion = confusion_matrix(judge_detections(truth, table), score_threshold=0.3)
        assert confusion.counts.tolist() == [[1, 0, 1], [1, 0, 0], [1, 0, 0]]
        assert confusion.most_confused() == [("dog", "cat", 1)]
        np.testing.assert_allclose(confusion.shares[0], [0.5, 0, 0.5])

    def test_the_right_category_goes_before_a_better_overlap(self):
        truth, table = scene([(1, 1, BOX)], [(1, 2, BOX, 0.9), (1, 1, shifted(2), 0.5)])
        confusion = confusion_matrix(judge_detections(truth, table))
        assert confusion.counts.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]

    def test_nothing_is_an_empty_matrix(self):
        assert confusion_matrix(judge_detections(*scene([], []))).counts.sum() == 0


class TestCalibration:
    def test_without_detections_the_error_is_zero(self):
        calibration = measure_calibration(judge_detections(*scene([], [])))
        assert (calibration.error, calibration.highest, calibration.position_error) == (0, 0, None)

    def test_error_is_the_gap_between_score_and_precision(self):
        """Bin 0.9..1: two detections, scores 0.95, one right: gap 0.45. Bin 0.2..0.3: one of 0.25, right: gap 0.75."""
        truth, table = scene([(1, 1, BOX), (2, 1, BOX)], [(1, 1, BOX, 0.95), (1, 1, FAR, 0.95), (2, 1, BOX, 0.25)])
        calibration = measure_calibration(judge_detections(truth, table), least=1)
        assert calibration.error == pytest.approx((2 * 0.45 + 0.75) / 3)
        assert calibration.highest == pytest.approx(0.75)
        # By place the two of 0.95 are apart: gaps 0.05 and 0.95.
        assert calibration.position_error == pytest.approx((0.05 + 0.95 + 0.75) / 3)
        assert calibration.counts.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 2]

    def test_scores_that_are_no_probabilities_are_told(self):
        with pytest.raises(DatasetError, match="the scores run from -3 to 2; calibration needs probabilities"):
            measure_calibration(judge_detections(*scene([(1, 1, BOX)], [(1, 1, BOX, -3.0), (1, 1, FAR, 2.0)])))


class TestSlices:
    def test_each_bucket_asks_only_for_its_own(self):
        small, wide = [0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 80.0, 20.0]
        truth, table = scene([(1, 1, small), (1, 1, wide), (2, 1, FAR)], [(1, 1, small, 0.9), (2, 1, BOX, 0.99)])
        parts = {(part.by, part.name): part for part in slice_ap(truth, table)}
        assert len(parts) == 14
        size = parts["size", "under 16"]  # two annotations; the wrong one first, then one right
        assert (size.num_annotations, size.recall) == (2, pytest.approx(0.5))
        assert size.ap == pytest.approx(0.5 * 51 / 101)
        assert parts["size", "32 to 96"].ap == 0  # the wide one, 40 across, is not found
        assert parts["shape", "over 3:1"].num_annotations == 1
        assert parts["shape", "under 1:3"].ap == -1
        assert parts["crowdedness", "1 to 4"].num_annotations == 3

    def test_the_areas_of_coco_are_slices_too(self, make_case):
        maker = make_case(4)
        annotations = maker.annotations()
        for record in annotations["annotations"]:
            record["area"] = float(np.floor(record["area"])) + 0.5  # off the borders, which belong to both in COCO
        results = maker.results(annotations, "box")
        truth = read_ground_truth(annotations)
        table = read_detections(results, truth)
        part = {p.name: p for p in slice_ap(truth, table)}["32 to 96"]
        assert part.ap == pytest.approx(evaluate_coco(truth, table).box.ap_medium, abs=1e-12)
        assert part.ap > 0


class TestWorstImages:
    def test_the_image_with_most_errors_comes_first(self):
        truth, table = scene(
            [(1, 1, BOX), (2, 1, BOX), (2, 1, FAR)],
            [(1, 1, BOX, 0.9), (2, 1, shifted(40), 0.8), (2, 1, shifted(50), 0.9), (2, 1, BOX, 0.1)],
            images=3,
        )
        worst, best = rank_images(judge_detections(truth, table), score_thresholds=np.array([0.5, 0.5]))
        assert worst.to_dict() == {
            "image_id": 2, "file_name": "2.jpg", "num_right": 0, "num_wrong": 2, "num_missed": 2, "f1": 0.0,
        }  # fmt: skip
        assert table.scores[worst.wrong].tolist() == [0.9, 0.8]
        assert truth.boxes_xywh[worst.missed].tolist() == [BOX, FAR]
        assert (best.image_id, best.f1, best.num_errors) == (1, 1.0, 0)


@pytest.mark.parametrize("kind", ["box", "mask", "keypoint"])
def test_everything_in_one_object_goes_into_json(kind, make_case):
    maker = make_case(8)
    annotations = maker.annotations()
    truth = read_ground_truth(annotations)
    table = read_detections(maker.results(annotations, kind), truth)
    analysis = analyse(truth, table, kind=kind, num_resamples=50)
    content = json.loads(json.dumps(analysis.to_dict(num_images=2), allow_nan=False))
    assert content["figures"]["ap"] == analysis.figures.ap > 0
    assert len(content["images"]) == 2
    assert (content["errors"] is None) == (kind == "keypoint")
    assert content["intervals"]["ap"]["low"] < analysis.figures.ap < content["intervals"]["ap"]["high"]


def test_an_empty_data_set_can_be_analysed(make_case):
    annotations = copy.deepcopy(make_case(8).annotations()) | {"annotations": []}
    truth = read_ground_truth(annotations)
    analysis = analyse(truth, read_detections([], truth), num_resamples=5)
    assert json.dumps(analysis.to_dict(), allow_nan=False)
    assert analysis.images == []
