"""How much of a data set the proposals of a model cover, for models that find nothing else."""

from dataclasses import replace
from pathlib import Path

from boxwright.data.annotations import Annotations
from boxwright.engine.detector import Detector
from boxwright.engine.evaluation import DataSource
from boxwright.engine.ground_truth import ground_truth_of
from boxwright.engine.measuring import ImagesDone, StreamOptions, show_detections
from boxwright.errors import ConfigError
from boxwright.evaluation.proposals import ProposalEvaluator, ProposalScores


def evaluate_proposals(
    detector: Detector,
    data: str | Path | Annotations,
    *,
    split: str = "val",
    root: str | Path | None = None,
    batch: int = 4,
    workers: int = 2,
    save: str | Path | None = None,
    progress: ImagesDone | None = None,
) -> ProposalScores:
    """AR of the best 100, 300 and 1000 proposals by area. Under torch.distributed as `evaluate`. Classes do not matter.

    `save` writes the proposals as COCO results, all of the first class.
    """
    if detector.config.model.finds:
        raise ConfigError("the model finds objects, not proposals; evaluate() measures it")
    annotations = data if isinstance(data, Annotations) else DataSource(data, split, root).read()
    evaluator = ProposalEvaluator(ground_truth_of(annotations))
    options = StreamOptions(batch=batch, workers=workers, save=save, progress=progress)
    timing, _ = show_detections(evaluator, detector, annotations, options)
    return replace(evaluator.result(), timing=timing)
