"""Whatever the text of a config is, the readers give settings or our error, soon. The long run is `make fuzz`."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.configs import BOMBS, KINDS, ODD, SEEDS, TOKEN, as_bytes, feed
from tests.fuzz.conftest import fuzz

few = settings(parent=fuzz, max_examples=60)


@pytest.mark.parametrize("name", SEEDS)
def test_the_texts_that_fuzzing_begins_with_are_accepted(name, path):
    assert feed(as_bytes(SEEDS[name]), path)


@pytest.mark.parametrize("name", SEEDS)
@given(data=st.data())
@few
def test_changed_words_give_settings_or_our_error(name, data, path):
    tokens = TOKEN.findall(SEEDS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(tokens) - 1))
        word = st.sampled_from(ODD) | st.sampled_from(tokens) | st.integers().map(str) | st.text(max_size=5)
        tokens[place] = data.draw(word)
    feed(as_bytes("".join(tokens)), path)


@pytest.mark.parametrize("name", SEEDS)
@given(data=st.data())
@few
def test_cut_and_shifted_texts_give_settings_or_our_error(name, data, path):
    text = SEEDS[name]
    start, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))
    middle = data.draw(st.sampled_from(["", "\n", "  ", *SEEDS.values()]))
    feed(as_bytes(text[:start] + middle + text[start + length :]), path)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
GROUPS = st.sampled_from(["model", "MODEL", "SOLVER", "data", "train_dataloader", "_base_", "base", "test", "type"])


@given(content=st.dictionaries(GROUPS, PLAIN, max_size=3))
@few
def test_any_values_under_known_names_give_settings_or_our_error(content, path):
    feed(as_bytes(repr(content)), path)
    feed(as_bytes("\n".join(f"{name} = {value!r}" for name, value in content.items())), path)


@given(text=st.text(max_size=200))
@few
def test_any_text_gives_settings_or_our_error(text, path):
    feed(as_bytes(text), path)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_fails_in_under_a_second(name, path):
    feed(as_bytes(SEEDS["ours"]), path)  # imports and caches are no part of the second
    bomb = as_bytes(BOMBS[name])
    start = time.process_time()  # of this process alone, whatever else the machine does
    accepted = feed(bomb, path)
    assert time.process_time() - start < 1
    assert not accepted


@pytest.mark.parametrize("kind", KINDS)
@given(number=st.integers())
@settings(parent=fuzz, max_examples=40)
def test_hostile_texts_give_settings_or_our_error(kind, number, path):
    feed(KINDS[kind](random.Random(number), [as_bytes(text) for text in SEEDS.values()]), path)
