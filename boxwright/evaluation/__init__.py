"""Official figures of detections, and what they mean.

`evaluate_coco` takes files, `Evaluator` takes detections image by image.
"""

from boxwright.evaluation.coco import Evaluator, evaluate_coco
from boxwright.evaluation.detections import DetectionTable, read_detections
from boxwright.evaluation.ground_truth import GroundTruth, read_ground_truth
from boxwright.evaluation.result import Figures, Scores, Timing
from boxwright.evaluation.results_file import results_file, write_results

__all__ = [
    "DetectionTable",
    "Evaluator",
    "Figures",
    "GroundTruth",
    "Scores",
    "Timing",
    "evaluate_coco",
    "read_detections",
    "read_ground_truth",
    "results_file",
    "write_results",
]
