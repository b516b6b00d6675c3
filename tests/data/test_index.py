"""The shared index: the same annotations from a map, made anew when files change, never trusted when broken."""

import pickle

import numpy as np
import pytest

from boxwright.data.array_file import is_mapped, open_arrays, write_arrays
from boxwright.data.columns import pack_decimals, unpack_decimals
from boxwright.data.formats.reading import read_dataset
from boxwright.data.index import open_index, save_index
from boxwright.errors import DatasetError


def index_files(cache):
    return sorted((cache / "index").glob("*.arrays"))


def test_the_index_gives_what_the_reader_gave(coco_folder):
    folder = coco_folder()
    fresh, mapped = read_dataset(folder, use_index=False), read_dataset(folder)
    again = read_dataset(folder)
    for found in (mapped, again):
        assert found.plain_meta() | {"index_path": ""} == fresh.plain_meta()
        for name, column in fresh.columns.items():
            np.testing.assert_array_equal(found.columns[name], column)
            assert column.dtype == found.columns[name].dtype
    assert all(is_mapped(column) for column in again.columns.values() if column.size)


def test_a_second_reading_does_not_parse(coco_folder, monkeypatch):
    folder = coco_folder()
    read_dataset(folder)
    door = "boxwright.data.formats.reading.read_coco"
    monkeypatch.setattr(door, lambda *_, **__: pytest.fail("the file was parsed again"))
    assert read_dataset(folder).num_objects == 3


def test_a_changed_file_is_read_again_and_its_old_index_goes(coco_folder, cache):
    folder = coco_folder()
    read_dataset(folder)
    path = folder / "train.json"
    path.write_text(path.read_text().replace('"dog"', '"wolf"'))
    assert read_dataset(folder).class_names == ("wolf", "cat")
    assert len(index_files(cache)) == 1


@pytest.mark.parametrize("damage", [lambda data: data[:-10], lambda data: b"", lambda data: data[:30] + b"x" * 40])
def test_a_broken_index_is_made_again(damage, coco_folder, cache):
    folder = coco_folder()
    read_dataset(folder)
    (path,) = index_files(cache)
    path.write_bytes(damage(path.read_bytes()))
    assert read_dataset(folder).num_objects == 3
    assert open_index(path).num_objects == 3


def test_a_cache_that_cannot_be_written_is_no_error(coco_folder, cache):
    folder = coco_folder()
    cache.write_text("a file where the folder should be")
    assert read_dataset(folder).num_objects == 3


def test_to_a_worker_goes_the_path_and_not_the_columns(tmp_path, coco_folder):
    found = read_dataset(coco_folder())
    relabelled = found.with_categories(found.categories, np.zeros(3))
    for annotations in (found, relabelled):
        sent = pickle.dumps(annotations)
        received = pickle.loads(sent)
        np.testing.assert_array_equal(received.columns["label"], annotations.columns["label"])
        assert is_mapped(received.columns["box"])
        assert b"a.png" not in sent


def test_annotations_without_an_index_travel_whole(coco_folder):
    found = pickle.loads(pickle.dumps(read_dataset(coco_folder(), use_index=False)))
    assert found.num_objects == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no index of boxwright"),
        (b"boxwright arrays 1\n" + (5).to_bytes(8, "little") + b"[][][", "cannot be read as an index"),
        (b"boxwright arrays 1\n" + (2).to_bytes(8, "little") + b"{}", "cannot be read as an index"),
    ],
)
def test_a_file_that_is_no_index_is_named(data, message, tmp_path):
    path = tmp_path / "x.arrays"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        open_arrays(path)


def test_an_index_of_python_objects_is_refused(tmp_path):
    path = tmp_path / "x.arrays"
    write_arrays(path, {"a": np.arange(3)}, meta={})
    path.write_bytes(path.read_bytes().replace(b'"<i8"', b'"|O8"'))
    with pytest.raises(DatasetError, match="an index holds numbers only"):
        open_arrays(path)


def test_mapped_columns_cannot_be_written(tmp_path, coco_folder):
    save_index(read_dataset(coco_folder(), use_index=False), tmp_path / "own.arrays")
    with pytest.raises(ValueError, match="read-only"):
        open_index(tmp_path / "own.arrays").columns["label"][0] = 5


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([], np.uint8),
        ([0.0, 2.55], np.uint8),
        ([0.0, 1.23, 655.35], np.uint16),
        ([-0.01, 5], np.int16),
        ([1e7 + 0.37], np.uint32),
        ([-1e7 - 0.37], np.int32),
        ([0.123], np.float64),
        ([float("nan")], np.float64),
        ([1e30], np.float64),
    ],
)
def test_decimals_are_packed_only_where_that_loses_nothing(values, dtype):
    packed = pack_decimals(np.array(values, dtype=np.float64))
    assert packed.dtype == dtype
    np.testing.assert_array_equal(unpack_decimals(packed), values)


def test_all_two_digit_decimals_come_back_to_the_bit():
    texts = [f"{number / 100:.2f}" for number in range(0, 65536, 7)]
    values = np.array([float(text) for text in texts])
    assert pack_decimals(values).dtype == np.uint16
    np.testing.assert_array_equal(unpack_decimals(pack_decimals(values)), values)
