"""What the tests of the command line share."""

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Lists of what was written, and other things that are kept, go where the test ends."""
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path_factory.mktemp("cache")))
