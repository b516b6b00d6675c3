"""Locks between processes die with their owners, and what a killed process had begun to write is swept away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from boxwright.files import atomic_write
from boxwright.locks import locked

HOLDER = """
import os, signal, sys
from pathlib import Path
from boxwright.locks import locked
with locked(Path(sys.argv[1])):
    if os.fork() == 0:
        print(os.getpid(), flush=True)  # by now it has let go of what it inherited
    signal.pause()
"""
WRITER = """
import os, signal, sys
from boxwright.files import atomic_write
with atomic_write(sys.argv[1], "w") as file:
    file.write("half")
    print("begun", flush=True)
    if sys.argv[2] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def started(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_lock_is_free_again_when_its_owner_is_killed_even_while_a_forked_child_lives(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with started(HOLDER, path) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(BlockingIOError), locked(path, waits=False):
                pass
            holder.kill()
            holder.wait()
            os.kill(child, 0)  # it is there still
            with locked(path, waits=False):
                assert path.exists()
        finally:
            os.kill(child, 9)
    assert not path.exists()


@pytest.mark.parametrize(("then", "left"), [("dies", []), ("lives", ["one"])])
def test_what_a_killed_process_had_begun_to_write_is_removed_by_the_next(
    then: str, left: list[str], tmp_path: Path
) -> None:
    with started(WRITER, tmp_path / "one", then) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begun\n"
        if then == "dies":
            writer.wait()
        with atomic_write(tmp_path / "two", "w") as file:
            file.write("whole")
        writer.communicate("")
    assert sorted(path.name for path in tmp_path.iterdir()) == [*left, "two"]
