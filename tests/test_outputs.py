"""What may be written: nothing that is read, nothing of others, and nothing that is no file."""

import errno
import os
import threading
from pathlib import Path

import pytest

from boxwright.errors import OutputError
from boxwright.files import atomic_write
from boxwright.outputs import writing


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "cache"))


def write(path: Path, content: str = "new", **rules) -> None:
    with writing(path, **rules), atomic_write(path, "w") as file:
        file.write(content)


def test_what_was_written_here_is_written_again_until_somebody_changes_it(tmp_path):
    path = tmp_path / "folder" / "a.json"
    write(path, "one")
    write(path, "two")
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"a\.json is there already, and was not written by boxwright or was changed"):
        write(path)
    assert path.read_text() == "mine"
    write(path, "forced", force=True)
    write(path, "again")
    assert path.read_text() == "again"


def test_a_file_of_others_is_refused_before_the_work(tmp_path):
    (tmp_path / "a.json").write_text("mine")
    with pytest.raises(OutputError, match="name another file, or give --force"), writing(tmp_path / "a.json"):
        pytest.fail("the work began")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", ["a.json", "./sub/../a.json", "link.json", "hard.json"])
def test_what_is_read_is_never_replaced_whatever_its_name(name, force, tmp_path):
    path = tmp_path / "a.json"
    write(path, "input")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.json").symlink_to(path)
    (tmp_path / "hard.json").hardlink_to(path)
    with pytest.raises(OutputError, match="is read by this command"):
        write(tmp_path / name, inputs=[f"{tmp_path / 'other'},{path}"], force=force)
    assert path.read_text() == "input"


def test_in_a_folder_that_is_read_only_what_was_written_here_is_replaced(tmp_path):
    (tmp_path / "photo.jpg").write_text("mine")
    write(tmp_path / "view.html", inputs=[tmp_path])
    write(tmp_path / "view.html", inputs=[tmp_path])
    with pytest.raises(OutputError, match="which is read by this command"):
        write(tmp_path / "photo.jpg", inputs=[tmp_path], force=True)


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path):
    write(tmp_path / "real.json", "old")
    (tmp_path / "link.json").symlink_to("real.json")
    write(tmp_path / "link.json", "new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


def test_a_folder_is_no_output(tmp_path):
    for force in (False, True):
        with pytest.raises(OutputError, match="is a folder and not a file"):
            write(tmp_path, force=force)
    with pytest.raises(OutputError, match="is a folder and not a file"), atomic_write(tmp_path):
        pytest.fail("it was opened")


def test_where_nothing_can_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file" / "a.json", Path("/proc/nothing/a.json"), tmp_path / ("x" * 300)):
        with pytest.raises(OutputError, match=r"cannot be written|nothing can be written"), writing(path):
            pytest.fail("the work began")


def test_devices_are_written_to_and_stay_devices():
    write(Path("/dev/null"))
    with pytest.raises(OutputError, match="/dev/full cannot be written: No space left on device"):
        write(Path("/dev/full"), "x" * 10**6)
    assert all(Path(name).is_char_device() for name in ("/dev/null", "/dev/full"))


def test_a_pipe_is_written_to_as_it_is(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write(pipe, "through")
    reader.join()
    assert got == ["through"]
    assert pipe.is_fifo()


def test_standard_output_is_written_to_where_the_shell_has_it(tmp_path, capfd):
    write(Path("/dev/stdout"), "through")
    assert capfd.readouterr().out == "through"


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "x" * 250 + ".json"])
def test_the_longest_names_can_be_written(name, tmp_path):
    write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [name]


def test_work_that_fails_leaves_the_old_file_which_stays_known(tmp_path):
    write(tmp_path / "a", "old")
    with pytest.raises(TypeError), writing(tmp_path / "a"), atomic_write(tmp_path / "a", "w") as file:
        file.write(b"no text")
    assert (tmp_path / "a").read_text() == "old"
    write(tmp_path / "a", "new")


def test_a_failure_of_something_else_is_not_told_as_one_of_writing(tmp_path):
    with pytest.raises(FileNotFoundError, match="source"), atomic_write(tmp_path / "a"), open(tmp_path / "source"):
        pytest.fail("there is no source")
    with pytest.raises(OutputError, match="a cannot be written: "), atomic_write(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_without_a_cache_a_second_run_asks(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "file" / "cache"))
    write(tmp_path / "a")
    with pytest.raises(OutputError, match="--force"):
        write(tmp_path / "a")
