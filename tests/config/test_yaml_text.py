"""Our YAML: every text comes back as it was, what looks like a number to others is a text, and all is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwright.config.yaml_text import parse_yaml, write_yaml
from boxwright.errors import ConfigError

TEXTS = [
    *("pipe 1/2\" (5' long)", "a\\b", "a\nb", "\n", "a\tb", "\t", " a", "a ", " ", "", "\r\n", "a\u2028b", "a\u2029b"),
    *("a\u0085b", "\ufeff", "\xa0", "\x7f", "\x00", "\x1b[0m", "\ufffe", "yes", "no", "on", "null", "~", "true", "1"),
    *(
        "1:30",
        "1:30.5",
        "0x10",
        "010",
        "1_000",
        "1e3",
        "1.5",
        ".inf",
        ".nan",
        "2020-01-01",
        "=",
        "<<",
        "*a",
        "&a",
        "!a",
    ),
    *("- a", "a: b", "a #b", "#", "%", "@", "`", "---", "...", "? a", "a, b", "[a]", "{a}", "|", ">", "'", "''", '"'),
    *("é", "\U0001f600", "a" * 300, "many words " * 30, "two  spaces " * 20, "a\n\n  b\n"),
]


@pytest.mark.parametrize("is_block", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_back_as_it_was(text, is_block):
    for content in (text, [text], {"a": {"b": [text, 1]}}, {text: text}):
        assert parse_yaml(write_yaml(content, is_block=is_block), where="x") == content


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_any_text_comes_back_as_it_was(texts):
    assert parse_yaml(write_yaml(texts), where="x") == texts


def test_half_a_character_cannot_be_written_or_read():
    with pytest.raises(ConfigError, match="holds half a character"):
        write_yaml(["\ud800"])
    for text in ("a: \ud800", 'a: "\\ud800"'):
        with pytest.raises(ConfigError, match="x"):
            parse_yaml(text, where="x")


VALUES = [
    ("12:30", "12:30"),  # 750 to YAML 1.1
    ("1:30.5", "1:30.5"),
    ("2020-01-01", "2020-01-01"),
    ("2020-99-99", "2020-99-99"),
    ("=", "="),
    ("0x1f", 31),
    ("1_000", 1000),
    ("-1.5", -1.5),
    ("yes", True),
    ("~", None),
    ("!!str 5", "5"),
    ("9" * 401, "9" * 401),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_a_plain_word_has_the_value_that_people_mean(text, value):
    assert parse_yaml(f"a: {text}", where="x") == {"a": value}


def test_a_merged_mapping_fills_what_its_neighbours_leave_out():
    text = "a: &a {p: 1, q: 2}\nb: {q: 3, <<: *a}\nc: {<<: [{p: 4}, *a]}\n"
    content = parse_yaml(text, where="x")
    assert (content["b"], content["c"]) == ({"p": 1, "q": 3}, {"p": 4, "q": 2})
    assert parse_yaml("'<<': {a: 1}", where="x") == {"<<": {"a": 1}}


def test_thousands_of_classes_may_be_counted_up():
    text = "".join(f"  {number}: name {number}\n" for number in range(13_204))
    assert parse_yaml(f"names:\n{text}", where="x")["names"][13_203] == "name 13203"


REFUSED = [
    ("a: [" + "1," * 50_000 + "]", "more than 50000 values once its aliases are written out"),
    ("a: &a [1, 1]\nc: [" + "*a, " * 20_000 + "]", "more than 50000 values"),
    ("a: &a {b: *a}", "line 1, column 11: .a refers to nothing that ends before it"),
    ("[" * 61, "nested too deeply"),
    ("a: 1\na: 2", "line 2, column 1: the key 'a' stands twice"),
    ("1: a\n1: b", "the key '1' stands twice"),
    ("{" + ",".join(f"{number * (2**61 - 1)}: 1" for number in range(2_002)) + "}", "more than 2000 numbers as keys"),
    ("? [a]\n: 1", "a key must be a name, not a list"),
    ("a: !!int " + "9" * 500, "a number of 500 digits is too large"),
    ("%TAG !a! x\n" * 200 + "---\na: 1", "too many for YAML"),
    ("a: 1\n---\nb: 2", "a second document"),
    ("a: !!binary aa", "the tag tag:yaml.org,2002:binary is not understood"),
    ("a: !!set {b}", "the tag tag:yaml.org,2002:set is not understood"),
    ("<<: 5", "<< needs a mapping"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_is_too_much_or_no_data_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, where="x.yaml")
