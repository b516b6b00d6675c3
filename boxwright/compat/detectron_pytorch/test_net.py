"""Evaluation with the flags of `tools/test_net.py`."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from boxwright.compat.detectron_pytorch.flags import DATASETS, add_model_flags, one_checkpoint, read_settings
from boxwright.engine.evaluation import evaluate
from boxwright.engine.loading import load
from boxwright.errors import ConfigError
from boxwright.files import atomic_write
from boxwright.outputs import writing

DETECTIONS, FIGURES = "detections.json", "results.json"


def main(arguments: Sequence[str]) -> None:
    """Prints the figures; they and the detections, as COCO results, go into the output folder."""
    flags = _parse(arguments)
    config, checkpoint = read_settings(flags), one_checkpoint(flags)
    data = config.data.val if flags.dataset in (None, *DATASETS) else flags.dataset
    if data is None:
        raise ConfigError(f"{flags.cfg_file} names no TEST.DATASETS; give --dataset")
    out = flags.output_dir or Path(checkpoint).parent.parent / "test"
    with writing(out / DETECTIONS, out / FIGURES, inputs=[data, checkpoint]):
        scores = evaluate(load(config, checkpoint), data, root=config.data.root, save=out / DETECTIONS)
        print(scores)
        with atomic_write(out / FIGURES, "w") as file:
            json.dump(scores.to_dict(), file)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="test_net", description="Evaluate a model.")
    parser.add_argument("--dataset", help=f"{', '.join(DATASETS)}, another known name, a folder or an annotation file")
    add_model_flags(parser)
    parser.add_argument("--output_dir", type=Path, help="default: `test` beside the checkpoint's folder")
    parser.add_argument("--multi-gpu-testing", action="store_true", help="accepted; start under torchrun for several")
    return parser.parse_args(arguments)
