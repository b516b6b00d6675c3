"""No file under 1 MB takes over a second or 200 MB, shows memory that is not its own, or raises an error not ours."""

import ctypes
import gc
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from boxwright.engine.loading import load, load_weights
from boxwright.errors import LONGEST, BoxwrightError, UnsafeFileError, WeightsError, escaped
from boxwright.interop.files.read import read_file
from boxwright.interop.weights import read_weights
from tests.compat.tiny import tiny_detector
from tests.interop.files import pieces
from tests.interop.files.hostile import LOADED, READ
from tests.interop.files.pieces import HIDDEN, legacy, named, untyped_view, wide_numbers

SECONDS, MEGABYTES = 1.0, 200
STATUS = Path("/proc/self/status")


def megabytes(field: str) -> float:
    """Of this process: VmRSS now, VmHWM at most since the last `forget_peak`."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) / 1024


def forget_peak() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory):
    """Imports and tables that are made once are no part of the second."""
    path = tmp_path_factory.mktemp("warm") / "weights"
    for make in (LOADED["no weights at all"], READ["unknown blobs"], READ["names of many layers"]):
        path.write_bytes(make())
        give(load, path)


def give(open_it: Callable[[Path], object], path: Path) -> str:
    """What came of opening a file: nothing, or the words of our error."""
    try:
        open_it(path)
    except BoxwrightError as error:
        message = str(error)
        assert len(message) <= LONGEST
        message = message.replace("\n  ", "; ")  # our own lists of mistakes
        assert "\n" not in message
        assert escaped(message) == message
        return message
    return ""


def assert_cheap(open_it: Callable[[Path], object], path: Path) -> None:
    assert path.stat().st_size < 1_000_000
    seconds = []
    while not seconds or (seconds[-1] >= SECONDS and len(seconds) < 3):
        forget_peak()
        before, start = megabytes("VmRSS"), time.process_time()
        give(open_it, path)
        seconds.append(time.process_time() - start)
        assert megabytes("VmHWM") - before < MEGABYTES
    assert seconds[-1] < SECONDS, "over a second, three times"


@pytest.mark.parametrize("name", READ)
@pytest.mark.skipif(not STATUS.exists(), reason="the peak of memory is told by Linux")
def test_a_hostile_checkpoint_is_cheap_to_read_and_gives_weights_or_our_error(name, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(READ[name]())
    assert_cheap(read_weights, path)


@pytest.mark.parametrize("name", LOADED)
@pytest.mark.skipif(not STATUS.exists(), reason="the peak of memory is told by Linux")
def test_settings_cannot_ask_for_what_the_file_beside_them_does_not_hold(name, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(LOADED[name]())
    assert_cheap(lambda path: load(path, device="cpu"), path)
    assert give(load, path) != ""


@pytest.mark.parametrize(
    ("storage", "shape", "offset"),
    [
        (untyped_view(32, 32), (16,), 0),
        (untyped_view(32, 32), (8,), 1),
        (untyped_view(48, 16), (8,), 0),
        (untyped_view(60, 4), (1,), 15),
        (untyped_view(32, 2**40), (8,), 0),
        (untyped_view(2, 32), (8,), 0),
    ],
)
def test_a_tensor_never_shows_memory_outside_its_file(storage, shape, offset, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(
        legacy(b"}" + pieces.text("w") + wide_numbers(storage, shape, offset) + b"s", {"0": bytes(64)}, width=1)
    )
    with pytest.raises(WeightsError):
        read_file(path)


@pytest.mark.parametrize(
    ("start", "shape", "expected"), [(32, (8,), range(8, 16)), (4, (2,), (1, 2)), (60, (1,), (15,))]
)
def test_a_part_of_an_untyped_storage_begins_at_its_byte(start, shape, expected, tmp_path):
    path = tmp_path / "weights"
    numbers = struct.pack("<16I", *range(16))
    pickled = b"}" + pieces.text("w") + wide_numbers(untyped_view(start, 64 - start), shape) + b"s"
    path.write_bytes(legacy(pickled, {"0": numbers}, width=1))
    assert read_file(path).data["w"].tolist() == list(expected)


CUT_SHORT = """
import os, sys
from boxwright.interop.files.read import read_file
from tests.fuzz import checkpoints
for make in (checkpoints.safetensors, checkpoints.torch_zip, checkpoints.torch_legacy, checkpoints.plain_pickle):
    with open(sys.argv[1], "wb") as file:
        file.write(make())
    content = read_file(sys.argv[1]).data
    os.truncate(sys.argv[1], 0)
    state = content.get("state_dict") or content.get("model") or content
    print(float(state["conv.weight"].sum()))
"""


def test_what_was_read_stays_when_the_file_is_cut_short(tmp_path):
    """In a process of its own: one that looks through a window on the file is ended by a signal."""
    command = [sys.executable, "-c", CUT_SHORT, str(tmp_path / "weights")]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert (done.returncode, done.stdout.split()) == (0, ["276.0"] * 4), done.stderr


@pytest.mark.parametrize("count", [2, 40, 400])
def test_as_many_names_of_one_tensor_are_read_as_the_file_warrants(count, tmp_path):
    tensor = pieces.tensor(pieces.storage_key("0", 200_000), (200_000,), (1,))
    rest = b"".join(pieces.text(f"w{n}") + b"h\x00" for n in range(1, count))
    pickled = HIDDEN + b"}(" + pieces.text("backbone.stem.weight") + tensor + b"q\x00" + rest + b"u."
    path = tmp_path / "weights"
    path.write_bytes(pieces.zip_of(pickled, **{"0": bytes(800_000)}))
    if count < 400:
        assert len(read_weights(path).state) == count
    else:
        with pytest.raises(UnsafeFileError, match=r"share memory and come to 320,000,000 bytes by themselves"):
            read_weights(path)


def test_numbers_may_be_the_keys_of_an_optimizer(tmp_path):
    state = {140_312_345_678_904 + 72 * n: {"step": n} for n in range(2_000)}
    torch.save(
        {"state": state, "pairs": {(n, n + 1): n for n in range(500)}, "all": {n: n for n in range(50_000)}},
        tmp_path / "w",
    )
    assert read_file(tmp_path / "w").data["state"] == state


DTYPES = (
    torch.bool,
    torch.uint8,
    torch.int64,
    torch.uint16,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.complex64,
)
SHAPES = ((), (0,), (1,), (3, 0), (4, 32), (1, 1, 1, 1, 1))


@pytest.mark.filterwarnings("ignore:Casting complex")
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float8_e4m3fn])
def test_weights_of_any_type_and_shape_give_a_report_or_our_error(dtype, tmp_path):
    detector = tiny_detector()
    names = list(detector.model.state_dict())
    for number, shape in enumerate(SHAPES):
        path = tmp_path / f"{number}.pth"
        torch.save({name: torch.zeros(shape).to(dtype) for name in names}, path)
        for is_swapped in (False, True):
            give(lambda path, swap=is_swapped: load_weights(detector, path, swap_channels=swap), path)


FOREIGN = {
    "Detectron": ["conv1_w", "res_conv1_bn_s", "cls_score_w", "bbox_pred_w", "mask_fcn_logits_w", "conv5_mask_w"],
    "Detectron2": [
        "backbone.stem.conv1.weight",
        "roi_heads.box_predictor.cls_score.weight",
        "roi_heads.mask_head.predictor.weight",
    ],
    "torchvision": [
        "backbone.body.conv1.weight",
        "roi_heads.box_predictor.bbox_pred.weight",
        "rpn.head.cls_logits.weight",
    ],
    "mmdetection": [
        "backbone.conv1.weight",
        "bbox_head.fc_cls.weight",
        "roi_head.bbox_head.fc_reg.weight",
        "rpn_head.rpn_cls.weight",
    ],
    "Detectron.pytorch": ["Conv_Body.res1.conv1.weight", "Box_Outs.cls_score.weight", "Mask_Outs.classify.weight"],
    "ImageNet": ["conv1.weight", "layer1.0.conv1.weight", "fc.weight", "features.0.weight", "classifier.0.weight"],
}


@pytest.mark.parametrize("source", FOREIGN)
def test_weights_of_odd_shapes_under_known_names_give_weights_or_our_error(source, tmp_path):
    for number, shape in enumerate(SHAPES):
        torch.save({name: torch.zeros(shape) for name in FOREIGN[source]}, tmp_path / f"{number}.pth")
        give(read_weights, tmp_path / f"{number}.pth")


def test_a_name_that_acts_on_a_terminal_is_no_weights_name(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(named([("backbone.stem.weight\x1b[2J", pieces.array("f4", b"(K\x01t", b"C\x04abcd"))]))
    with pytest.raises(UnsafeFileError, match=r"no weight has the name 'backbone.stem.weight\\x1b\[2J'"):
        read_weights(path)
