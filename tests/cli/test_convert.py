"""`boxwright convert`: configs with a list of what became of each key, checkpoints there and back."""

import json
import pickle

import numpy as np
import pytest
import torch

from boxwright.cli.main import run
from boxwright.config import diff, dump, load_config
from boxwright.engine.loading import load, save
from boxwright.interop.config import read_config
from tests.compat.tiny import picture, tiny_config, tiny_detector

YAML = """
MODEL:
  META_ARCHITECTURE: GeneralizedRCNN
  MASK_ON: false
  DEVICE: cpu
SOLVER:
  BASE_LR: 0.0125
OUTPUT_DIR: somewhere
"""


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A tiny Mask R-CNN in our own file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save(tiny_detector(), path)
    return path


def test_a_config_is_written_as_ours_and_every_key_is_listed(tmp_path, capsys):
    (tmp_path / "d2.yaml").write_text(YAML)
    assert run(["convert", "config", str(tmp_path / "d2.yaml"), str(tmp_path / "ours.yaml")]) == 0
    printed = capsys.readouterr()
    rows = {line.split()[0]: line for line in printed.out.splitlines()}
    assert rows["SOLVER.BASE_LR"].endswith("train.lr")
    assert printed.out.index("SOLVER.BASE_LR") < printed.out.index("Known, and without effect")
    assert printed.out.index("Known, and without effect") < printed.out.index("OUTPUT_DIR")
    assert "read as detectron2; wrote" in printed.err
    assert load_config(tmp_path / "ours.yaml").train.lr == 0.0125
    assert diff(load_config(tmp_path / "ours.yaml"), read_config(tmp_path / "d2.yaml")) == []


def test_without_a_target_nothing_is_written(tmp_path, capsys):
    assert run(["convert", "config", "torchvision/fasterrcnn_resnet50_fpn", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dialect"] == "torchvision"
    assert told["target"] is None
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_cannot_be_honoured_is_an_error_with_the_nearest_one(tmp_path, capsys):
    (tmp_path / "d2.yaml").write_text(YAML.replace("BASE_LR", "BASE_LRR"))
    assert run(["convert", "config", str(tmp_path / "d2.yaml"), str(tmp_path / "ours.yaml")]) == 1
    printed = capsys.readouterr()
    assert "SOLVER.BASE_LRR: unknown key, did you mean SOLVER.BASE_LR?" in printed.err
    assert not (tmp_path / "ours.yaml").exists()


def test_a_folder_is_checked_file_by_file(tmp_path, capsys):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "good.yaml").write_text(YAML)
    (tmp_path / "bad.py").write_text("model = dict(type='SSD')\n")
    (tmp_path / "notes.txt").write_text("not a config")
    assert run(["convert", "check", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0].startswith("no  bad.py: model: is a SSD; ")
    assert printed.out.splitlines()[1] == "ok  inside/good.yaml"
    assert printed.err == "1 of 2 can be read\n"
    assert run(["convert", "check", str(tmp_path), "--json"]) == 0
    assert [row["dialect"] for row in json.loads(capsys.readouterr().out)] == [None, "detectron2"]


@pytest.mark.parametrize(("to", "ending"), [("detectron2", ".pkl"), ("detectron2", ".pth"), ("torchvision", ".pth")])
def test_weights_go_to_another_program_and_come_back_to_the_bit(to, ending, ours, tmp_path, capsys):
    there, back = tmp_path / f"there{ending}", tmp_path / "back.safetensors"
    settings = tmp_path / "ours.yaml"
    settings.write_text(config_text())
    assert run(["convert", "weights", str(ours), str(there), "--to", to]) == 0
    assert run(["convert", "weights", str(there), str(back), "--config", str(settings)]) == 0
    assert "weights of Boxwright for" in capsys.readouterr().out
    first, second = load(ours), load(back)
    for name, value in first.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name
    assert second.class_names == ("cat", "dog", "bird")
    assert torch.equal(first(picture()).boxes, second(picture()).boxes)


def test_a_pickle_for_detectron2_has_its_names_and_says_who_wrote_it(ours, tmp_path):
    assert run(["convert", "weights", str(ours), str(tmp_path / "m.pkl"), "--to", "detectron2"]) == 0
    with open(tmp_path / "m.pkl", "rb") as file:  # the call of Detectron2, on a file that this test wrote
        content = pickle.load(file, encoding="latin1")
    assert content["__author__"] == "Boxwright"
    assert content["model"]["roi_heads.box_predictor.cls_score.weight"].shape == (4, 32)
    assert isinstance(content["model"]["backbone.fpn_lateral2.weight"], np.ndarray)


def test_torchvision_weights_come_back_with_the_background_rows_that_nothing_reads(ours, tmp_path):
    there, kept, again = tmp_path / "tv.pth", tmp_path / "kept.safetensors", tmp_path / "again.pth"
    assert run(["convert", "weights", str(ours), str(there), "--to", "torchvision"]) == 0
    state = torch.load(there, weights_only=True)
    state["roi_heads.box_predictor.bbox_pred.weight"][:4] = 7.0
    state["roi_heads.mask_predictor.mask_fcn_logits.bias"][:1] = 8.0
    torch.save(state, there)
    (tmp_path / "ours.yaml").write_text(config_text())
    assert run(["convert", "weights", str(there), str(kept), "--config", str(tmp_path / "ours.yaml")]) == 0
    assert run(["convert", "weights", str(kept), str(again), "--to", "torchvision"]) == 0
    returned = torch.load(again, weights_only=True)
    assert returned.keys() == state.keys()
    assert [name for name in state if not torch.equal(returned[name], state[name])] == []
    load(kept)  # the extra rows are no part of a model, and do not stand in its way


def test_weights_without_settings_ask_for_them(ours, tmp_path, capsys):
    assert run(["convert", "weights", str(ours), str(tmp_path / "d2.pkl"), "--to", "detectron2"]) == 0
    assert run(["convert", "weights", str(tmp_path / "d2.pkl"), str(tmp_path / "x.safetensors")]) == 1
    assert "holds weights of Detectron2 but no settings; give its config" in capsys.readouterr().err
    assert not (tmp_path / "x.safetensors").exists()


def test_the_first_convolution_can_be_turned(ours, tmp_path):
    target = tmp_path / "rgb.safetensors"
    assert run(["convert", "weights", str(ours), str(target), "--swap-channels"]) == 0
    name = "backbone.stem.weight"
    assert torch.equal(load(target).model.state_dict()[name], load(ours).model.state_dict()[name].flip(1))


def test_foreign_weights_for_another_program_carry_a_warning(ours, tmp_path, capsys):
    assert run(["convert", "weights", str(ours), str(tmp_path / "d2.pkl"), "--to", "detectron2"]) == 0
    assert run(["convert", "weights", str(tmp_path / "d2.pkl"), str(tmp_path / "tv.pth"), "--to", "torchvision"]) == 0
    assert "weights of Detectron2: torchvision will run them by its own conventions" in capsys.readouterr().err


def config_text() -> str:
    return dump(tiny_config())
