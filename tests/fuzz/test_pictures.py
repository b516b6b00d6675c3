"""Whatever the bytes of a picture are, it is decoded or our error is raised. The long run is `make fuzz`."""

import random

import pytest

from tests.fuzz.pictures import SEEDS as MAKERS
from tests.fuzz.pictures import changed, feed

SEEDS = {name: make() for name, make in MAKERS.items()}


@pytest.mark.parametrize("name", SEEDS)
def test_the_pictures_that_fuzzing_begins_with_are_accepted(name, path):
    assert feed(SEEDS[name], path)


def test_changed_pictures_give_a_picture_or_our_error(path):
    chance, seeds = random.Random(0), list(SEEDS.values())
    for _ in range(500):
        feed(changed(chance, seeds), path)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda data: bytearray(2**32) if data == b"die" else None, "MemoryError"),
        (lambda data: exec("import os; os._exit(11)") if data == b"die" else None, "died: exit code 11"),
    ],
)
def test_the_target_finds_what_takes_too_much_or_dies(harm, told, path):
    with pytest.raises(AssertionError, match=told):
        feed(b"die", path, harm)
