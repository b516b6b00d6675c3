"""The cache lies where the environment says, and in one place for all that is cached."""

import pytest

from boxwright.cache import cache_folder


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({}, "/home/me/.cache/boxwright"),
        ({"XDG_CACHE_HOME": "/fast"}, "/fast/boxwright"),
        ({"BOXWRIGHT_HOME": "/models", "XDG_CACHE_HOME": "/fast"}, "/models"),
        ({"BOXWRIGHT_HOME": "~/models"}, "/home/me/models"),
    ],
)
def test_the_cache_is_where_the_environment_says(named, expected, monkeypatch):
    for name in ("BOXWRIGHT_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": "/home/me"} | named).items():
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == expected
