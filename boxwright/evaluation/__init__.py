"""Official figures of detections, and what they mean.

`evaluate_coco` takes files, `Evaluator` takes detections image by image.
"""

from .coco import Evaluator, evaluate_coco
from .detections import DetectionTable, read_detections, write_results
from .ground_truth import GroundTruth, read_ground_truth
from .result import Figures, Scores, Timing

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
    "write_results",
]
