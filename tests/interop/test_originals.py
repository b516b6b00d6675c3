"""A config in the original's own words and a checkpoint in its own format give the model of the recorded numbers.

Settings and parameters equal to those of `tests.golden` to the bit: what passes there passes from the original's files.
The configs are the originals' files and lie beside this project; without them these tests skip.
"""

import pickle
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from boxwright.config import diff
from boxwright.config.load import load_config as load_ours
from boxwright.engine.conversion import convert_weights
from boxwright.engine.detector import Detector
from boxwright.engine.loading import load, load_config
from boxwright.interop.detectron.pytorch_weights import from_detectron_pytorch
from boxwright.interop.files.read import read_file
from boxwright.interop.tables.background import background_first
from boxwright.models.upsampling import FixedUpsample
from tests.golden.compare import CONFIGS, Comparison
from tests.golden.recordings import Recording, recordings

ORIGINALS = Path(__file__).parents[3] / "shared" / "goldens"
NAMES = {"mmdet": "config.py", "torchvision": "config.txt", "detectron2": "config_text.yaml"}
pytestmark = pytest.mark.skipif(not ORIGINALS.is_dir(), reason="the originals' configs are not beside this project")
ALL = [pytest.param(entry, id=entry.file.stem) for entry in recordings()]
BY_CAFFE2 = [case for case in ALL if "detectron_pytorch" in case.id]
WRITTEN_BACK = [case for case in ALL if case.id.startswith(("detectron2", "torchvision"))]


def original_config(recording: Recording) -> Path:
    folder = ORIGINALS / recording.program / recording.name
    named = folder / NAMES.get(recording.program, "config.yaml")
    return named if named.is_file() else next(path for path in sorted(folder.glob("config*")))


def original_checkpoint(recording: Recording, folder: Path) -> Path:
    """The recorded weights as the original program saves them."""
    state = OrderedDict(recording.state() | fixed_kernels(recording))
    optimizer = {"state": {}, "param_groups": [{"lr": 0.02, "params": [0, 1]}]}
    match recording.program:
        case "detectron2":
            arrays = {name: value.numpy() for name, value in state.items()}
            with open(folder / "model_final.pkl", "wb") as file:
                pickle.dump({"model": arrays, "__author__": "Detectron2 Model Zoo"}, file)
            return folder / "model_final.pkl"
        case "detectron_pytorch":
            content = {"step": 89999, "train_size": 1, "batch_size": 16, "model": state, "optimizer": optimizer}
            torch.save(content, folder / "model_step89999.pth", _use_new_zipfile_serialization=False)
            return folder / "model_step89999.pth"
        case "mmdet":
            meta = {"epoch": 12, "iter": 87960, "cfg": original_config(recording).read_text(), "seed": None}
            content = {"meta": meta, "state_dict": state, "message_hub": {}, "optimizer": optimizer}
            torch.save(content, folder / "epoch_12.pth")
            return folder / "epoch_12.pth"
    torch.save(state, folder / f"{recording.name}_coco-bf2d0c1e.pth")
    return folder / f"{recording.name}_coco-bf2d0c1e.pth"


def fixed_kernels(recording: Recording) -> dict[str, torch.Tensor]:
    """What the original never changes, and the recordings leave out."""
    kept = recording.meta["fill_keep"]
    missing = [entry for entry in recording.shapes() if any(re.search(pattern, entry[0]) for pattern in kept)]
    kernels = {len(shape): FixedUpsample(shape[0], 2) for _, shape in missing}
    return {name: kernels[len(shape)].state_dict()[name.rpartition(".")[2]] for name, shape in missing}


def parameters_of_the_harness(recording: Recording) -> dict[str, torch.Tensor]:
    return Comparison(recording).detector.model.state_dict()


def assert_same_parameters(detector: Detector, recording: Recording, but: str = "no such name") -> None:
    expected, found = parameters_of_the_harness(recording), detector.model.state_dict()
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name]) and but not in name] == []


@pytest.mark.parametrize("recording", ALL)
def test_the_originals_config_gives_the_settings_of_the_recorded_model(recording):
    """Class names may be known to one of the two only."""
    theirs, ours = load_config(original_config(recording)), load_ours(CONFIGS / f"{recording.file.stem}.yaml")
    theirs, ours = (config.with_("model.class_names=[]") for config in (theirs, ours))
    different = [change for change in diff(theirs, ours) if change[0].startswith(("model", "test"))]
    assert different == []


@pytest.mark.slow
@pytest.mark.parametrize("recording", ALL)
def test_config_and_checkpoint_of_the_original_load_to_the_recorded_model(recording, tmp_path):
    checkpoint = original_checkpoint(recording, tmp_path)
    detector = load(original_config(recording), weights=checkpoint, device="cpu")
    assert_same_parameters(detector, recording)
    if recording.program == "mmdet":  # its config is inside the checkpoint too
        assert load(checkpoint, device="cpu").config.model == detector.config.model
    checkpoint.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("recording", BY_CAFFE2)
def test_a_pickle_of_blobs_loads_to_the_recorded_model(recording, tmp_path):
    """Detectron's model files hold the config's text beside the blobs.

    Its enlarging kernel is a constant that is not read, whereas the recording filled it with numbers.
    """
    named = background_first(from_detectron_pytorch(recording.state()))  # both Detectrons have it first
    blobs = {blob_name(name): value.numpy() for name, value in named.items() if "upsample" not in name}
    momentum = {f"{name}_momentum": value for name, value in blobs.items() if name.startswith("fc6")}
    config = original_config(recording)
    with open(tmp_path / "model_final.pkl", "wb") as file:
        pickle.dump({"blobs": blobs | momentum, "cfg": config.read_text()}, file, protocol=2)
    for detector in (
        load(config, weights=tmp_path / "model_final.pkl", device="cpu"),
        load(tmp_path / "model_final.pkl", device="cpu"),
    ):
        assert_same_parameters(detector, recording, but="upsample")


BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}  # of a ResNet-50
BLOBS = (
    (r"backbone\.stem", lambda m: "conv1"),
    (r"backbone\.c(\d)\.(\d)\.conv(\d)", lambda m: f"res{m[1]}_{m[2]}_branch2{' abc'[int(m[3])]}"),
    (r"backbone\.c(\d)\.(\d)\.shortcut", lambda m: f"res{m[1]}_{m[2]}_branch1"),
    (r"neck\.lateral\.c5", lambda m: "fpn_inner_res5_2_sum"),
    (r"neck\.lateral\.c(\d)", lambda m: f"fpn_inner_res{m[1]}_{BLOCKS[int(m[1])] - 1}_sum_lateral"),
    (r"neck\.output\.p(\d)", lambda m: f"fpn_res{m[1]}_{BLOCKS[int(m[1])] - 1}_sum"),
    (r"rpn\.convs\.0", lambda m: "conv_rpn_fpn2"),
    (r"rpn\.score", lambda m: "rpn_cls_logits_fpn2"),
    (r"rpn\.delta", lambda m: "rpn_bbox_pred_fpn2"),
    (r"box_head\.fcs\.(\d)", lambda m: f"fc{int(m[1]) + 6}"),
    (r"box_head\.score", lambda m: "cls_score"),
    (r"box_head\.delta", lambda m: "bbox_pred"),
    (r"mask_head\.convs\.(\d)", lambda m: f"_[mask]_fcn{int(m[1]) + 1}"),
    (r"mask_head\.deconv", lambda m: "conv5_mask"),
    (r"mask_head\.logits", lambda m: "mask_fcn_logits"),
    (r"keypoint_head\.convs\.(\d)", lambda m: f"conv_fcn{int(m[1]) + 1}"),
    (r"keypoint_head\.logits", lambda m: "kps_score_lowres"),
)


def blob_name(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    is_norm = layer.endswith(".norm")
    layer = layer.removesuffix(".norm")
    ending = {"weight": "_bn_s", "bias": "_bn_b"}[kind] if is_norm else {"weight": "_w", "bias": "_b"}[kind]
    found = [make(m) for pattern, make in BLOBS if (m := re.fullmatch(pattern, layer))]
    blob = "res_conv1" if is_norm and found[0] == "conv1" else found[0]
    return blob + ending


@pytest.mark.slow
@pytest.mark.parametrize("recording", WRITTEN_BACK)
def test_weights_come_back_from_our_file_to_the_bit(recording, tmp_path):
    checkpoint = original_checkpoint(recording, tmp_path)
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    convert_weights(checkpoint, ours, config=CONFIGS / f"{recording.file.stem}.yaml")
    convert_weights(ours, back, to=recording.program)
    written = read_file(back).data
    written = written.get("model", written)
    expected = recording.state()
    assert written.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(written[name], value)] == []
    for path in (checkpoint, ours, back):
        path.unlink()
