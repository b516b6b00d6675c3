"""The gate for files: what may be opened, how much of it, and what an error says."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxwright.errors import DatasetError
from boxwright.files import open_regular, read_bytes, read_text


@pytest.fixture
def odd_places(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """One of everything that has a name and is no regular file."""
    places = {"folder": tmp_path / "folder", "pipe": tmp_path / "pipe", "socket": tmp_path / "s"}
    places["folder"].mkdir()
    os.mkfifo(places["pipe"])
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(places["socket"]))
        places["link to a pipe"] = tmp_path / "link"
        places["link to a pipe"].symlink_to(places["pipe"])
        places["zeros"], places["terminal"] = Path("/dev/zero"), Path("/dev/tty")
        yield places


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("folder", "a folder"),
        ("pipe", "a pipe"),
        ("socket", "a socket"),
        ("link to a pipe", "a pipe"),
        ("zeros", "a device"),
        ("terminal", "a device"),
    ],
)
def test_only_a_regular_file_is_opened_and_the_error_says_what_it_is_instead(
    name: str, kind: str, odd_places: dict[str, Path]
) -> None:
    path = odd_places[name]
    with pytest.raises(DatasetError, match=f"^{path} is {kind} and not a regular file$"):
        open_regular(path, error=DatasetError)


@pytest.mark.parametrize("name", ["gone", "a\0b", "x" * 300, "link"])
def test_what_cannot_be_opened_is_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    if name == "link":
        (tmp_path / "link").symlink_to("link")
    with pytest.raises(DatasetError, match=r"does not exist|cannot be read: "):
        read_bytes(tmp_path / name, error=DatasetError, most=10)


def test_a_missing_file_is_told_from_others_by_its_cause(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist") as caught:
        open_regular(tmp_path / "gone", error=DatasetError)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_file_over_its_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DatasetError, match="1,099,511,627,776 bytes, which are too many: at most 1,000 are read"):
        read_bytes(path, error=DatasetError, most=1000)
    path.write_bytes(b"x" * 1000)
    assert read_bytes(path, error=DatasetError, most=1000) == b"x" * 1000


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc here")
def test_what_the_kernel_makes_up_on_reading_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="grows while it is read"):
        read_bytes("/proc/self/environ", error=DatasetError, most=10**6)


def test_text_may_begin_with_a_byte_order_mark_and_must_be_utf8(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbf\xc3\xa9")
    assert read_text(path, error=DatasetError, most=10) == "é"
    path.write_bytes(b"ab\xff")
    with pytest.raises(DatasetError, match=r"cannot be read as text: invalid start byte at byte 2"):
        read_text(path, error=DatasetError, most=10)
