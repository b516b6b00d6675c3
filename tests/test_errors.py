"""An error is one short line that does nothing to a terminal, whatever a file or a server put into it."""

import pickle
import time

import pytest

from boxwright import errors
from boxwright.cli.main import run
from boxwright.errors import LONGEST, MOST_LINES, BoxwrightError, ConfigError, DownloadError, WeightsError, escaped

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, BoxwrightError) and kind is not errors.MissingExtraError
]


@pytest.mark.parametrize("kind", [kind for kind in (*KINDS, errors.MissingExtraError) if kind is not BoxwrightError])
def test_every_kind_says_when_it_is_raised(kind):
    assert kind.__doc__.startswith(("Raised when ", "Raised where "))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a.pth: damaged", "a.pth: damaged"),
        ("Hündchen 子犬 🐶 a\u200db", "Hündchen 子犬 🐶 a\u200db"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("two\r\n lines\rand\tmore", "two lines and more"),
        ("turned \u202egnp.exe\u2066", r"turned \u202egnp.exe\u2066"),
        ("half a pair \ud83d", r"half a pair \ud83d"),
        ("\u2028\u2029\x85", r"\u2028\u2029 "),
        ("c.yaml: 2 mistakes\n  a: one\x1b\n  b: two", "c.yaml: 2 mistakes\n  a: one\\x1b\n  b: two"),
        ("not ours\n    deeper\nflat\n  \n", "not ours deeper flat "),
    ],
)
def test_what_acts_on_a_terminal_becomes_an_escape(kind, text, seen):
    error = kind(text)
    assert str(error) == seen
    assert str(pickle.loads(pickle.dumps(error))) == seen


@pytest.mark.parametrize(
    "text", ["x" * 1_400_000, "\x1b" * 1_400_000, "\n" * 1_400_000, " \n" * 700_000 + "x", "\ud800" * 9]
)
def test_a_long_message_keeps_its_beginning_and_its_end(text):
    start = time.process_time()
    message = str(WeightsError(f"a.pth: {text}. Fetch it again."))
    assert time.process_time() - start < 0.2
    assert len(message) <= LONGEST
    assert "\n" not in message
    assert message.startswith("a.pth: ")
    assert message.endswith("Fetch it again.")


def test_a_list_of_mistakes_is_bounded_in_lines_and_in_length():
    lines = str(ConfigError("\n  ".join(["c.yaml: 5000 mistakes", *["a" * 5_000] * 5_000]))).split("\n  ")
    assert len(lines) == MOST_LINES + 1
    assert max(map(len, lines)) == LONGEST
    assert lines[-1] == f"and {5_000 - MOST_LINES + 1:,} more"


def test_an_error_of_the_system_keeps_its_kind_and_no_number():
    error = DownloadError("no \x1b way")
    assert isinstance(error, OSError)
    assert (error.errno, error.args) == (None, (r"no \x1b way",))


def test_an_error_without_words_is_possible():
    assert str(BoxwrightError()) == ""
    assert BoxwrightError(3, "\x1b").args == (3, r"\x1b")


def test_a_traceback_keeps_its_lines():
    assert escaped("a\n\tb\x1b\n") == "a\n\tb\\x1b\n"


@pytest.mark.parametrize("arguments", [["convert", "config"], ["convert", "config", "--debug"], ["\x1bverb"]])
def test_nothing_that_acts_on_a_terminal_reaches_it(arguments, capsys):
    words = [*arguments, "\x1b[31m\u202ename.yaml"] if len(arguments) > 1 else arguments
    assert run(words) != 0
    printed = capsys.readouterr().err
    assert r"\x1b" in printed
    assert escaped(printed) == printed
