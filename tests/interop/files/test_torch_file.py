"""Torch files of every age give exactly what was saved; damaged and hostile ones give our error."""

import io
import pickle
import resource
import struct
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from boxwright.errors import UnsafeFileError, WeightsError
from boxwright.interop.files.read import read_file
from tests.fuzz.checkpoints import rezip, torch_legacy, torch_tar, torch_zip

TENSORS = {
    "empty": torch.empty(0),
    "empty with sides": torch.empty(2, 0, 3),
    "scalar": torch.tensor(3.0),
    "float32": torch.arange(6.0).reshape(2, 3),
    "float64": torch.ones(2, dtype=torch.float64),
    "float16": torch.tensor([0.5, -2.0], dtype=torch.float16),
    "bfloat16": torch.tensor([0.5, -2.0], dtype=torch.bfloat16),
    "int64": torch.tensor(10**12),
    "int32": torch.ones(2, dtype=torch.int32),
    "int16": torch.ones(2, dtype=torch.int16),
    "int8": torch.tensor([-3], dtype=torch.int8),
    "uint8": torch.tensor([250], dtype=torch.uint8),
    "bool": torch.tensor([True, False]),
    "complex64": torch.tensor([1 + 2j]),
    "turned": torch.arange(6.0).reshape(2, 3).t(),
    "part": torch.arange(100.0)[10:20:3],
    "parameter": torch.nn.Parameter(torch.ones(3)),
}


def write(folder: Path, data: bytes) -> Path:
    path = folder / "weights.bin"
    path.write_bytes(data)
    return path


def assert_same(result: torch.Tensor, expected: torch.Tensor) -> None:
    assert type(result) is torch.Tensor
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    assert result.stride() == expected.stride()
    assert torch.equal(result, expected.detach())
    assert not result.requires_grad


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("save", [torch_zip, torch_legacy])
def test_tensors_of_every_kind_come_back_exact(save, protocol, tmp_path):
    saved = {"model": OrderedDict(TENSORS), "epoch": 3}
    contents = read_file(write(tmp_path, save(saved, protocol=protocol)))
    assert contents.kind == "torch"
    assert contents.data["epoch"] == 3
    assert list(contents.data["model"]) == list(TENSORS)
    for name, tensor in TENSORS.items():
        assert_same(contents.data["model"][name], tensor)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"])
def test_element_types_without_a_storage_class_come_back(dtype, tmp_path):
    kind = getattr(torch, dtype)
    tensor = torch.tensor([1, 2]).to(kind)
    result = read_file(write(tmp_path, torch_zip({"w": tensor}))).data["w"]
    assert result.dtype == kind
    assert torch.equal(result.view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.parametrize("save", [torch_zip, torch_legacy])
def test_tensors_that_shared_memory_share_it_again(save, tmp_path):
    whole = torch.arange(10.0)
    result = read_file(write(tmp_path, save({"whole": whole, "part": whole[2:4], "tied": whole}))).data
    result["whole"][2] = -1
    assert result["part"][0] == -1
    assert result["tied"][2] == -1


@pytest.mark.parametrize("save", [torch_zip, torch_legacy])
def test_what_stands_beside_the_weights_comes_back(save, tmp_path):
    model = torch.nn.Linear(2, 3)
    groups = [{"lr": 0.1, "momentum": 0.9, "nesterov": False, "maximize": False, "foreach": None, "params": [0, 1]}]
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(3, 2)}}, "param_groups": groups}
    saved = {"model": model.state_dict(), "optimizer": optimizer, "dtype": torch.float16}
    saved |= {"size": torch.Size([1, 2]), "device": torch.device("cpu"), "version": torch.__version__}
    result = read_file(write(tmp_path, save(saved))).data
    assert result["optimizer"]["param_groups"] == groups
    assert_same(result["optimizer"]["state"][0]["momentum_buffer"], torch.ones(3, 2))
    assert result["dtype"] is torch.float16
    assert result["size"] == (1, 2)
    assert result["device"] == "cpu"
    assert result["version"] == str(torch.__version__)


def test_a_checkpoint_of_detectron_pytorch_is_read(tmp_path):
    """train_net_step.py: the legacy format with these keys."""
    model = torch.nn.Conv2d(3, 4, 1)
    keys = (140_312_345_678_904, 140_312_345_678_976)  # ids of parameters, in the PyTorch of that time
    optimizer = {
        "state": {keys[0]: {"momentum_buffer": torch.ones(4, 3, 1, 1)}},
        "param_groups": [{"lr": 0.02, "params": [keys[0]]}, {"lr": 0.04, "params": [keys[1]]}],
    }
    saved = {"step": 89_999, "train_size": 234_532, "batch_size": 16, "model": model.state_dict()}
    result = read_file(write(tmp_path, torch_legacy(saved | {"optimizer": optimizer}))).data
    assert (result["step"], result["train_size"], result["batch_size"]) == (89_999, 234_532, 16)
    assert_same(result["model"]["weight"], model.weight)
    assert result["optimizer"]["param_groups"] == optimizer["param_groups"]
    assert_same(result["optimizer"]["state"][keys[0]]["momentum_buffer"], torch.ones(4, 3, 1, 1))


def test_a_checkpoint_of_mmdetection_is_read(tmp_path):
    meta = {"mmdet_version": "2.3.0", "config": "model = dict()\n", "CLASSES": ("person", "dog"), "epoch": 12}
    meta |= {"hook_msgs": {"best_score": np.float64(0.38)}, "time": "Mon Jan 6 2020"}
    saved = {"meta": meta, "state_dict": OrderedDict({"backbone.conv1.weight": torch.ones(2, 2)})}
    result = read_file(write(tmp_path, torch_zip(saved))).data
    assert result["meta"] == meta
    assert_same(result["state_dict"]["backbone.conv1.weight"], torch.ones(2, 2))


def test_a_tar_file_of_2016_is_read(tmp_path):
    result = read_file(write(tmp_path, torch_tar())).data
    assert_same(result["a"], torch.arange(6.0).reshape(2, 3))
    assert_same(result["b"], torch.tensor([3.0, 4.0]))
    assert_same(result["c"], torch.tensor([42]))
    assert torch.equal(result["s"], torch.arange(6.0))
    result["a"][1, 0] = -1
    assert result["b"][0] == -1, "both look into one storage"


def test_tensors_from_before_rebuild_functions_are_read(tmp_path):
    """PyTorch 0.1 saved a tensor as its class and (storage, offset, shape, strides), and a parameter around it."""
    pickled = b"\x80\x02}(X\x01\0\0\0wctorch.nn.parameter\nParameter\nctorch\nFloatTensor\n)\x81("
    pickled += b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ"
    pickled += b"K\x00K\x02K\x03\x86K\x03K\x01\x86tb\x85R(\x88\x89ccollections\nOrderedDict\n)Rtbu."
    data = rezip(torch_zip({"w": torch.arange(6.0)}), {"archive/data.pkl": pickled})
    assert_same(read_file(write(tmp_path, data)).data["w"], torch.arange(6.0).reshape(2, 3))


def test_files_of_big_endian_machines_are_turned(tmp_path):
    tensors = {"f": torch.arange(4.0), "h": torch.ones(3).half(), "c": torch.tensor([1 + 2j]), "u": torch.tensor([7])}
    data = torch_zip(tensors)
    swapped: dict[str, bytes] = {"archive/byteorder": b"big"}
    for number, tensor in enumerate(tensors.values()):
        swapped[f"archive/data/{number}"] = tensor.numpy().byteswap().tobytes()
    result = read_file(write(tmp_path, rezip(data, swapped))).data
    for name, tensor in tensors.items():
        assert_same(result[name], tensor)


def test_a_zip_whose_records_are_packed_is_read(tmp_path):
    data = rezip(torch_zip(TENSORS), {}, compression=zipfile.ZIP_DEFLATED)
    result = read_file(write(tmp_path, data)).data
    for name, tensor in TENSORS.items():
        assert_same(result[name], tensor)


def test_a_zip_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        data = torch_zip({"w": torch.arange(4.0)})
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same(read_file(write(tmp_path, data)).data["w"], torch.arange(4.0))


def test_a_flipped_bit_in_a_zip_is_an_error(tmp_path):
    data = bytearray(torch_zip({"w": torch.arange(1_000.0)}))
    place = data.find(np.arange(1_000, dtype=np.float32).tobytes())
    data[place + 2_000] ^= 4
    with pytest.raises(WeightsError, match="record 'archive/data/0' does not match its checksum"):
        read_file(write(tmp_path, bytes(data)))


@pytest.mark.parametrize("make", [torch_zip, torch_legacy, torch_tar])
def test_a_file_cut_anywhere_is_an_error(make, tmp_path):
    data = make()
    end = len(data) - 1024 if make is torch_tar else len(data)  # a tar archive ends with empty blocks
    for length in [*range(0, end, 37), end - 1]:
        with pytest.raises(WeightsError, match=r"weights\.bin"):
            read_file(write(tmp_path, data[:length]))


def storage(count: int, kind: bytes = b"FloatStorage", key: bytes = b"0") -> bytes:
    """A persistent id that claims `count` elements."""
    text = b"X" + struct.pack("<I", len(key)) + key
    number = b"\x8a\x08" + struct.pack("<q", count)
    return b"(X\x07\0\0\0storagectorch\n" + kind + b"\n" + text + b"X\x03\0\0\0cpu" + number + b"tQ"


def tensor(stored: bytes, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in values) + b"t"

    head = b"ctorch._utils\n_rebuild_tensor_v2\n(" + stored + b"\x8a\x08" + struct.pack("<q", offset)
    return head + numbers(shape) + numbers(stride) + b"\x89NtR"


def around(pickled: bytes) -> bytes:
    """A torch zip with four float32 in its storage "0" and this pickle."""
    return rezip(torch_zip({"w": torch.arange(4.0)}), {"archive/data.pkl": b"\x80\x02" + pickled + b"."})


def lying_zip(*, size: int | None = None, packed: int | None = None) -> bytes:
    """A zip whose directory claims other sizes for the storage."""
    data = bytearray(torch_zip({"w": torch.arange(4.0)}))
    place = data.find(b"PK\x01\x02")
    while data[place + 46 : place + 46 + 14] != b"archive/data/0":
        place = data.find(b"PK\x01\x02", place + 4)
    if packed is not None:
        data[place + 20 : place + 24] = struct.pack("<I", packed)
    if size is not None:
        data[place + 24 : place + 28] = struct.pack("<I", size)
    return bytes(data)


def end_of_zip(*, count: int, start: int, is_wide: bool) -> bytes:
    """A zip whose last entry claims another directory; torch itself writes the wide form."""
    data = bytearray(torch_zip() if is_wide else rezip(torch_zip(), {}))
    place = data.rfind(b"PK\x06\x06" if is_wide else b"PK\x05\x06")
    if is_wide:
        data[place + 32 : place + 56] = struct.pack("<QQQ", count, 46 * count, start)
    else:
        data[place + 10 : place + 20] = struct.pack("<HII", count, 46 * count, start)
    return bytes(data)


def legacy_claim(count: int) -> bytes:
    data = torch_legacy({"w": torch.arange(4.0)})
    return data.replace(b"K\x04N", b"\x8a\x08" + struct.pack("<q", count) + b"N")


HOSTILE = {
    "a storage of 10^12 elements": around(storage(10**12)),
    "a storage of other width": around(storage(4, b"DoubleStorage")),
    "a storage of negative size": around(storage(-1)),
    "a storage that is not there": around(storage(4, key=b"../../etc/passwd")),
    "a quantized storage": around(storage(4, b"QInt8Storage")),
    "a tensor of 10^12 elements": around(tensor(storage(4), (10**6, 10**6), (10**6, 1))),
    "a tensor of 10^12 elements in one": around(tensor(storage(4), (10**12,), (0,))),
    "a tensor behind its storage": around(tensor(storage(4), (2,), (1,), offset=3)),
    "a tensor before its storage": around(tensor(storage(4), (2,), (1,), offset=-1)),
    "a tensor of negative strides": around(tensor(storage(4), (2,), (-1,), offset=3)),
    "a tensor of overflowing strides": around(tensor(storage(4), (2, 2), (2**62, 2**62))),
    "a tensor of overflowing shape": around(tensor(storage(4), (2**62, 2**62, 0), (1, 1, 1))),
    "a tensor of fewer strides": around(tensor(storage(4), (2, 2), (1,))),
    "tensors without end": around(
        b"ctorch._utils\n_rebuild_tensor_v2\nq\x00"
        + tensor(storage(4), (4,), (1,)).removeprefix(b"ctorch._utils\n_rebuild_tensor_v2\n").removesuffix(b"R")
        + b"q\x01]("
        + b"h\x00h\x01R" * 50_000
        + b"e"
    ),
    "a record longer than the file": lying_zip(size=2**31, packed=2**31),
    "a record of two sizes": lying_zip(size=2**31),
    "a zip bomb": rezip(
        torch_zip({"w": torch.arange(4.0)}), {"archive/data/0": b"\0" * 2**26}, compression=zipfile.ZIP_DEFLATED
    ),
    "a bomb for a pickle": rezip(torch_zip(), {"archive/data.pkl": b"N" * 2**26}, compression=zipfile.ZIP_DEFLATED),
    "a legacy storage of 10^12 elements": legacy_claim(10**12),
    "a legacy storage of fewer elements": legacy_claim(3),
    "a legacy file without its storages": torch_legacy({"w": torch.arange(4.0)})[:-24],
    "a zip of something else": rezip(torch_zip(), {"archive/data.pkl": None}),
    "a zip with two of everything": rezip(torch_zip(), {"other/data.pkl": b"N."}),
    "a record packed by bzip2": rezip(torch_zip(), {}, compression=zipfile.ZIP_BZIP2),
    "a directory of 65,535 records": end_of_zip(count=65_535, start=0, is_wide=False),
    "a directory of 10^12 records": end_of_zip(count=10**12, start=0, is_wide=True),
    "a directory outside the file": end_of_zip(count=1, start=2**31, is_wide=False),
    "a directory far outside the file": end_of_zip(count=1, start=2**63, is_wide=True),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_give_our_error_quickly(name, tmp_path):
    path = write(tmp_path, HOSTILE[name])
    assert any(seconds_to_refuse(path) < 1 for _ in range(3)), "over a second, three times"


def seconds_to_refuse(path: Path) -> float:
    start = time.process_time()
    with pytest.raises(WeightsError, match=r"weights\.bin") as caught:
        read_file(path)
    assert "cannot be read" not in str(caught.value), "found by a check of ours, not by the last net"
    return time.process_time() - start


def test_hostile_files_take_no_more_memory_than_they_warrant(tmp_path):
    """In a process of its own, which may grow by 256 MiB of address space over what it has when torch is loaded."""
    for number, data in enumerate(HOSTILE.values()):
        (tmp_path / str(number)).write_bytes(data)
    script = f"""
import resource, sys
from pathlib import Path
from boxwright.errors import WeightsError
from boxwright.interop.files.read import read_file
in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 256 * 2**20,) * 2)
for number in range({len(HOSTILE)}):
    try:
        read_file({str(tmp_path)!r} + f"/{{number}}")
    except WeightsError as error:
        assert "MemoryError" not in str(error), error
    else:
        sys.exit(f"file {{number}} was accepted")
"""
    if not Path("/proc/self/statm").exists() or not hasattr(resource, "RLIMIT_AS"):
        pytest.skip("needs Linux to limit memory")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_torchscript_archive_is_refused_with_a_remedy(tmp_path):
    data = rezip(torch_zip(), {"archive/constants.pkl": b"\x80\x02).", "archive/code/__torch__.py": b"def f(): pass"})
    with pytest.raises(UnsafeFileError, match=r"TorchScript archive.*torch\.jit\.load"):
        read_file(write(tmp_path, data))


def test_a_whole_pickled_model_is_refused_by_the_name_of_its_class(tmp_path):
    with pytest.raises(UnsafeFileError, match=r"torch\.nn\.modules\.linear\.Linear.*model\.state_dict\(\)"):
        read_file(write(tmp_path, torch_zip(torch.nn.Linear(1, 1))))


def test_names_in_the_pickle_of_a_zip_are_refused_too(tmp_path):
    with pytest.raises(UnsafeFileError, match=r"weights\.bin \(data\.pkl\): refused at byte .*posix\.system"):
        read_file(write(tmp_path, around(b"cposix\nsystem\nX\x02\0\0\0ls\x85R")))


def test_sparse_and_conjugated_tensors_are_refused_by_name(tmp_path):
    with pytest.raises(UnsafeFileError, match="_rebuild_sparse_tensor"):
        read_file(write(tmp_path, torch_zip({"w": torch.eye(2).to_sparse()})))
    with pytest.raises(UnsafeFileError, match="conjugated"):
        read_file(write(tmp_path, torch_zip({"w": torch.tensor([1j]).conj()})))


def test_a_nested_torch_file_in_a_pickle_is_checked_like_others(tmp_path):
    inner = torch_legacy({"w": 1}).replace(b"K\x01s.", b"cposix\nsystem\n.")
    saved = b"\x80\x02ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(inner)) + inner + b"\x85R."
    assert b"posix" in inner
    with pytest.raises(UnsafeFileError, match=r"posix\.system"):
        read_file(write(tmp_path, saved))


def test_the_reader_never_calls_the_readers_of_torch_and_python(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("called")

    for data in (torch_zip(), torch_legacy(), torch_tar()):
        path = write(tmp_path, data)
        with monkeypatch.context() as patch:
            for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
                patch.setattr(module, name, refuse)
            assert read_file(path).kind == "torch"


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path, monkeypatch):
    path = write(tmp_path, torch_legacy({"w": torch.ones(10_000)}))

    class Shrinking(io.BufferedReader):
        def readinto(self, _):
            return 0

    from boxwright.interop.files import sniff

    monkeypatch.setattr(sniff, "open_regular", lambda p, error: Shrinking(io.FileIO(p, "rb")))
    with pytest.raises(WeightsError, match="became shorter"):
        read_file(path)
