"""Whatever the bytes of a checkpoint are, the reader gives data or our error. The long run is `make fuzz`."""

import io
import pickle
import struct
import zipfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.checkpoints import SEEDS as MAKERS
from tests.fuzz.checkpoints import feed, with_pickle
from tests.fuzz.conftest import fuzz

SEEDS = {name: make() for name, make in MAKERS.items()}
INNER = zipfile.ZipFile(io.BytesIO(SEEDS["torch zip"])).read("archive/data.pkl")
CHECKED = ("torch zip",)  # containers in which every byte of the numbers is covered by a checksum


@pytest.mark.parametrize("name", SEEDS)
def test_the_files_that_fuzzing_begins_with_are_accepted(name, path):
    assert feed(SEEDS[name], path)


@pytest.mark.parametrize("name", SEEDS)
@given(data=st.data())
@fuzz
def test_flipped_bits_give_data_or_our_error(name, data, path):
    changed = bytearray(SEEDS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    feed(bytes(changed), path)


@pytest.mark.parametrize("name", SEEDS)
@given(data=st.data())
@fuzz
def test_cut_and_shifted_files_give_data_or_our_error(name, data, path):
    seed = SEEDS[name]
    start, length = data.draw(st.integers(0, len(seed))), data.draw(st.integers(0, len(seed)))
    middle = data.draw(st.sampled_from([b"", b"\0", b"\xff" * 8, struct.pack("<Q", 2**40), seed[:64]]))
    feed(seed[:start] + middle + seed[start + length :], path)


@given(place=st.integers(0, len(INNER) - 1), bit=st.integers(0, 7))
@fuzz
def test_a_flipped_bit_of_a_zips_pickle_is_found_by_its_checksum(place, bit, path):
    seed = bytearray(SEEDS["torch zip"])
    start = bytes(seed).find(INNER)
    seed[start + place] ^= 1 << bit
    assert not feed(bytes(seed), path)


@given(data=st.data())
@fuzz
def test_a_changed_pickle_with_right_checksums_gives_data_or_our_error(data, path):
    changed = bytearray(INNER)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    feed(with_pickle(bytes(changed)), path)


NAMES = (
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch\nFloatTensor\n",
    b"ctorch\nSize\n",
    b"ctorch.storage\n_load_from_bytes\n",
    b"ccollections\nOrderedDict\n",
    b"ccollections\ndefaultdict\n",
    b"c__builtin__\nset\n",
    b"c__builtin__\nlist\n",
    b"c__builtin__\ncomplex\n",
    b"c__builtin__\nbytearray\n",
    b"c_codecs\nencode\n",
    b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy.core.multiarray\nscalar\n",
    b"cargparse\nNamespace\n",
)
VALUES = (
    *(
        b"N",
        b"\x88",
        b"K\x00",
        b"K\x04",
        b"J\xff\xff\xff\xff",
        b"\x8a\x08" + struct.pack("<q", 2**62),
        b"G" + b"\x7f" * 8,
    ),
    *(b"U\x01a", b"U\x02f4", b"U\x01<", b"C\x04abcd", b"X\x07\0\0\0storage", b"X\x01\0\0\x000", b"V\xe9\n"),
    *(b"]", b"}", b")", b"\x8f", b"F1e999\n", b"I01\n", b"L5L\n", b"S'\\x41'\n"),
)
STEPS = (
    *(b"(", b"t", b"l", b"d", b"e", b"u", b"a", b"s", b"\x85", b"\x86", b"\x87", b"\x90", b"\x91"),
    *(
        b"R",
        b"b",
        b"\x81",
        b"\x92",
        b"o",
        b"Q",
        b"0",
        b"1",
        b"2",
        b"q\x00",
        b"q\x01",
        b"h\x00",
        b"h\x01",
        b"\x94",
        b".",
    ),
)


@given(steps=st.lists(st.one_of(st.sampled_from(NAMES), st.sampled_from(VALUES), st.sampled_from(STEPS)), max_size=40))
@settings(parent=fuzz, max_examples=600)
@example(steps=[b"ctorch\nFloatTensor\n", b")", b"R"])
@example(steps=[b"cnumpy.core.multiarray\n_reconstruct\n", b"(", b"cnumpy\nndarray\n", b")", b"C\x04abcd", b"t", b"R"])
@example(steps=[b"cnumpy\ndtype\n", b"(", b"U\x02f4", b"t", b"R", b"q\x00", b"h\x00", b"\x86"])
@example(steps=[b"(", b"]", b"q\x00", b"h\x00", b"a"])
def test_any_sequence_of_pickle_instructions_gives_data_or_our_error(steps, path):
    feed(b"\x80\x04" + b"".join(steps) + b".", path)


@given(
    data=st.binary(max_size=300),
    beginning=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x95", b"(dp0\n", b"}"]),
)
@fuzz
def test_any_bytes_give_data_or_our_error(data, beginning, path):
    feed(beginning + data, path)


@given(
    value=st.dictionaries(st.text(max_size=5), st.lists(st.integers() | st.text()), max_size=5),
    protocol=st.integers(0, 5),
)
@fuzz
def test_what_python_pickles_the_reader_agrees_on(value, protocol, path):
    assert feed(pickle.dumps(value, protocol), path)
