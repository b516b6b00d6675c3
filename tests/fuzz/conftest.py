"""What the random tests of files share."""

import pytest
from hypothesis import HealthCheck, settings

fuzz = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"
