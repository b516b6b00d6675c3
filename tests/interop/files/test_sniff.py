"""The kind of a file is told by its content; what is no checkpoint is named, with what to do."""

import pickle

import pytest

from boxwright.errors import WeightsError
from boxwright.interop.files.read import read_file
from boxwright.interop.files.sniff import sniff
from tests.fuzz import checkpoints


@pytest.mark.parametrize("name", ["weights.jpg", "weights.pth", "weights.pkl", "weights.safetensors", "weights"])
@pytest.mark.parametrize(
    ("make", "container"),
    [
        ("torch_zip", "torch-zip"),
        ("torch_legacy", "torch-legacy"),
        ("torch_tar", "torch-tar"),
        ("plain_pickle", "pickle"),
        ("safetensors", "safetensors"),
    ],
)
def test_the_content_decides_and_never_the_name(make, container, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(getattr(checkpoints, make)())
    assert sniff(path) == container


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", [{}, {"a": 1}, [1, 2], ({"a": 1}, 2)])
def test_pickles_of_every_protocol_are_told(value, protocol, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(pickle.dumps(value, protocol))
    assert sniff(path) == "pickle"
    assert read_file(path).data == value


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_legacy_torch_files_of_every_protocol_are_told(protocol, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(checkpoints.torch_legacy(protocol=max(protocol, 2)))
    assert sniff(path) == "torch-legacy"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>404", "a web page: the download gave an error page"),
        (b"\n <HTML><body>Sign in", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "run `git lfs pull`"),
        (b"\x1f\x8b\x08\x00abc", "packed by gzip"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x93NUMPY\x01\x00", "a numpy array"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"_BASE_: base.yaml\nMODEL:\n", "give it as the config"),
        (b"(this is a text in brackets)\n", "give it as the config"),
        (b"\x00\x01\x02\x03", "it begins with 00 01 02 03"),
        (b"\x80\x09abc", "it begins with 80 09"),
    ],
)
def test_what_is_no_checkpoint_is_named(content, message, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    for function in (sniff, read_file):
        with pytest.raises(WeightsError, match=r"weights\.pth: ") as caught:
            function(path)
        assert message in str(caught.value)


def test_a_missing_file_and_a_folder_are_our_errors(tmp_path):
    with pytest.raises(WeightsError, match=r"nothing\.pth does not exist"):
        sniff(tmp_path / "nothing.pth")
    with pytest.raises(WeightsError, match=r"a folder\. Give the file of weights inside it"):
        sniff(tmp_path)
    with pytest.raises(WeightsError, match="cannot be read"):
        sniff("a\0b")
