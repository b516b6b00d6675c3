"""The metric follows `ops.use_backend`: its definitions give the figures of its kernels."""

from importlib import import_module

import numpy as np
import pytest

from boxwright import ops
from boxwright.evaluation import evaluate_coco
from boxwright.evaluation.confusion import confusion_matrix
from boxwright.evaluation.detections import read_detections
from boxwright.evaluation.ground_truth import read_ground_truth
from boxwright.evaluation.intervals import bootstrap_intervals
from boxwright.evaluation.verdicts import judge_detections


@pytest.fixture
def no_kernels(monkeypatch):
    """Every kernel of the metric is gone."""
    names = ("coco_match", "coco_runs", "coco_resample")
    for module in [import_module(f"boxwright.ops.cpu.{name}") for name in names]:  # they import from each other
        for function in [key for key in vars(module) if not key.startswith("_")]:
            monkeypatch.delattr(module, function)


def measure(annotations, results, kind):
    """The figures that are sums in the official order, and AP on draws of the images."""
    truth = read_ground_truth(annotations)
    table = read_detections(results, truth)
    scores = getattr(evaluate_coco(truth, table, kinds=[kind]), kind)
    confusion = confusion_matrix(judge_detections(truth, table, kind=kind))
    draws = bootstrap_intervals(truth, table, kind=kind, num_resamples=3).figures["ap"].to_dict()
    return (scores.stats, confusion.counts), list(draws.values())


@pytest.mark.parametrize("kind", ["box", "mask", "keypoint"])
def test_under_the_reference_no_kernel_runs_and_the_figures_are_the_same(kind, make_case, request):
    maker = make_case(5)
    annotations = maker.annotations()
    results = maker.results(annotations, kind)
    expected, expected_draws = measure(annotations, results, kind)
    request.getfixturevalue("no_kernels")
    with ops.use_backend("reference"):
        found, draws = measure(annotations, results, kind)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(draws, expected_draws, rtol=0, atol=1e-12)
