"""Whatever the text of a config is, the readers give settings or our error, soon. The long run is `make fuzz`."""

import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SCRIPT = Path(__file__).with_name("configs.py")
FILES = runpy.run_path(str(SCRIPT))
SEEDS, BOMBS, TOKEN = FILES["SEEDS"], FILES["BOMBS"], FILES["TOKEN"]

fuzz = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config"


@pytest.mark.parametrize("name", SEEDS)
def test_the_texts_that_fuzzing_begins_with_are_accepted(name, path):
    assert FILES["feed"](SEEDS[name], path)


@pytest.mark.parametrize("name", SEEDS)
@given(data=st.data())
@fuzz
def test_changed_words_give_settings_or_our_error(name, data, path):
    tokens = TOKEN.findall(SEEDS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(tokens) - 1))
        word = st.sampled_from(FILES["ODD"]) | st.sampled_from(tokens) | st.integers().map(str) | st.text(max_size=5)
        tokens[place] = data.draw(word)
    FILES["feed"]("".join(tokens), path)


@pytest.mark.parametrize("name", SEEDS)
@given(data=st.data())
@fuzz
def test_cut_and_shifted_texts_give_settings_or_our_error(name, data, path):
    text = SEEDS[name]
    start, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))
    middle = data.draw(st.sampled_from(["", "\n", "  ", *SEEDS.values()]))
    FILES["feed"](text[:start] + middle + text[start + length :], path)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
GROUPS = st.sampled_from(["model", "MODEL", "SOLVER", "data", "train_dataloader", "_base_", "base", "test", "type"])


@given(content=st.dictionaries(GROUPS, PLAIN, max_size=3))
@fuzz
def test_any_values_under_known_names_give_settings_or_our_error(content, path):
    FILES["feed"](repr(content), path)
    FILES["feed"]("\n".join(f"{name} = {value!r}" for name, value in content.items()), path)


@given(text=st.text(max_size=200))
@fuzz
def test_any_text_gives_settings_or_our_error(text, path):
    FILES["feed"](text, path)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_fails_in_under_a_second(name, path):
    FILES["feed"](SEEDS["ours"], path)  # imports and caches are no part of the second
    start = time.process_time()  # of this process alone, whatever else the machine does
    accepted = FILES["feed"](BOMBS[name], path)
    assert time.process_time() - start < 1
    assert not accepted


def test_the_long_run_works(tmp_path):
    command = [sys.executable, str(SCRIPT), "--minutes", "0.02", "--random"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "only our own errors" in done.stdout
