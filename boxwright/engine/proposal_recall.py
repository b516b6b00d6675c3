"""How much of a data set the proposals of a model cover, for models that find nothing else."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from boxwright.data.annotations import Annotations
from boxwright.data.formats.reading import read_dataset
from boxwright.engine.detection_stream import Share, Watch, detect_share, in_eval_mode, together
from boxwright.engine.detector import Detector
from boxwright.engine.distributed import present_world
from boxwright.engine.ground_truth import category_ids_of, ground_truth_of
from boxwright.engine.saved_results import join_parts, saving
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
    limits: Sequence[int] = (100, 300, 1000),
    save: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ProposalScores:
    """AR at each of `limits` by area. Under torch.distributed as `evaluate`. Classes do not matter.

    `save` writes the proposals as COCO results, all of the first class.
    """
    if detector.config.model.finds:
        raise ConfigError("the model finds objects, not proposals; evaluate() measures it")
    annotations = data if isinstance(data, Annotations) else read_dataset(data, split=split, root=root)
    evaluator = ProposalEvaluator(ground_truth_of(annotations), limits=limits)
    share = Share(annotations, present_world())
    watch = Watch(detector.device)
    category_ids = category_ids_of(annotations)
    with in_eval_mode(detector), saving(save, share.world) as writer:
        stream = detect_share(detector, share, batch, workers, watch)
        for done, (image_id, found) in enumerate(stream, start=1):
            evaluator.add(image_id, boxes=found.boxes.numpy(), scores=found.scores.numpy())
            if writer is not None:
                writer.write(found.to_coco(image_id, category_ids))
            if progress is not None:
                progress(done, len(share))
    timing = watch.timing()
    states = share.world.gather((evaluator.state(), timing))
    join_parts(save, share.world)
    for rank, (state, _) in enumerate(states):
        if rank != share.world.rank:
            evaluator.absorb(state)
    return replace(evaluator.result(), timing=together([one for _, one in states]))
