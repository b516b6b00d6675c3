"""Pickles of every protocol are read as data; whatever wants to run, or asks for more than its file, is refused."""

import io
import os
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
import types
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from boxwright.errors import UnsafeFileError, WeightsError
from boxwright.interop.files.byte_source import MAX_STEPS, Budget, Source
from boxwright.interop.files.pickle import read_pickle
from boxwright.interop.files.pickle_values import Opaque
from boxwright.interop.files.torch_file import read_nested

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def read(data: bytes):
    source = Source(io.BytesIO(data), name="weights.pkl", end=len(data))
    return read_pickle(source, Budget(name="weights.pkl", file_size=len(data)), read_nested=read_nested)


PLAIN = {
    "nothing": None,
    "empty containers": [[], {}, (), set(), "", b""],
    "numbers": [0, -1, 255, 2**16, -(2**31), 2**40, -(2**62), 2**63, True, False, 1.5, -0.0, float("inf"), 1 + 2j],
    "texts": ["a", "ü€", "x" * 5_000, "€" * 5_000, "line\nbreak 'quoted' \\"],
    "bytes": [b"\x00\xff", b"y" * 5_000, bytearray(b"z" * 300)],
    "tuples": ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((),)),
    "dict": {"a": 1, 2: "b", None: 3, ("x", 1): 4, 1.5: 5, b"k": 6, 140_000_000_000_000: 7},
    "sets": [{1, 2}, {"a"}, {(1, 2)}],
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", PLAIN)
def test_plain_values_come_back_as_they_were(name, protocol):
    assert read(pickle.dumps(PLAIN[name], protocol)) == PLAIN[name]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
        max_leaves=20,
    ),
    st.sampled_from(PROTOCOLS),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_plain_value_comes_back(value, protocol):
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_dicts_of_the_standard_library_become_dicts(protocol):
    saved = {
        "ordered": OrderedDict(a=1, b=2),
        "default": defaultdict(dict, {3: 4}),
        "counter": Counter("aab"),
        "queue": deque([1, 2], maxlen=5),
    }
    result = read(pickle.dumps(saved, protocol))
    assert result == {"ordered": {"a": 1, "b": 2}, "default": {3: 4}, "counter": {"a": 2, "b": 1}, "queue": [1, 2]}
    assert all(type(result[name]) is dict for name in ("ordered", "default", "counter"))


def test_shared_values_stay_shared():
    inner = [1]
    first, second = read(pickle.dumps([inner, inner]))
    assert first is second


ARRAYS = {
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.array(3.0),
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "long": np.random.default_rng(0).random((40, 50)),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "long fortran": np.asfortranarray(np.arange(2_000.0).reshape(40, 50)),
    "big-endian": np.arange(5, dtype=">f4"),
    "long big-endian": np.arange(5_000, dtype=">i8"),
    "half": np.ones(3, np.float16),
    "bool": np.array([True, False]),
    "bytes": np.arange(5, dtype=np.uint8),
    "complex": np.array([1 + 2j]),
    "texts": np.array(["a", "bcd"]),
    "byte strings": np.array([b"a", b"bcd"]),
    "strided": np.arange(20).reshape(4, 5)[:, ::2],
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_exact_and_native(name, protocol):
    expected = ARRAYS[name]
    result = read(pickle.dumps({"w": expected}, protocol))["w"]
    np.testing.assert_array_equal(result, expected)
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype.newbyteorder("=")
    assert result.flags.writeable
    assert result.flags.aligned


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_array_scalars_come_back(protocol):
    saved = [np.float64(2.5), np.float32(3), np.int64(-1), np.bool_(True), np.str_("abc")]
    result = read(pickle.dumps(saved, protocol))
    assert result == saved
    assert [type(value) for value in result] == [type(value) for value in saved]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tensors_pickled_without_torch_save_come_back(protocol):
    saved = {"w": torch.arange(6.0).reshape(2, 3), "big": torch.ones(40, 50), "p": torch.nn.Parameter(torch.ones(2))}
    result = read(pickle.dumps(saved, protocol))
    for name, tensor in saved.items():
        assert torch.equal(result[name], tensor.detach())


def text(value: str) -> bytes:
    """A short Python 2 string."""
    return b"U" + bytes([len(value)]) + value.encode("latin-1")


@pytest.mark.parametrize("length", [2, 3_000])
def test_python_2_files_of_detectron_are_read(length):
    """{"blobs": {"conv_w": float32 array}, "cfg": text} as cPickle of Python 2.7 writes it: all strings are bytes."""
    numbers = np.linspace(-1, 1, length, dtype="<f4")
    raw = numbers.tobytes()
    string = b"T" + struct.pack("<i", len(raw)) + raw if len(raw) > 255 else b"U" + bytes([len(raw)]) + raw
    dtype = b"cnumpy\ndtype\n(" + text("f4") + b"K\x00K\x01tR(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xff"
    dtype += b"J\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text("b") + b"tR"
    array += b"(K\x01(" + b"M" + struct.pack("<H", length) + b"t" + dtype + b"\x89" + string + b"tb"
    config = "MODEL:\n  TYPE: généralisé\n" * 300
    config_string = b"T" + struct.pack("<i", len(config)) + config.encode("latin-1")
    saved = b"\x80\x02}(" + text("blobs") + b"}" + text("conv_w") + array + b"s" + text("cfg") + config_string + b"u."
    result = read(saved)
    np.testing.assert_array_equal(result["blobs"]["conv_w"], numbers)
    assert result["cfg"] == config


class _Dangerous:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (os.system, ("touch ran",), "system"),
        (eval, ("__import__('os').system('touch ran')",), "builtins.eval"),
        (exec, ("open('ran', 'w')",), "builtins.exec"),
        (open, ("ran", "w"), "open"),
        (getattr, (os, "system"), "builtins.getattr"),
        (subprocess.run, (["touch", "ran"],), "subprocess.run"),
        (torch.load, ("x",), "torch.serialization.load"),
        (__import__, ("os",), "builtins.__import__"),
        (pickle.loads, (b"N.",), "pickle"),
        (map, (print, [1]), "builtins.map"),
        (np.load, ("x",), "numpy.load"),
        (torch.nn.ReLU, (), "torch.nn.modules.activation.ReLU"),
    ],
)
def test_what_wants_to_run_is_refused_by_name(function, arguments, named, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = tuple("os" if argument is os else argument for argument in arguments)
    saved = pickle.dumps({"weights": [1], "more": _Dangerous(function, *arguments)}, protocol)
    with pytest.raises(UnsafeFileError, match=r"weights\.pkl: refused at byte") as caught:
        read(saved)
    assert named.split(".")[-1] in str(caught.value)
    assert "save the weights alone" in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "saved",
    [
        b"(S'touch ran'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch ran'\no.",
        b"\x80\x02cos\nsystem\nX\x09\0\0\0touch ran\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x09touch ran\x85R.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\ncos\nsystem\n\x85R.",
        b"\x80\x02c__builtin__\ngetattr\ncnumpy\nndarray\nU\x09__class__\x86R.",
        b"\x80\x02ctorch._utils\n__builtins__\n.",
        b"\x80\x04\x8c\x0ctorch._utils\x8c\x1c_rebuild_tensor.__globals__\x93.",
        b"\x80\x02U\x01aU\x01b\x86R.",
        b"\x80\x02c_codecs\nencode\n(X\x01\0\0\0aX\x05\0\0\0rot13tR.",
    ],
)
def test_other_ways_to_a_call_are_refused(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"weights\.pkl"):
        read(saved)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def foreign(monkeypatch):
    """Makes a class as another library has it, so that pickling names that library."""

    def make(module: str, name: str, *bases: type, **members) -> type:
        kind = type(name, bases or (object,), {"__module__": module, **members})
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            package = ".".join(parts[:length])
            stand_in = types.ModuleType(package)
            stand_in.__path__ = []
            monkeypatch.setitem(sys.modules, package, stand_in)
        setattr(sys.modules[module], name, kind)
        return kind

    return make


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_log_buffer_of_mmengine_becomes_an_inert_placeholder(foreign, protocol):
    kind = foreign("mmengine.logging.history_buffer", "HistoryBuffer", mean=lambda self: 1)
    buffer = kind()
    buffer.max_length = 10
    buffer._log_history = np.array([0.5, 0.25])
    buffer.statistics_methods = {"mean": _Dangerous(getattr, kind, "mean")}
    result = read(pickle.dumps({"log_scalars": OrderedDict(loss=buffer)}, protocol))["log_scalars"]["loss"]
    assert result.name == "mmengine.logging.history_buffer.HistoryBuffer"
    np.testing.assert_array_equal(result.state["_log_history"], [0.5, 0.25])
    assert result.state["statistics_methods"] == {"mean": Opaque("mmengine.logging.history_buffer.HistoryBuffer.mean")}


def test_a_method_that_protocol_4_names_in_full_becomes_its_name():
    named = "mmengine.logging.history_buffer", "HistoryBuffer.min"
    saved = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in named) + b"\x93"
    assert read(saved + b".") == Opaque(".".join(named))
    with pytest.raises(UnsafeFileError, match="it wants to call"):
        read(saved + b")R.")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_options_and_paths_beside_the_weights_become_placeholders(protocol):
    import argparse
    import datetime

    saved = {"args": argparse.Namespace(lr=0.1), "path": Path("/a/b"), "date": datetime.date(2020, 1, 2)}
    result = read(pickle.dumps(saved, protocol))
    assert result["args"].name == "argparse.Namespace"
    assert result["args"].state == {"lr": 0.1}
    assert result["path"].arguments == ("/", "a", "b")
    assert result["date"].name == "datetime.date"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("mmcv.utils.config", "ConfigDict"),
        ("mmengine.config.config", "ConfigDict"),
        ("yacs.config", "CfgNode"),
        ("utils.collections", "AttrDict"),
    ],
)
def test_configs_of_other_libraries_become_dicts(foreign, module, name, protocol):
    kind = foreign(module, name, dict)
    config = kind(model=kind(depth=50))
    config.__dict__["__immutable__"] = False
    result = read(pickle.dumps({"cfg": config}, protocol))
    assert result == {"cfg": {"model": {"depth": 50}}}
    assert type(result["cfg"]) is dict


def array_claim(shape: tuple[int, ...], raw: bytes = b"") -> bytes:
    """A float32 array that says it has this shape and holds these bytes."""
    dims = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in shape) + b"t"
    head = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return head + b"(K\x01" + dims + dtype + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb."


def nested_tuples(depth: int) -> bytes:
    """Each tuple holds the last one twice: small in the file, 2**depth when walked."""
    return b"\x80\x02)" + b"".join(b"q" + bytes([n % 250]) + b"h" + bytes([n % 250]) + b"\x86" for n in range(depth))


LONG_TEXT = b"X" + struct.pack("<I", 200_000) + b"a" * 200_000
BOMBS = {
    "an array of 10^12 elements": array_claim((10**12,)),
    "an array of 10^12 elements and some bytes": array_claim((10**6, 10**6), b"\0" * 64),
    "an array with an overflowing shape": array_claim((2**62, 2**62, 0)),
    "an array with a negative size": array_claim((-1, 4)),
    "an array of 1000 dimensions": array_claim((1,) * 1_000, b"\0" * 4),
    "a string longer than the file": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "a string of 2^60 bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b".",
    "a string of negative length": b"\x80\x02T\xff\xff\xff\xff.",
    "an integer of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f" + b"\1" * 64 + b".",
    "an integer of 100 kB": b"\x80\x02\x8b" + struct.pack("<i", 100_000) + b"\1" * 100_000 + b".",
    "an integer of negative length": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "a decimal of 100 kB": b"I" + b"9" * 100_000 + b"\n.",
    "lists in lists": b"]" * 100_000 + b"a" * 99_999 + b".",
    "lists in lists by memo": b"\x80\x02]q\x00" + b"]h\x00aq\x00" * 50_000 + b".",
    "tuples in tuples": b")" + b"\x85" * 100_000 + b".",
    "dicts in dicts": b"\x80\x02}" + b"K\x00}" * 20_000 + b"s" * 20_000 + b".",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "a dict in itself through a tuple": b"\x80\x02}q\x00K\x00h\x00\x85s.",
    "tuples that double": nested_tuples(60) + b".",
    "lists that double": b"\x80\x02]q\x00" + b"](h\x00h\x00eq\x00" * 60 + b".",
    "a key whose hash doubles": b"\x80\x02}" + nested_tuples(60)[2:] + b"K\x01s.",
    "a set member whose hash doubles": b"\x80\x04\x8f(" + nested_tuples(60)[2:] + b"\x90.",
    "marks without end": b"(" * (MAX_STEPS + 50_000) + b".",
    "values without end": b"N" * (MAX_STEPS + 50_000) + b".",
    "sets without end": b"\x80\x04](" + (b"\x8f" * 900 + b"e(") * 600 + b"e.",
    "dicts without end": b"\x80\x02](" + (b"}" * 900 + b"e(") * 600 + b"e.",
    "copies of a list": b"\x80\x02c__builtin__\nlist\nq\x00]("
    + b"K\x01" * 100_000
    + b"e\x85q\x01]("
    + b"h\x00h\x01R" * 20_000
    + b"e.",
    "copies of a text": b"\x80\x02c_codecs\nencode\nq\x00("
    + LONG_TEXT
    + b"X\x06\0\0\0latin1tq\x01]("
    + b"h\x00h\x01R" * 20_000
    + b"e.",
    "an opcode for extensions": b"\x80\x02\x82\x01.",
    "an out-of-band buffer": b"\x80\x05\x97.",
    "protocol 9": b"\x80\x09N.",
    "weights outside the file": b"\x80\x02X\x01\0\0\0aQ.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_give_our_error_quickly_and_in_little_memory(name):
    assert any(seconds_to_refuse(BOMBS[name]) < 1 for _ in range(3)), "over a second, three times"


def seconds_to_refuse(data: bytes) -> float:
    start = time.process_time()
    with pytest.raises(WeightsError, match=r"weights\.pkl"):
        read(data)
    return time.process_time() - start


@pytest.mark.parametrize("name", [name for name in BOMBS if " of " in name or " that " in name or "without" in name])
def test_bombs_take_no_more_memory_than_the_budget(name):
    """Beside what Budget counts there is the memo and the stack: some 100 bytes a step, and steps are limited."""
    data = BOMBS[name]
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError):
            read(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20 + 4 * len(data), f"{peak:,} bytes"


def test_a_text_used_twice_is_kept_once():
    first, second = read(b"\x80\x02](" + b"B" + struct.pack("<I", 10_000) + b"a" * 10_000 + b"q\x00h\x00e.")
    assert first is second


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_file_cut_anywhere_is_an_error(protocol):
    data = pickle.dumps({"w": np.arange(4.0), "meta": {"a": [1, 2], "b": "c"}}, protocol)
    for length in range(len(data)):
        with pytest.raises(WeightsError, match=r"weights\.pkl"):
            read(data[:length])


def test_bytes_behind_the_end_are_an_error():
    with pytest.raises(WeightsError, match="the pickle ends here, and 3 bytes follow"):
        read(pickle.dumps([1]) + b"abc")


def test_arrays_of_objects_are_refused():
    with pytest.raises(UnsafeFileError, match="element type 'O8'"):
        read(pickle.dumps(np.array([object], dtype=object)))


def test_an_error_says_file_place_and_remedy():
    with pytest.raises(WeightsError, match=r"^weights\.pkl: damaged at byte 3: .* Fetch or save the file again\.$"):
        read(b"\x80\x02X\xff\xff\xff")
