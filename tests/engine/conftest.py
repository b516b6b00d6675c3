"""A data set and settings so small that a run takes seconds."""

from pathlib import Path

import pytest
import torch

from boxwright.config import Config
from boxwright.data.synth import generate
from boxwright.engine.loading import load_config

TINY = (
    *("model.input.resize.short_train=[64]", "model.input.resize.short_test=64", "model.neck.channels=16"),
    *("model.neck.in_levels=[c2, c3]", "model.anchors.sizes=[[16], [32], [64]]"),
    *("model.box_head.pooling.levels=[p2, p3]", "model.mask_head.pooling.levels=[p2, p3]"),
    *("model.box_head.features.convs=[16]", "model.box_head.features.fcs=[16]", "model.mask_head.convs=[16]"),
    *("model.mask_head.upsample_channels=16", "model.proposals.post_nms_top_k.train=50"),
    *("model.box_head.sampling.size=16", "data.workers=0", "train.batch=2", "train.log_every=1"),
    *("train.schedule.max_steps=6", "train.schedule.warm_up.steps=2", "train.checkpoint_every=2"),
    *("train.evaluate_every=null", "test.score_threshold=0.3"),
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """On tensors this small threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of 64 x 64 to train on, two to validate on."""
    folder = tmp_path_factory.mktemp("tiny") / "set"
    generate(folder, kind="shapes", images=10, seed=3, size=64)
    return folder


def tiny(*changes: str) -> Config:
    return load_config("mask_rcnn_r18_fpn_gn", [*TINY, *changes])
