"""No reader of user data starts a process, opens a connection, or a file outside the folders that it was given."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READERS = (
    *("pictures", "heads of pictures", "checkpoints", "models", "configs of others", "configs", "data sets", "checks"),
    *("copies", "ground truth", "results", "detections"),
)
BREAKING = "a reader that breaks the promise"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Reader -> what it did, and the folder it did it in."""
    folder = tmp_path_factory.mktemp("given")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BOXWRIGHT_HOME": str(folder / "cache")}
    command = [sys.executable, "-m", "tests.audited_readers", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]), folder


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_touches_nothing_else(reader, told):
    assert told[0][reader] == []


def test_no_file_could_have_a_program_run(told):
    assert list(told[1].rglob("ran")) == []


def test_every_reader_is_watched_and_would_be_found_out(told):
    assert told[0].keys() == {*READERS, BREAKING}
    events = {event.split()[0] for event in told[0][BREAKING]}
    assert {"open", "socket.__new__", "subprocess.Popen"} <= events
