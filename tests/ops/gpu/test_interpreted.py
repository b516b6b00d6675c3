"""Runs the tests of the kernels in Triton's interpreter, which needs a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


def run_pytest(*arguments):
    """NumPy, which the interpreter computes with, warns of NaN where a GPU does not."""
    command = [sys.executable, "-m", "pytest", "-W", "ignore::RuntimeWarning", *map(str, arguments)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    root = FOLDER.parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@pytest.mark.timeout(900)  # half a minute of work, but all of it in one process
def test_the_kernels_match_their_definitions():
    run_pytest(FOLDER)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_kernels_pass_what_every_backend_must():
    # Run lengths are made on the host, so those who also ask for them cannot force the GPU; finite differences of the
    # size that compiled kernels take would last a quarter of an hour, and have smaller tests beside this file.
    left_out = "no_masks_give_none or not_finite_gives_an_empty_mask or finite_differences"
    run_pytest(FOLDER.parent, "--ignore", FOLDER, "-m", "slow or not slow", "-k", f"gpu and not ({left_out})")


@pytest.mark.slow
def test_the_kernels_match_their_definitions_where_that_takes_longer():
    run_pytest(FOLDER, "-m", "slow")
