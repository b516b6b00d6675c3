"""Detectron.pytorch's scripts with its flags, over tiny models and drawn pictures."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from boxwright.compat.detectron_pytorch import download_imagenet_weights, infer_simple, test_net, train_net_step
from boxwright.compat.detectron_pytorch.flags import read_settings, run_script
from boxwright.data.synth import generate
from boxwright.engine.detector import Detector
from boxwright.engine.loading import load
from boxwright.errors import ConfigError
from boxwright.interop.detectron.pytorch_weights import to_detectron_pytorch
from tests.compat.tiny import picture
from tests.interop.detectron_text import PYTORCH, with_keys

CONFIG = with_keys(
    PYTORCH,
    {
        "MODEL.NUM_CLASSES": 7,
        "FPN.DIM": 16,
        "FAST_RCNN.MLP_HEAD_DIM": 32,
        "TRAIN.SCALES": "(96,)",
        "TRAIN.MAX_SIZE": 128,
        "TEST.SCALE": 96,
        "TEST.MAX_SIZE": 128,
        "TEST.NMS": 0.5,
        "TEST.SCORE_THRESH": 0.0,
        "TEST.DETECTIONS_PER_IM": 5,
        "TEST.RPN_POST_NMS_TOP_N": 50,
    },
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """config.yaml, checkpoints in Detectron.pytorch's own form, and two pictures."""
    folder = tmp_path_factory.mktemp("dpy")
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "ckpt").mkdir()
    for dataset, name in (("coco2017", "coco.pth"), ("shapes", "shapes.pth")):
        flags = train_net_step.parse(["--dataset", dataset, "--cfg", str(folder / "config.yaml")])
        state = Detector(config=read_settings(flags)).model.state_dict()
        plain = {key: value for key, value in state.items() if "running" not in key}
        content = {"step": 9, "train_size": 1, "batch_size": 1, "model": to_detectron_pytorch(plain)}
        torch.save(content, folder / "ckpt" / name)
    (folder / "pictures").mkdir()
    for name in ("a.png", "b.jpg"):
        Image.fromarray(picture()).save(folder / "pictures" / name)
    return folder


def plan(files, *words):
    return train_net_step.plan_training(
        train_net_step.parse(["--dataset", "coco2017", "--cfg", str(files / "config.yaml"), *words])
    )


# --- training: the flags as settings


FLAGS = [
    ([], "train.batch", 16),
    ([], "train.reference_batch", 16),
    ([], "train.lr", 0.02),
    ([], "train.weights", "data/pretrained_model/resnet50_caffe.pth"),
    ([], "data.train", "coco_2017_train"),
    ([], "data.val", "coco_2017_val"),
    ([], "model.num_classes", 80),
    ([], "train.log_to", []),
    (["--bs", "4"], "train.batch", 4),
    (["--bs", "4"], "train.lr", 0.02),  # scaled when the training starts, by reference_batch
    (["--bs", "4", "--lr", "0.01"], "train.lr", 0.04),  # 0.01 after that scaling
    (["--iter_size", "2"], "train.accumulate", 2),
    (["--nw", "0"], "data.workers", 0),
    (["--use_tfboard"], "train.log_to", ["tensorboard"]),
    (["--disp_interval", "5"], "train.log_every", 5),
    (["--lr_decay_gamma", "0.5"], "train.schedule.decay.gamma", 0.5),
    (["--o", "SGD"], "train.optimizer.kind", "sgd"),
    (["--load_ckpt", "x.pth"], "train.weights", "x.pth"),
    (["--load_detectron", "x.pkl"], "train.weights", "x.pkl"),
    (["--set", "SOLVER.MAX_ITER", "180000", "TRAIN.SCALES", "(640, 800)"], "train.schedule.max_steps", 180000),
    (
        ["--set", "SOLVER.MAX_ITER", "180000", "TRAIN.SCALES", "(640, 800)"],
        "model.input.resize.short_train",
        [640, 800],
    ),
]


@pytest.mark.parametrize(("words", "path", "value"), FLAGS)
def test_a_flag_becomes_a_setting(files, words, path, value):
    here = plan(files, *words).config
    for name in path.split("."):
        here = getattr(here, name)
    assert here == (tuple(value) if isinstance(value, list) else value)


def test_the_smaller_batch_has_the_originals_rate_and_schedule(files):
    """16 images become 4 x 2: rate x 4/16, steps x 16/8, as tools/train_net_step.py computes them."""
    from boxwright.engine.training.schedule import scaled_to_batch

    scaled = scaled_to_batch(plan(files, "--bs", "4", "--iter_size", "2").config.train, 4)
    assert scaled.lr == pytest.approx(0.005)
    assert scaled.schedule.max_steps == 180000
    assert scaled.schedule.decay.steps == (120000, 160000)
    own = plan(files, "--bs", "4", "--lr", "0.01").config.train
    assert scaled_to_batch(own, 4).lr == pytest.approx(0.01)


def test_keypoints_have_their_own_data_set(files):
    flags = ["--dataset", "keypoints_coco2017", "--cfg", str(files / "config.yaml")]
    config = train_net_step.plan_training(train_net_step.parse(flags)).config
    assert (config.data.train, config.model.num_classes) == ("keypoints_coco_2017_train", 1)
    assert config.model.class_names == ("person",)


def test_every_run_has_a_folder_of_its_own_and_resume_takes_the_last(files, tmp_path):
    words = ("--output_dir", str(tmp_path))
    assert plan(files, *words).out == tmp_path / "config" / "1"
    (tmp_path / "config" / "3").mkdir(parents=True)
    assert plan(files, *words).out == tmp_path / "config" / "4"
    resumed = plan(files, *words, "--resume")
    assert (resumed.out, resumed.resume) == (tmp_path / "config" / "3", "auto")
    assert plan(files, *words, "--no_save").out is None


MISTAKES = [
    (["--o", "Adam"], "--o is Adam; SGD is known"),
    (["--load_ckpt", "a", "--load_detectron", "b"], "at most one of"),
    (["--resume", "--load_ckpt", "old/model_step9.pth"], "no run of Boxwright"),
    (["--set", "SOLVER.BASE_LR"], "expected pairs"),
    (["--set", "SOLVER.BASE_LRR", "1"], "did you mean SOLVER.BASE_LR"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES)
def test_flags_that_cannot_be_honoured_are_errors(files, words, message):
    with pytest.raises(ConfigError, match=message):
        plan(files, *words)


@pytest.mark.slow
def test_a_model_is_trained_goes_on_and_is_evaluated(files, tmp_path, capsys):
    data = tmp_path / "data"
    generate(data, kind="shapes", images=8, size=96, seed=0)
    words = [
        *("--dataset", str(data), "--cfg", str(files / "config.yaml"), "--bs", "2", "--nw", "0", "--no_cuda"),
        *("--output_dir", str(tmp_path / "Outputs")),
    ]
    short = [
        *("--set", "NUM_GPUS", "2", "SOLVER.MAX_ITER", "2", "SOLVER.STEPS", "[0]", "RESNETS.USE_GN", "True"),
        *("RESNETS.TRANS_FUNC", "bottleneck_gn_transformation", "RESNETS.STEM_FUNC", "basic_gn_stem"),
        *("RESNETS.SHORTCUT_FUNC", "basic_gn_shortcut", "SOLVER.BASE_LR", "1e-6"),
        *("MODEL.LOAD_IMAGENET_PRETRAINED_WEIGHTS", "False"),
    ]
    train_net_step.main([*words, *short])
    run = tmp_path / "Outputs" / "config" / "1"
    trained = load(run / "model.safetensors", device="cpu")
    assert trained.config.train.schedule.max_steps == 4  # 2 of batches of 4 images become 4 of 2
    assert trained.class_names[0] == "circle"
    assert run_script(train_net_step.main, [*words, "--resume", "--load_ckpt", str(run), *short]) == 0
    assert not (tmp_path / "Outputs" / "config" / "2").exists()


# --- evaluation and pictures


def test_a_model_is_evaluated(files, tmp_path, capsys):
    generate(tmp_path / "data", kind="shapes", images=8, size=96, seed=0)
    words = ["--cfg", str(files / "config.yaml"), "--output_dir", str(tmp_path / "test")]
    checkpoint = ["--load_ckpt", str(files / "ckpt" / "shapes.pth"), "--set", "MODEL.NUM_CLASSES", "7"]
    test_net.main(["--dataset", str(tmp_path / "data"), *words, *checkpoint, "--multi-gpu-testing"])
    figures = json.loads((tmp_path / "test" / "results.json").read_text())
    assert 0 <= figures["box"]["ap"] <= 1
    assert json.loads((tmp_path / "test" / "detections.json").read_text())[0].keys() >= {"image_id", "bbox", "score"}
    assert capsys.readouterr().out


def test_pictures_are_drawn_as_pdfs_one_each_and_together(files, tmp_path):
    words = ["--cfg", str(files / "config.yaml"), "--load_ckpt", str(files / "ckpt" / "coco.pth"), "--no_cuda"]
    more = ["--image_dir", str(files / "pictures"), "--output_dir", str(tmp_path / "out")]
    infer_simple.main(["--dataset", "coco", *words, *more])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.pdf", "b.pdf", "results.pdf"]
    assert (tmp_path / "out" / "a.pdf").read_bytes().startswith(b"%PDF")


def test_pictures_may_be_named_and_pdfs_left_apart(files):
    words = ["--dataset", "coco", "--cfg", "c.yaml", "--images", "a.png", "b.png", "--merge_pdfs", "no"]
    flags = infer_simple.parse(words)
    assert infer_simple.find_pictures(flags) == [Path("a.png"), Path("b.png")]
    assert flags.merge_pdfs is False


INFER_MISTAKES = [
    (["--dataset", "voc", "--images", "a"], "coco, coco2017 and keypoints_coco2017 are known"),
    (["--dataset", "coco"], "exactly one of --image_dir and --images"),
    (["--dataset", "coco", "--images", "a"], "exactly one of --load_ckpt and --load_detectron"),
]


@pytest.mark.parametrize(("words", "message"), INFER_MISTAKES)
def test_a_script_ends_with_one_line_and_1(files, words, message, capsys):
    assert run_script(infer_simple.main, ["--cfg", str(files / "config.yaml"), *words]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_weights_are_fetched_under_the_names_that_configs_look_for(tmp_path, monkeypatch, capsys):
    asked = []

    def fetch(model):
        asked.append(model.name)
        (tmp_path / "cached").write_bytes(b"weights")
        return tmp_path / "cached"

    monkeypatch.setattr(download_imagenet_weights, "fetch_model", fetch)
    download_imagenet_weights.main(["--output_dir", str(tmp_path / "there"), "-t", "R-50.pkl", "vgg16_caffe.pth"])
    assert asked == ["detectron/ImageNetPretrained/MSRA/R-50", "open-mmlab/vgg16_caffe"]
    assert (tmp_path / "there" / "R-50.pkl").read_bytes() == b"weights"
    assert capsys.readouterr().out.splitlines()[1].endswith("vgg16_caffe.pth")


@pytest.mark.parametrize("name", ["infer_simple", "test_net", "train_net_step", "download_imagenet_weights"])
def test_the_scripts_are_there(name, monkeypatch, capsys):
    script = Path(__file__).parents[2] / "tools" / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(script), run_name="__main__")
    assert stop.value.code == 0
    assert name in capsys.readouterr().out
