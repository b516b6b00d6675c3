"""What kind of file this is, from its content and never from its name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from boxwright.errors import WeightsError
from boxwright.files import open_regular

Container = Literal["torch-zip", "torch-legacy", "torch-tar", "pickle", "safetensors"]

_HEAD = 1_024
_LEGACY_MAGIC = (b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", b"119547037146038801333356")
_LONGEST_HEADER = 100_000_000  # the limit of the safetensors format

# Files that are often given by mistake: how they begin, what they are, what to do.
_MISTAKES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer and not the file itself: run `git lfs pull`"),
    (b"\x1f\x8b", "packed by gzip: unpack it first"),
    (b"BZh", "packed by bzip2: unpack it first"),
    (b"\xfd7zXZ", "packed by xz: unpack it first"),
    (b"\x89HDF", "an HDF5 file of Keras or Caffe, which Boxwright does not read: give a .pth, .pkl or .safetensors"),
    (b"\x93NUMPY", "a numpy array and not a set of named weights: give a .pth, .pkl or .safetensors"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GGUF", "a GGUF file of a language model"),
)


def sniff(path: str | Path) -> Container:
    """The container of a checkpoint. Raises WeightsError that says what the file is instead, where that is known."""
    with open_file(path) as (file, size):
        return sniff_open(file, name=str(path), size=size)


@contextmanager
def open_file(path: str | Path) -> Iterator[tuple[BinaryIO, int]]:
    """Gives (file, size in bytes), open for reading, or our error."""
    try:
        is_folder = Path(path).is_dir()
    except (OSError, ValueError):  # no file can have that name, which the gate says better
        is_folder = False
    if is_folder:
        raise WeightsError(f"{path}: a folder. Give the file of weights inside it.")
    with open_regular(path, error=WeightsError) as file:
        yield file, os.fstat(file.fileno()).st_size


def sniff_open(file: BinaryIO, *, name: str, size: int) -> Container:
    """`sniff` of an open file; its position is not kept."""
    file.seek(0)
    head = file.read(_HEAD)
    if head.startswith(b"PK\x03\x04"):
        return "torch-zip"
    if any(magic in head[:40] for magic in _LEGACY_MAGIC):
        return "torch-legacy"
    if head[257:262] == b"ustar" or head.startswith((b"sys_info\0", b"storages\0", b"pickle\0", b"tensors\0")):
        return "torch-tar"
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= min(size - 8, _LONGEST_HEADER):
        return "safetensors"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    if _is_text_pickle(file, head, size):
        return "pickle"
    raise WeightsError(f"{name}: {_describe(head)}.")


def _is_text_pickle(file: BinaryIO, head: bytes, size: int) -> bool:
    """Protocols 0 and 1 have no mark at their beginning: a container is opened, and the last byte is a stop."""
    if head[:1] not in (b"(", b"}", b"]", b"c") or size < 2:
        return False
    file.seek(size - 1)
    return file.read(1) == b"." and (head[:1] != b"c" or b"\n" in head[:200])


def _describe(head: bytes) -> str:
    if not head:
        return "an empty file: the download or the save did not finish. Get it again"
    for beginning, what in _MISTAKES:
        if head.startswith(beginning):
            return what
    start = head.lstrip()[:20].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page: the download gave an error page instead of the file. Download it again"
    if _is_text(head):
        return "a text and no file of weights. If it is a config, give it as the config"
    return (
        "no checkpoint that Boxwright knows (torch .pth, pickle .pkl, safetensors), "
        f"it begins with {head[:8].hex(' ')}. The file may be damaged: get it again"
    )


def _is_text(head: bytes) -> bool:
    text = head[:-3].decode("utf-8", "replace")  # without its end, which may be cut inside a character
    return "\ufffd" not in text[:-1] and all(character >= " " or character in "\t\r\n" for character in text)
