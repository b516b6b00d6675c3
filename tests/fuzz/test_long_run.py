"""What `make fuzz` runs, for a second."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("subject", ["checkpoints", "checkpoint_configs", "configs", "downloads", "pictures"])
def test_the_long_run_works(subject, tmp_path):
    command = [sys.executable, "-m", f"tests.fuzz.{subject}", "--minutes", "0.01", "--random"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "only our own errors" in done.stdout
