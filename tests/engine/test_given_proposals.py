"""Proposals from a file are looked at like those of the model's own RPN, which writes such files."""

import json

import numpy as np
import pytest
import torch

from boxwright.cli.main import run
from boxwright.config import Config, preset
from boxwright.data import synth
from boxwright.engine.detector import Detector
from boxwright.engine.evaluation import evaluate
from boxwright.engine.loading import save
from boxwright.engine.proposal_recall import evaluate_proposals
from boxwright.errors import ConfigError

CHANGES = (
    *("model.backbone.depth=18", "model.input.resize.short_test=96", "model.input.resize.long_test=160"),
    *("model.neck.channels=16", "model.box_head.features.fcs=[16]", "model.num_classes=6", "test.max_detections=10"),
    *("model.proposals.post_nms_top_k.test=40", "test.score_threshold=0.0", "model.input.pad_to=32"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("given")
    synth.generate(out, kind="shapes", images=8, seed=1, size=96, val_fraction=0.4)
    return out


@pytest.fixture(scope="module")
def whole(folder):
    names = [category["name"] for category in json.loads((folder / "val.json").read_text())["categories"]]
    config = preset("faster_rcnn_r50_fpn").with_(*CHANGES, f"model.class_names={json.dumps(names)}")
    torch.manual_seed(0)
    detector = Detector(config=config)
    for name, weight in detector.model.named_parameters():  # predictions of an untrained model are all alike
        if name.endswith(("score.weight", "box.weight")):
            torch.nn.init.normal_(weight, std=0.3)
    return detector


def with_parts(whole, **parts):
    model = whole.config.model.with_(**parts)
    detector = Detector(config=Config(model=model, test=whole.config.test))
    detector.model.load_state_dict(whole.model.state_dict(), strict=False)
    return detector


def test_proposals_that_an_rpn_alone_has_saved_give_what_the_whole_model_gives(whole, folder, tmp_path):
    rpn = with_parts(whole, box_head=None)
    evaluate_proposals(rpn, folder, workers=0, save=tmp_path / "proposals.json")
    fast = with_parts(whole, proposals={"kind": "precomputed", "top_k": {"train": 40, "test": 40}})
    evaluate(whole, folder, workers=0, save=tmp_path / "whole.json")
    evaluate(fast, folder, workers=0, proposals=tmp_path / "proposals.json", save=tmp_path / "fast.json")
    expected, found = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole", "fast"))
    assert [(r["image_id"], r["category_id"]) for r in found] == [(r["image_id"], r["category_id"]) for r in expected]
    for name, limit in (("score", 1e-5), ("bbox", 1e-2)):
        np.testing.assert_allclose([r[name] for r in found], [r[name] for r in expected], atol=limit)


def test_a_model_without_an_rpn_wants_proposals_and_no_other_takes_them(whole, folder, tmp_path, capsys):
    fast = with_parts(whole, proposals={"kind": "precomputed"})
    save(fast, tmp_path / "fast.safetensors")
    assert run(["evaluate", str(tmp_path / "fast.safetensors"), "--data", str(folder), "--device", "cpu"]) == 1
    assert "the model takes its proposals from outside: give a COCO results file of them (--proposals FILE)" in (
        capsys.readouterr().err
    )
    single = Detector(config=preset("retinanet_r50_fpn").with_("model.backbone.depth=18", "model.convs=[16]"))
    with pytest.raises(ConfigError, match="the model takes no proposals from outside"):
        evaluate(single, folder, proposals=tmp_path / "proposals.json")
