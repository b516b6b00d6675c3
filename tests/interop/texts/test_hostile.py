"""Configs that want memory, time, a crash or a file of the machine get a result or one of our errors, soon."""

import json
import os
import subprocess
import sys

import pytest

from tests.interop.texts.hostile_child import CASES

SECONDS = 2.0  # of the processor: a second, and as much again where others share it
MEGABYTES = 200

linux = pytest.mark.skipif(sys.platform != "linux", reason="the limits of a process are those of Linux")


@pytest.fixture(scope="module")
def outcomes():
    """What the child says of each case."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "tests.interop.texts.hostile_child"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: rest for name, *rest in lines} | {None: done.stderr}


@linux
@pytest.mark.parametrize("name", CASES)
def test_a_hostile_config_gives_a_result_or_our_error_in_a_second(name, outcomes):
    assert name in outcomes, f"the child ended before or in this case: {outcomes[None][-500:]}"
    outcome, is_ours, seconds, megabytes = outcomes[name]
    assert is_ours, outcome
    assert seconds < SECONDS
    assert megabytes < MEGABYTES
