"""safetensors: our own files come back whole with config and class names; others' metadata is kept; errors are ours."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch

from boxwright.errors import WeightsError
from boxwright.interop.files.read import read_file
from boxwright.interop.write import write_safetensors

TENSORS = {
    "scalar": torch.tensor(3.0),
    "float32": torch.arange(6.0).reshape(2, 3),
    "turned": torch.arange(6.0).reshape(2, 3).t(),
    "half": torch.ones(2).half(),
    "bfloat16": torch.ones(2).bfloat16(),
    "int64": torch.tensor([1, -(2**40)]),
    "bool": torch.tensor([True, False]),
    "empty": torch.empty(0, 4),
    "parameter": torch.nn.Parameter(torch.ones(2)),
}


def write(path, tensors, config="model: {}\n", class_names=("cat", "Hündchen")):
    write_safetensors(path, tensors, config=config, class_names=class_names)
    return path


@pytest.mark.parametrize("tensors", [{}, TENSORS])
def test_our_file_comes_back_exact(tensors, tmp_path):
    contents = read_file(write(tmp_path / "w", tensors))
    assert contents.kind == "safetensors"
    assert contents.metadata["config"] == "model: {}\n"
    assert contents.metadata["class_names"] == ["cat", "Hündchen"]
    assert set(contents.data) == set(tensors)
    for name, tensor in tensors.items():
        assert contents.data[name].dtype == tensor.dtype
        assert torch.equal(contents.data[name], tensor.detach())


def test_tensors_that_share_memory_are_written_each(tmp_path):
    whole = torch.arange(10.0)
    result = read_file(write(tmp_path / "w", {"whole": whole, "tied": whole, "part": whole[2:4]})).data
    assert torch.equal(result["tied"], whole)
    assert torch.equal(result["part"], whole[2:4])


NAMES = (
    "pipe 1/2\" (5' long)",
    "a\\b\\n",
    "two\nlines",
    "tab\t",
    "u\u2028\x85\ufeff",
    " ",
    "",
    "null",
    "{a: b}",
    "\x1b",
    "\0",
    "\ud83d",
)


@pytest.mark.parametrize("name", NAMES)
def test_class_names_are_values(name, tmp_path):
    assert read_file(write(tmp_path / "w", TENSORS, class_names=[name, "b"])).metadata["class_names"] == [name, "b"]


def test_equal_content_gives_equal_bytes_in_any_order(tmp_path):
    first = write(tmp_path / "a", TENSORS).read_bytes()
    second = write(tmp_path / "b", dict(reversed(TENSORS.items()))).read_bytes()
    assert first == second


def test_the_library_of_the_format_reads_what_we_write_and_we_what_it_writes(tmp_path):
    plain = {name: tensor.detach().contiguous() for name, tensor in TENSORS.items()}
    written = load_torch(write(tmp_path / "ours", TENSORS))
    save_torch(plain, tmp_path / "theirs")
    for result in (written, read_file(tmp_path / "theirs").data):
        assert result.keys() == plain.keys()
        for name, tensor in plain.items():
            assert result[name].dtype == tensor.dtype
            assert torch.equal(result[name], tensor)


def test_numbers_that_the_format_cannot_hold_are_named_and_no_file_is_left(tmp_path):
    with pytest.raises(WeightsError, match=r"'w' is of torch.complex128, which safetensors files cannot hold"):
        write(tmp_path / "w", {"w": torch.zeros(2, dtype=torch.complex128)})
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_program_keeps_its_metadata(tmp_path):
    save_numpy({"w": np.ones(2, np.float32)}, tmp_path / "w", metadata={"config": "theirs", "author": "somebody"})
    contents = read_file(tmp_path / "w")
    assert contents.metadata == {"config": "theirs", "author": "somebody"}


def test_writing_fails_whole_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = write(tmp_path / "w", {"w": torch.zeros(3)})
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, {"w": torch.ones(3)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def with_header(header: object, body: bytes = b"\0" * 16) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(shape, offsets, dtype="F32"):
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(
    "data",
    [
        with_header({}, b"\0"),
        with_header(entry([10**12], [0, 16])),
        with_header(entry([10**12], [0, 4 * 10**12])),
        with_header(entry([4], [16, 0])),
        with_header(entry([4], [0, 16], dtype="object")),
        with_header(entry([-4], [0, 16])),
        with_header(entry([4], [0, 16]), b"\0" * 8),
        with_header(b'{"w":' + b"[" * 100_000 + b"}"),
        with_header(b"{" + b"\xff" * 20 + b"}"),
        struct.pack("<Q", 10**7) + b"{}" + b" " * 100,
        with_header({"__metadata__": {"boxwright.class_names": "[1, 2]"}, **entry([4], [0, 16])}),
        with_header({"__metadata__": {"boxwright.class_names": "[" * 5_000}, **entry([4], [0, 16])}),
    ],
)
def test_a_damaged_file_is_our_error(data, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=str(path)):
        read_file(path)
