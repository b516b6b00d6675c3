"""What we write, others open with their own readers, and we read back exactly."""

import pickle
import pickletools
import struct

import numpy as np
import pytest
import torch

from boxwright.errors import WeightsError
from boxwright.interop.files.read import read_file
from boxwright.interop.write import write_pickle, write_torch

STATE = {
    "scalar": torch.tensor(3.0),
    "float32": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "long": torch.arange(3_000.0).reshape(50, 60),
    "turned": torch.arange(6.0).reshape(2, 3).t(),
    "half": torch.ones(2).half(),
    "int64": torch.tensor([1, -(2**40)]),
    "bool": torch.tensor([True, False]),
    "empty": torch.empty(0, 4),
}


@pytest.mark.parametrize("state", [{}, STATE])
def test_a_pickle_for_detectron2_opens_with_its_own_call(state, tmp_path):
    """Detectron2 and Detectron call pickle.load(file, encoding="latin1"); here on a file that this test wrote."""
    path = tmp_path / "model.pkl"
    write_pickle(path, {"model": state, "__author__": "Boxwright", "matching_heuristics": True})
    with open(path, "rb") as file:
        opened = pickle.load(file, encoding="latin1")
    assert opened["__author__"] == "Boxwright"
    assert opened["matching_heuristics"] is True
    assert list(opened["model"]) == list(state)
    for name, tensor in state.items():
        assert opened["model"][name].dtype == tensor.numpy().dtype
        assert opened["model"][name].shape == tuple(tensor.shape)
        np.testing.assert_array_equal(opened["model"][name], tensor.numpy())


@pytest.mark.parametrize("state", [{}, STATE])
def test_a_pickle_comes_back_exact_in_our_reader(state, tmp_path):
    write_pickle(tmp_path / "w", {"model": state})
    result = read_file(tmp_path / "w").data["model"]
    for name, tensor in state.items():
        np.testing.assert_array_equal(result[name], tensor.numpy())
        assert result[name].dtype == tensor.numpy().dtype


def test_the_pickle_names_only_what_every_numpy_knows(tmp_path):
    write_pickle(tmp_path / "w", {"a": np.ones(2), "b": np.ones((2, 2), ">f4")})
    data = (tmp_path / "w").read_bytes()
    named = {argument for code, argument, _ in pickletools.genops(data) if code.name == "GLOBAL"}
    assert named == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
    assert data[:2] == b"\x80\x03"
    result = read_file(tmp_path / "w").data
    np.testing.assert_array_equal(result["b"], np.ones((2, 2)))


PLAIN = [None, True, False, 0, -1, 2**40, 1.5, "ü", b"\xff", [1, [2]], (1, (2,)), {"a": {1: 2}}, "x" * 70_000]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: repr(value)[:20])
def test_plain_values_come_back(value, tmp_path):
    write_pickle(tmp_path / "w", {"value": value})
    assert read_file(tmp_path / "w").data == {"value": value}


def test_array_scalars_become_numbers_and_bfloat16_becomes_float32(tmp_path):
    write_pickle(tmp_path / "w", {"ap": np.float64(0.5), "w": torch.tensor([0.1, 1e30]).bfloat16()})
    result = read_file(tmp_path / "w").data
    assert result["ap"] == 0.5
    assert torch.equal(torch.from_numpy(result["w"]), torch.tensor([0.1, 1e30]).bfloat16().float())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"model": {"w": object()}}, r"w\.pkl\['model'\]\['w'\]: a object cannot be written"),
        ({"list": [1, {2}]}, r"\['list'\]\[1\]: a set cannot be written"),
        ({"w": np.array(["text"])}, r"\['w'\]: an array of <U4 cannot be written"),
        ({"n": 2**70}, r"\['n'\]: a int cannot be written"),
        ({"t": "half a pair \ud83d"}, r"\['t'\]: 'half a pair \\ud83d' is no Unicode text"),
    ],
)
def test_what_cannot_be_written_is_named_and_no_file_is_left(data, message, tmp_path):
    with pytest.raises(WeightsError, match=message):
        write_pickle(tmp_path / "w.pkl", data)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state, "iteration": 3}])
def test_a_state_dict_opens_with_torch(wrap, tmp_path):
    state = STATE | {"parameter": torch.nn.Parameter(torch.ones(2)), "bf": torch.ones(2).bfloat16()}
    write_torch(tmp_path / "w.pth", wrap(state))
    for opened in (torch.load(tmp_path / "w.pth", weights_only=True), read_file(tmp_path / "w.pth").data):
        inner = opened.get("model", opened)
        assert list(inner) == list(state)
        for name, tensor in state.items():
            assert type(inner[name]) is torch.Tensor
            assert inner[name].dtype == tensor.dtype
            assert torch.equal(inner[name], tensor.detach())


def test_a_part_of_a_large_tensor_is_written_alone(tmp_path):
    write_torch(tmp_path / "w.pth", {"part": torch.zeros(1_000_000)[:10]})
    assert (tmp_path / "w.pth").stat().st_size < 10_000


def test_an_array_over_4_gib_would_get_a_wide_length(tmp_path, monkeypatch):
    """The two forms differ in the opcode and its length; the wide one is tried by lowering the limit."""
    from boxwright.interop import write

    monkeypatch.setattr(write, "_WIDE", 16)
    write_pickle(tmp_path / "w", {"w": np.arange(4.0)})
    assert b"\x8e" + struct.pack("<Q", 32) in (tmp_path / "w").read_bytes()
    np.testing.assert_array_equal(read_file(tmp_path / "w").data["w"], np.arange(4.0))
